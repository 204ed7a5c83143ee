"""What a user without recordings is promised by the synthesised corpora."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

import audiornn
from audiornn.corpus.synthetic.music import music, pluck
from audiornn.corpus.synthetic.speech import speech, voices
from tests.helpers.corpora import digest, seconds

MAKERS = [speech, voices, music]


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.slow
def test_the_same_arguments_give_the_same_files_in_any_process(make, tmp_path):
    here = digest(make(tmp_path / "first", 0.3))
    make(tmp_path / "between", 0.1, seed=1)  # must leave no trace in what follows
    assert digest(make(tmp_path / "second", 0.3)) == here

    module = make.__module__
    script = f"from pathlib import Path; from {module} import {make.__name__} as make; make(Path('there'), 0.3)"
    root = Path(audiornn.__file__).parents[1]
    subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(root)!r}); {script}"], cwd=tmp_path, check=True
    )
    assert digest(sorted((tmp_path / "there").iterdir())) == here


@pytest.mark.parametrize("make", MAKERS)
def test_another_seed_gives_another_corpus(make, tmp_path):
    first = {content for _, content in digest(make(tmp_path / "0", 0.2, seed=0)[1:])}
    other = {content for _, content in digest(make(tmp_path / "1", 0.2, seed=1)[1:])}
    assert not first & other


@pytest.mark.parametrize("make", MAKERS)
def test_a_longer_corpus_begins_with_the_shorter_one(make, tmp_path):
    short, long = digest(make(tmp_path / "short", 0.2)), digest(make(tmp_path / "long", 0.4))
    assert len(short) < len(long)
    assert long[: len(short)] == short


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("minutes", [0.0001, 0.25, 0.7])
def test_the_corpus_is_as_long_as_asked_and_at_most_one_recording_longer(make, minutes, tmp_path):
    lengths = [seconds(path) for path in make(tmp_path, minutes)]
    assert sum(lengths) >= 60 * minutes
    assert sum(lengths[:-1]) < 60 * minutes


@pytest.mark.parametrize("seed", range(2))
def test_one_minute_has_enough_recordings_to_split(seed, tmp_path):
    talk, tunes = speech(tmp_path / "speech", 1, seed), music(tmp_path / "music", 1, seed)
    assert len(talk) >= 10
    assert all(3 <= seconds(path) <= 8 for path in talk)
    assert len(tunes) >= 6
    assert all(5 <= seconds(path) <= 10 for path in tunes)


@pytest.mark.parametrize("make", MAKERS)
def test_files_are_named_in_order_in_a_folder_made_for_them(make, tmp_path):
    folder = tmp_path / "new" / "corpus"
    paths = make(folder, 0.3)
    assert paths == sorted(paths) == sorted(folder.iterdir())
    assert [path.name[:5] for path in paths] == [f"{place:04d}-" for place in range(1, len(paths) + 1)]


def test_recordings_are_16_bit_mono_wav(spoken, played, tmp_path):
    for path in [*spoken, *played, *music(tmp_path, 0.01, sample_rate=16000)]:
        info = sf.info(path)
        expected = 16000 if path.parent == tmp_path else 22050
        assert (info.format, info.subtype, info.channels, info.samplerate) == ("WAV", "PCM_16", 1, expected)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("minutes", [0, -1, math.nan, math.inf])
def test_impossible_lengths_are_refused_by_name(make, minutes, tmp_path):
    with pytest.raises(ValueError, match="minutes"):
        make(tmp_path / "corpus", minutes)
    assert not (tmp_path / "corpus").exists()


def test_other_impossible_arguments_are_refused_by_name(tmp_path):
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="seed"):
        speech(tmp_path, 1, seed=-1)
    with pytest.raises(ValueError, match="sample_rate"):
        music(tmp_path, 1, sample_rate=4000)
    with pytest.raises(ValueError, match="frequency"):
        pluck(6000, 1, 22050, rng)
    with pytest.raises(ValueError, match="seconds"):
        pluck(100, 0.001, 22050, rng)
