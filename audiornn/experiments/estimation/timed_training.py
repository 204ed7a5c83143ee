"""A few real updates of the configured model on random codes, to know how long a training will take."""

import contextlib
import io
import itertools
import math
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median

import numpy as np

from audiornn.codec import CodecSettings
from audiornn.codec_metrics import CodecMetrics
from audiornn.common.array_types import Codes
from audiornn.dataset import split
from audiornn.dataset.manifest import RECORD_BYTES, Manifest
from audiornn.dataset.split import SPLITS, CodeRange
from audiornn.dataset.windows import WindowLayout
from audiornn.models import storage
from audiornn.params import Params, Train
from audiornn.preparation import shard_writer
from audiornn.training import trainer
from audiornn.training.ancestor import find as find_ancestor
from audiornn.training.checkpoints import MAX_TO_KEEP
from audiornn.training.devices import distribution
from audiornn.training.devices.batch_plan import BatchPlan
from audiornn.training.progress.bar import ModelOnDemand, Progress
from audiornn.training.scores import default_batch_size
from audiornn.training.start import start_weights

MEASURED = 12.0  # seconds of updates, after compilation
BATCHES_PER_EPOCH = 6  # of this training, so that there are validations, too
SLOTS = {"adamw": 2, "adam": 2, "rmsprop": 1}  # numbers that the optimiser keeps for each weight
FLOAT32 = 4  # bytes
SHUFFLED = 64 * 10**6  # bytes of shards that the training holds


@dataclass(frozen=True)
class WindowCounts:
    """Windows and targets by split, and bytes of all shards."""

    windows: dict[str, int]
    targets: dict[str, int]
    bytes: int


@dataclass(frozen=True)
class TimedTraining:
    """What a training was measured to take.

    Attributes
    ----------
    layout
        Windows of the recordings.
    sharding
        Seconds to write them.
    start
        Seconds of building the model and compiling.
    batch, batches, updates_per_batch
        Seconds of a batch; batches per epoch; updates for each.
    validation
        Seconds of a validation.
    parameters
        Of the model.
    bytes
        By folder, of the model and its checkpoints.
    peak_rss
        Bytes of memory.
    """

    layout: WindowCounts
    sharding: float
    start: float
    batch: float
    batches: int
    updates_per_batch: float
    validation: float
    parameters: int
    bytes: dict[str, int]
    peak_rss: int

    @property
    def epoch(self) -> float:
        """Seconds of an epoch, without its validation."""
        return self.batch * self.batches

    def training(self, params: Train) -> float:
        """Seconds of the whole training, unless it stops early."""
        if params.minutes:  # which begin before the compilation, and do not contain the last validation
            return 60 * params.minutes + self.validation
        epochs = params.epochs or params.steps / (self.updates_per_batch * self.batches)  # type: ignore[operator]
        each = params.validate_every_steps
        validations = epochs * self.batches * self.updates_per_batch / each if each else epochs
        return self.start + epochs * self.epoch + math.ceil(validations) * self.validation


