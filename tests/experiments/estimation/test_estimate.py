"""`audiornn estimate`: what a run will take, from recordings and parameters alone, without a trace."""

import json
import math
from contextlib import nullcontext
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import numpy as np
import pytest
import soundfile as sf
import yaml

from audiornn import cli
from audiornn.codec import CodecSettings
from audiornn.codec_metrics import CodecMetrics
from audiornn.common.errors import AudioRNNError
from audiornn.common.validation import validate
from audiornn.dataset import split
from audiornn.dataset.windows import WindowLayout
from audiornn.experiments.estimation import estimate, preparation, timed_training
from audiornn.params import Corpus, Params, Train
from audiornn.preparation import shard_writer

SECONDS = (2.5, 1.25, 3.0, 0.75, 2.0, 1.5)
TINY = {
    "corpus": {"path": "recordings"},
    "resample": {"sample_rate": 4000},
    "shard": {"context": 40, "targets_per_window": 100},
    "train": {"model": {"name": "audiornn", "dense": 4, "units": 4, "layers": 1}, "epochs": 3, "batch_size": 4},
}


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """A folder with six recordings and a file that is none."""
    root = tmp_path / "workspace"
    (root / "recordings/more").mkdir(parents=True)
    (root / "params.yaml").write_text(yaml.safe_dump(TINY))
    for i, seconds in enumerate(SECONDS):
        wave = 0.1 * np.random.default_rng(i).standard_normal(int(seconds * 8000))
        sf.write(root / "recordings" / ("more" if i % 2 else ".") / f"{i}.wav", wave, 8000)
    (root / "recordings/notes.txt").write_text("none")
    monkeypatch.setattr(timed_training, "MEASURED", 0.5)
    monkeypatch.setattr(preparation, "IMPORTS", (("json", 2),))
    monkeypatch.setattr(preparation, "TRAINING_IMPORTS", "json")
    monkeypatch.chdir(root)
    return root


def state(folder):
    return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in sorted(Path(folder).rglob("*"))}


def sharded(folder):
    """The manifest and the bytes of the shards that the shard stage writes of recordings so long, in a usual split."""
    lengths = {f"{i:07d}": int(4000 * seconds) for i, seconds in enumerate(SECONDS[::2] + SECONDS[1::2])}
    codes = {name: np.full(n, 128, np.uint8) for name, n in lengths.items()}
    splits, layout = split.divide(lengths, 0.1, 0.1, 40)[0], WindowLayout(40, 100, 100)
    folder.mkdir()
    metrics = CodecMetrics(None, None, 0.0, 8.0)
    written = shard_writer.write(folder, codes, splits, layout, CodecSettings(4000, 20.0, 0.95), metrics)
    return written, sum(path.stat().st_size for path in folder.glob("*.tfrecord"))


@pytest.mark.slow
def test_sizes_are_exact_times_add_up_and_nothing_is_touched(workspace, tmp_path, capsys):
    before = state(tmp_path)
    cli.main(["estimate", "--json", "-S", "train.epochs=5"])
    assert state(tmp_path) == before
    told = json.loads(capsys.readouterr().out)
    assert (told["source"], told["recordings"], told["seconds"]) == ("recordings", 6, sum(SECONDS))
    assert told["codes"] == told["bytes"]["data/encode"] == told["bytes"]["data/resample"] / 3 == 4000 * sum(SECONDS)
    assert told["batches"] == math.ceil(told["windows"]["train"] / 4)
    assert told["training"] > 5 * (told["epoch"] + told["validation"]) > 0
    end = datetime.now().astimezone() + timedelta(seconds=told["preparation"] + told["training"])
    assert abs(datetime.fromisoformat(told["end"]) - end) < timedelta(seconds=30)
    assert 2e8 < told["memory"] < 2e10 and told["free"] > 0
    assert told["bytes"]["models"] == 4 * told["parameters"]
    written, on_disk = sharded(tmp_path / "shards")
    assert told["windows"] == {name: of_split.windows for name, of_split in written.splits.items()}
    assert told["bytes"]["data/shard"] == on_disk


@pytest.mark.parametrize("name", get_args(Corpus.model_fields["synthetic"].annotation))
def test_every_synthetic_corpus_can_be_estimated(tmp_path, monkeypatch, name):
    monkeypatch.setattr(preparation, "SYNTHESISED_MINUTES", 0.02)
    p = validate(Params, {"corpus": {"synthetic": name, "minutes": 0.1}}, "params.yaml")
    found = preparation._synthetic(p, tmp_path)
    assert found.source == f"the synthetic default ({name})"
    assert sum(found.seconds) >= 60 * p.corpus.minutes


