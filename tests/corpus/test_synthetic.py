"""What a user without recordings is promised by the synthesised corpora."""

import hashlib
import locale
import math
import re
import subprocess
import sys
from collections import Counter
from itertools import islice
from pathlib import Path

import espeakng_loader
import numpy as np
import pytest
import soundfile as sf
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import audiornn
import audiornn.corpus.synthetic.sentences as grammar
from audiornn.corpus.synthetic import speech as spoken_corpora
from audiornn.corpus.synthetic.music import music, pluck
from audiornn.corpus.synthetic.sentences import sentences
from audiornn.corpus.synthetic.speech import speech, voices
from audiornn.errors import AudioRNNError

MAKERS = [speech, voices, music]


def digest(paths: list[Path]) -> list[tuple[str, str]]:
    return [(path.name, hashlib.sha256(path.read_bytes()).hexdigest()) for path in paths]


def seconds(path: Path) -> float:
    return float(sf.info(path).duration)


def voice_of(path: Path) -> str:
    return path.stem.split("-", 1)[1]


def spoken_pitch(path: Path) -> float:
    """Median pitch in Hz of the voiced stretches, by autocorrelation."""
    samples, rate = sf.read(path)
    pitches = []
    for start in range(0, len(samples) - 1024, 1024):
        frame = samples[start : start + 1024]
        correlation = np.correlate(frame, frame, "full")[1023:]
        lag = rate // 400 + int(correlation[rate // 400 : rate // 60].argmax())
        if frame.std() > 0.03 and correlation[lag] > 0.5 * correlation[0]:
            pitches.append(rate / lag)
    return float(np.median(pitches))


def strongest_frequency(samples: NDArray[np.float64], rate: int) -> float:
    """Frequency in Hz of the highest spectral peak, by a parabola through its logarithm."""
    size = 8 * len(samples)
    spectrum = np.log(np.abs(np.fft.rfft(samples * np.blackman(len(samples)), size)) + 1e-12)
    top = int(spectrum.argmax())
    left, middle, right = spectrum[top - 1 : top + 2]
    return (top + (left - right) / (left - 2 * middle + right) / 2) * rate / size


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return voices(tmp_path_factory.mktemp("voices"), 1)


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return music(tmp_path_factory.mktemp("music"), 1)


@pytest.mark.parametrize("make", MAKERS)
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


def test_other_use_of_espeak_in_the_process_does_not_change_the_corpus(tmp_path):
    before = digest(speech(tmp_path / "before", 0.1))
    other = espeakng_loader.load_library()
    other.espeak_Initialize(2, 0, espeakng_loader.get_data_path().encode(), 0)
    other.espeak_SetParameter(1, 300, 0)
    assert digest(speech(tmp_path / "after", 0.1)) == before


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


def test_every_voice_is_heard_more_than_once_in_a_minute(spoken):
    heard = Counter(map(voice_of, spoken))
    assert set(heard) == {voice.label for voice in spoken_corpora.VOICES}
    assert len(heard) >= 4
    assert min(heard.values()) >= 2


def test_the_voices_differ(spoken):
    pitch = {voice_of(path): spoken_pitch(path) for path in spoken}
    assert max(pitch.values()) > 1.5 * min(pitch.values())
    espeak = spoken_corpora._Espeak()
    renderings = {espeak.say("The same words every time.", voice).tobytes() for voice in spoken_corpora.VOICES}
    espeak.close()
    assert len(renderings) == len(spoken_corpora.VOICES)


def test_speech_ends_with_a_short_pause_and_is_nowhere_digital_silence(spoken, tmp_path):
    for path in [*spoken[:5], *speech(tmp_path, 0.3)]:
        samples, rate = sf.read(path, dtype="int16")
        quiet = np.abs(samples) <= 55
        assert quiet[-round(0.07 * rate) :].all() and not quiet[-round(0.15 * rate) :].all()
        assert not (np.convolve(samples == 0, np.ones(8), "valid") == 8).any()


def test_speech_is_neither_silent_nor_clipped(spoken, tmp_path):
    for path in [*spoken, *speech(tmp_path, 0.3)]:
        samples, _ = sf.read(path)
        assert 0.2 < np.abs(samples).max() < 0.98
        assert 0.03 < samples.std() < 0.3
        assert abs(samples.mean()) < 0.003