def run(p: Params, lengths: Mapping[str, int], scratch: Path) -> TimedTraining:
    """Train for a few seconds on random codes, in recordings as long as the real ones.

    Parameters
    ----------
    p
        All parameters.
    lengths
        Codes of each recording, by any name.
    scratch
        A folder for shards and model.

    Raises
    ------
    AudioRNNError
        If the context does not fit the recordings, or if parameters or start weights of the training do not fit.
    """
    import mlflow  # noqa: F401 - as the train stage does, for its memory

    splits, _ = split.divide(lengths, p.shard.validation, p.shard.test, p.shard.context, p.shard.seed)
    windows = WindowLayout.with_defaults(p.shard.context, p.shard.targets_per_window, p.shard.stride)
    layout = _layout(splits, windows)
    strategy = distribution.strategy(p.train.strategy)
    model = storage.build(p.train.model.name, p.resample.sample_rate, **p.train.model.sizes)
    plan = BatchPlan.for_windows(
        p.train,
        windows.context,
        windows.targets_per_window,
        windows=layout.windows["train"],
        hop=model.hop,
        replicas=strategy.num_replicas_in_sync,
    )
    validated = default_batch_size(windows.length)
    needed = {"train": BATCHES_PER_EPOCH * plan.batch_size, "validation": validated, "test": 1}
    begin = time.perf_counter()
    manifest = _write_shards(scratch / "shards", p, {s: splits[s] for s in SPLITS}, windows, needed)
    written = sum(s.targets for s in manifest.splits.values())
    sharding = (time.perf_counter() - begin) * sum(layout.targets.values()) / written
    if p.train.start_from:  # does it fit?
        start_weights(find_ancestor(p.train.start_from), manifest, p.train)
    start, batch, validation = _train(p.train, manifest, plan, scratch / "model")
    chunks = len(plan.chunk_starts(plan.targets)) / p.train.accumulation_steps
    validation_batches = -(-layout.windows["validation"] // validated)
    weights = model.count_params() * FLOAT32
    averages = weights if p.train.ema else 0
    checkpoint = weights * (2 + SLOTS[p.train.optimizer]) + averages  # the best weights, too
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return TimedTraining(
        layout,
        sharding,
        start,
        batch,
        -(-layout.windows["train"] // plan.batch_size),
        chunks,
        validation * validation_batches,
        model.count_params(),
        {"data/shard": layout.bytes, "models": weights, "checkpoints": MAX_TO_KEEP * checkpoint},
        peak + min(SHUFFLED, layout.bytes),
    )


def _layout(splits: Mapping[str, Sequence[CodeRange]], layout: WindowLayout) -> WindowCounts:
    windows, targets = dict.fromkeys(SPLITS, 0), dict.fromkeys(SPLITS, 0)
    for name, ranges in splits.items():
        for piece in ranges:
            for first, last in layout.windows(piece.start, piece.stop):
                windows[name] += 1
                targets[name] += last - first - layout.context
    size = sum(windows.values()) * (layout.context + RECORD_BYTES) + sum(targets.values())
    return WindowCounts(windows, targets, size)


def _write_shards(
    folder: Path,
    p: Params,
    splits: Mapping[str, Sequence[CodeRange]],
    layout: WindowLayout,
    needed: Mapping[str, int],
) -> Manifest:
    """Shards of random codes, with a maximum number of windows per split."""
    random = np.random.default_rng(0)
    codes, ranges = dict[str, Codes](), dict[str, list[CodeRange]]()
    for name, of_split in splits.items():
        ranges[name], missing = [], needed[name]
        for piece in split.shuffled(of_split, 0):
            longest = layout.context + layout.targets_per_window + (missing - 1) * layout.stride
            length = min(piece.stop - piece.start, longest)
            key = f"{name}-{len(ranges[name])}"
            codes[key] = random.normal(128, 20, length).clip(0, 255).astype(np.uint8)
            ranges[name].append(CodeRange(key, 0, length))
            missing -= len(list(layout.windows(0, length)))
            if missing <= 0:
                break
    folder.mkdir()
    codec = CodecSettings(p.resample.sample_rate, p.resample.highpass_hz, p.encode.preemphasis)
    return shard_writer.write(folder, codes, ranges, layout, codec, CodecMetrics(None, None, 0.0, 8.0), seed=0)


def _train(params: Train, manifest: Manifest, plan: BatchPlan, output: Path) -> tuple[float, float, float]:
    """Seconds of building and compiling, of a batch, and of a batch of a validation."""
    settings = params.model_copy(
        update={
            **{"batch_size": plan.batch_size, "epochs": None, "steps": None, "minutes": MEASURED / 60},
            **{
                "shard_policy": "data",
                "start_from": None,
                "validate_every_steps": None,
                "patience": None,
                "divergence_bits": 1e9,
            },
        }
    )
    begin, marks = time.perf_counter(), list[tuple[float, bool]]()  # the end of each batch; with a validation?

    def on_batch(progress: Progress, model: ModelOnDemand) -> None:
        marks.append((time.perf_counter(), progress.validation is not None))

    def since_compiled() -> float:
        """Seconds since the first validation, or the first batch where they are slow."""
        ends = [end for end, scored in marks if scored] or [end + MEASURED for end, _ in marks[:1]]
        return max(0.0, time.perf_counter() - ends[0]) if ends else 0.0

    with contextlib.redirect_stdout(io.StringIO()):  # it prints each validation
        trainer.train(manifest, output, settings, on_batch=on_batch, clock=since_compiled, progress=False)
    times = [end - before for (before, _), (end, _) in itertools.pairwise(marks)]
    scored = [flag for _, flag in marks]
    # After a validation the next batch has to be read first.
    clean = [t for t, before, after in zip(times, scored[:-1], scored[1:], strict=True) if not (before or after)]
    batch = fmean(clean) if clean else marks[0][0] - begin
    validations = [t - batch for t, flag in zip(times, scored[1:], strict=True) if flag]
    # The first one is compiled, the last one follows a part of a batch.
    steady = max(0.0, median(validations[1:-1] or validations[1:] or validations)) if validations else batch / 3
    compiling = max(0.0, validations[0] - steady) if validations else 0.0
    return marks[0][0] - begin - batch + compiling, batch, steady