@pytest.mark.slow
def test_without_recordings_it_is_of_the_synthetic_corpus(workspace, capsys, monkeypatch):
    monkeypatch.setattr(preparation, "SYNTHESISED_MINUTES", 0.1)
    cli.main(["estimate", "-S", "corpus.path=null", "-S", "corpus.minutes=3"])
    told = capsys.readouterr().out
    assert "of the synthetic default (speech), 3." in told
    assert all(
        word in told for word in ("data/corpus", "memory", "for 3 epochs", "end          about", "if started now")
    )


def test_only_some_of_many_files_are_opened_and_the_others_are_like_them(workspace, tmp_path, monkeypatch):
    monkeypatch.setattr(preparation, "MAX_OPENED", 4)
    p = validate(Params, TINY, "test")
    found = preparation.find(p, workspace, tmp_path)
    assert len(found.pieces) in (3, 4)
    assert sum(found.seconds) == pytest.approx(sum(SECONDS), rel=0.4)


def test_damaged_recordings_are_passed_over_unless_all_are(workspace, tmp_path, monkeypatch):
    p = validate(Params, TINY, "test")
    found = preparation.find(p, workspace, tmp_path)
    damaged, read_mono = {found.pieces[0]}, preparation.read_mono

    def read(path):
        if path in damaged:
            raise AudioRNNError(f"{path}: cannot be decoded to its end")
        return read_mono(path)

    monkeypatch.setattr(preparation, "read_mono", read)
    assert preparation.measure(p, found, tmp_path).seconds > 0
    damaged |= {*found.pieces}
    with pytest.raises(AudioRNNError, match="recordings: none of the [0-9]+ recordings tried can be decoded"):
        preparation.measure(p, found, tmp_path)


def test_the_length_of_a_recording_whose_header_does_not_say_is_that_of_its_packets(workspace, monkeypatch):
    path = next(workspace.rglob("*.wav"))
    length = preparation._seconds(path)
    monkeypatch.setattr(preparation, "open_audio", lambda path: nullcontext(SimpleNamespace(frames=0, samplerate=8000)))
    assert preparation._seconds(path) == pytest.approx(length, abs=0.01)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("corpus.path=nowhere", "corpus.path is 'nowhere', but must be a folder with recordings"),
        ("shard.context=50000", "shard.context is 50000 codes, but the longest recording has 12000"),
        ("train.chunks=3", "unknown key train.chunks"),
        ("train.crop_targets=200", "train.crop_targets is 200, but must not exceed the targets of a window, 100"),
        ("train.model.units=0", "train.model: units is 0, but must be"),
        ("epochs", "-S epochs: must be KEY=VALUE"),
        ("train.start_from=nowhere", "train.start_from is 'nowhere', but must be the folder of a model"),
    ],
)
def test_what_would_stop_the_run_is_said_before_it(workspace, tmp_path, override, said, capsys):
    before = state(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        cli.main(["estimate", "-S", override])
    assert stopped.value.code == 2
    assert said in (error := capsys.readouterr().err) and error.count("\n") == 1
    assert state(tmp_path) == before


def test_a_folder_without_recordings_is_named(workspace):
    for path in workspace.rglob("*.wav"):
        path.unlink()
    with pytest.raises(AudioRNNError, match="corpus.path is 'recordings', but has no usable recording among 1 files"):
        estimate.estimate()


def test_the_time_of_a_training_follows_from_its_budget():
    layout = timed_training.WindowCounts({"train": 40, "validation": 4, "test": 4}, {}, 0)
    measured = timed_training.TimedTraining(layout, 0, 7.0, 2.0, 10, 3.0, 5.0, 0, {}, 0)
    assert measured.epoch == 20
    assert measured.training(Train(epochs=3)) == 7 + 3 * (20 + 5)
    assert measured.training(Train(steps=45)) == 7 + 1.5 * 20 + 2 * 5
    assert measured.training(Train(steps=45, validate_every_steps=10)) == 7 + 1.5 * 20 + 5 * 5
    assert measured.training(Train(minutes=2)) == 120 + 5
    assert replace(measured, updates_per_batch=0.5).training(Train(steps=5)) == 7 + 20 + 5