def test_music_peaks_at_seven_tenths_without_dc_or_clicks(played):
    for path in played:
        samples, _ = sf.read(path)
        assert np.abs(samples).max() == pytest.approx(0.7, abs=1e-4)
        assert samples.std() > 0.03
        assert abs(samples.mean()) < 3e-4
        assert abs(samples[0]) < 0.01
        assert np.abs(samples[-20:]).max() < 0.01


def test_music_comes_in_several_keys_and_tempi(played):
    names = [voice_of(path).rsplit("-", 1) for path in played]
    assert len({key for key, _ in names}) >= 3
    assert len({tempo for _, tempo in names}) >= 3


@settings(max_examples=25, deadline=None, derandomize=True)
@given(frequency=st.floats(50, 1100), rate=st.sampled_from([8000, 16000, 22050, 44100]), seed=st.integers(0, 1000))
def test_a_plucked_string_sounds_at_the_pitch_asked_for(frequency, rate, seed):
    sound = pluck(frequency, 1.0, rate, np.random.default_rng(seed))
    cents = 1200 * math.log2(strongest_frequency(sound, rate) / frequency)
    assert abs(cents) < 3


def test_a_plucked_string_has_the_length_asked_for_and_no_dc():
    sound = pluck(220, 1.5, 22050, np.random.default_rng(0))
    assert len(sound) == 33075
    assert np.abs(sound).max() == 1
    assert abs(sound.mean()) < 1e-3


@pytest.mark.parametrize("rate", [8000, 22050, 44100])
@pytest.mark.parametrize("frequency", [55, 220, 880])
def test_low_and_high_strings_fade_equally_fast(frequency, rate):
    sound = pluck(frequency, 3.0, rate, np.random.default_rng(0))
    wave = sound * np.exp(-2j * np.pi * frequency * np.arange(len(sound)) / rate)  # its fundamental at 0 Hz
    early, late = np.abs(wave[: rate // 2].mean()), np.abs(wave[-rate // 2 :].mean())
    assert 20 * math.log10(early / late) == pytest.approx(20 * 2.5, abs=1)  # 60 dB in 3 seconds


def test_an_hour_of_sentences_hardly_repeats_any():
    said = list(islice(sentences(np.random.default_rng(5)), 1000))
    assert len(set(said)) >= 999
    assert all(text[0].isupper() and text[-1] in ".?" and "<" not in text for text in said)
    assert all(6 <= len(text.split()) <= 30 for text in said)


def test_every_rule_of_the_grammar_is_used_and_defined():
    used = {name for options in grammar.GRAMMAR.values() for text in options for name in re.findall("<(.*?)>", text)}
    assert used | {"sentence"} == set(grammar.GRAMMAR)
    assert all(len(set(options)) == len(options) for options in grammar.GRAMMAR.values())


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


def test_a_missing_library_is_one_clear_error(tmp_path, monkeypatch):
    monkeypatch.setattr(espeakng_loader, "get_library_path", lambda: str(tmp_path / "gone.so"))
    with pytest.raises(AudioRNNError, match=r"espeak-ng .* cannot be loaded: .*gone\.so"):
        speech(tmp_path, 1)


def test_missing_voice_data_is_one_clear_error(tmp_path, monkeypatch):
    monkeypatch.setattr(espeakng_loader, "get_data_path", lambda: str(tmp_path))
    with pytest.raises(AudioRNNError, match="cannot read its voices"):
        speech(tmp_path, 1)


def test_an_unknown_voice_is_one_clear_error(tmp_path, monkeypatch):
    monkeypatch.setattr(spoken_corpora, "CLEAR_VOICE", spoken_corpora.Voice("martian", "mars+m1", 160, 50))
    with pytest.raises(AudioRNNError, match="no voice 'mars"):
        speech(tmp_path, 1)


def test_speaking_leaves_the_locale_of_the_process_alone(tmp_path):
    before = locale.setlocale(locale.LC_CTYPE)
    locale.setlocale(locale.LC_CTYPE, "C")
    try:
        speech(tmp_path, 0.01)
        assert locale.setlocale(locale.LC_CTYPE) == "C"
    finally:
        locale.setlocale(locale.LC_CTYPE, before)
