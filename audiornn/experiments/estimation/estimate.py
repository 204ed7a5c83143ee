"""What a pipeline run will take, before it begins: disk, memory, time."""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from audiornn.common.waits import announced
from audiornn.experiments.estimation import preparation, timed_training
from audiornn.experiments.plan import overridden
from audiornn.params import Params


@dataclass(frozen=True)
class Estimate:
    """What a run will take.

    Attributes
    ----------
    source, recordings, seconds
        Where the recordings are from, how many there are, and their length.
    codes, windows, batches
        Codes of all recordings; windows by split; batches per epoch.
    parameters
        Of the model.
    bytes
        On disk, by folder.
    free
        Bytes on this disk.
    memory
        Bytes that the training needs.
    preparation, start, epoch, validation, training
        Seconds of all stages before the training; of compiling; of an epoch; of a validation; of the whole training.
    end
        When the training ends if it begins now, ISO 8601.
    """

    source: str
    recordings: int
    seconds: float
    codes: int
    windows: dict[str, int]
    batches: int
    parameters: int
    bytes: dict[str, int]
    free: int
    memory: int
    preparation: float
    start: float
    epoch: float
    validation: float
    training: float
    end: str


def estimate(set_params: Sequence[str] = (), workspace: str | Path = ".") -> tuple[Params, Estimate]:
    """Estimate what a run of the workspace's params.yaml takes on this machine. Nothing is written there.

    Parameters
    ----------
    set_params
        Overrides, `KEY=VALUE`.
    workspace
        The folder with params.yaml.

    Raises
    ------
    AudioRNNError
        If the parameters are invalid, or do not fit the recordings.
    """
    p = overridden(set_params, workspace)
    rate = p.resample.sample_rate
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        with announced("preparing a short piece of the recordings"):
            found = preparation.find(p, Path(workspace), scratch)
            prepared = preparation.measure(p, found, scratch)
        with announced("training for a few seconds"):
            lengths = {f"{i:07d}": int(seconds * rate) for i, seconds in enumerate(found.seconds)}
            trained = timed_training.run(p, lengths, scratch)
    before = prepared.seconds + trained.sharding
    training = prepared.training_imports + trained.training(p.train)
    end = datetime.now().astimezone() + timedelta(seconds=before + training)
    return p, Estimate(
        source=found.source,
        recordings=len(found.seconds),
        seconds=sum(found.seconds),
        codes=sum(lengths.values()),
        windows=trained.layout.windows,
        batches=trained.batches,
        parameters=trained.parameters,
        bytes={**prepared.bytes, **trained.bytes},
        free=shutil.disk_usage(workspace).free,
        memory=trained.peak_rss,
        preparation=before,
        start=trained.start,
        epoch=trained.epoch,
        validation=trained.validation,
        training=training,
        end=end.isoformat(timespec="seconds"),
    )


def describe(p: Params, e: Estimate) -> Iterator[str]:
    """Lines for the terminal."""
    yield f"recordings   {e.recordings:,} of {e.source}, {e.seconds / 60:.1f} min"
    yield f"codes        {e.codes:,} at {p.resample.sample_rate} Hz; windows: " + ", ".join(
        f"{n:,} {split}" for split, n in e.windows.items()
    )
    yield f"model        {p.train.model.name}, {e.parameters:,} parameters"
    yield "disk         " + ", ".join(f"{name} {_size(n)}" for name, n in e.bytes.items())
    yield f"             {_size(sum(e.bytes.values()))} in all; {_size(e.free)} are free"
    yield f"memory       {_size(e.memory)} in training"
    yield f"preparation  {_time(e.preparation)}"
    yield f"epoch        {_time(e.epoch)} for {e.batches:,} batches, {_time(e.validation)} for a validation"
    yield f"training     {_time(e.training)} for {_budget(p)}"
    end = datetime.fromisoformat(e.end)
    yield f"end          about {end:%a %d %b, %H:%M}, if started now; then evaluate, generate and report"
    if sum(e.bytes.values()) > e.free:
        yield "warning: the disk is too small"


def as_dict(e: Estimate) -> dict[str, Any]:
    """For JSON."""
    return asdict(e)


def _budget(p: Params) -> str:
    if p.train.minutes:
        return f"{p.train.minutes:g} minutes"
    return f"{p.train.steps:,} updates" if p.train.steps else f"{p.train.epochs} epochs"


def _size(n: float) -> str:
    return f"{n / 1e9:.1f} GB" if n >= 1e9 else f"{n / 1e6:.1f} MB"


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{seconds / 60:.1f} min"
