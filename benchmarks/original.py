#!/usr/bin/env python3
"""The original AudioRNN's way of training and generating beside ours: disk, speed, and bits on the same targets.

    python benchmarks/original.py WORKSPACE [RUN ...] [--minutes 3] [--stride 1000] [--targets 4000] [--json FILE]

The original way is its network of Keras' own layers, trained by `model.fit`: one target per window of 1000 past
samples, a window every --stride samples (1000 was its default) in float32, batches of 128, RMSprop at its constant
default rate, nothing clipped. It generates by one `predict` per sample. It trains here for --minutes on the training
split of the workspace, whose recordings `dvc repro encode` has encoded, and its curve is printed by epoch.

RUNs are trainings on the same split in the workspace's MLflow store; their speeds are those that they logged. All
models are scored on the same targets, codes of the test split at equal distances. The original way hears the 1000 codes
before each, and so does a model that was trained with `train.objective: window`; others hear all of the recording up to
it. What windows take on disk: benchmarks/pipeline.py.
"""

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.entities import Run

from audiornn import params
from audiornn.backend import keras
from audiornn.codec import CODES
from audiornn.common.array_types import Codes
from audiornn.dataset import split
from audiornn.dataset.windows import WindowLayout
from audiornn.evaluation import per_code
from audiornn.models import storage
from audiornn.preparation.encoded import EncodedCorpus
from audiornn.tracking.models import registry
from audiornn.tracking.store import client_of

CONTEXT, UNITS, BATCH = 1000, 256, 128
PREDICTED = 40  # samples whose generation is timed

Row = dict[str, Any]


def network() -> Any:
    """The original's network, compiled as it was."""
    layers = keras.layers
    given = layers.Input([CONTEXT, 1])
    x = layers.BatchNormalization()(layers.Dense(UNITS, activation="relu")(given))
    x = layers.GRU(UNITS, return_sequences=True)(layers.Concatenate()([given, x]))
    x = layers.BatchNormalization()(x)
    x = layers.GRU(UNITS)(layers.Concatenate()([given, x]))
    x = layers.BatchNormalization()(x)
    model = keras.Model(given, layers.Dense(CODES, activation="softmax")(x))
    model.compile(loss="sparse_categorical_crossentropy", optimizer="rmsprop", metrics=["accuracy"])
    return model


def pieces(workspace: Path, settings: params.Shard) -> dict[str, list[Codes]]:
    """Codes of the pieces of each split that are longer than the context."""
    corpus = EncodedCorpus(workspace / "data/encode")
    lengths = {name: recording.codes for name, recording in corpus.recordings.items()}
    splits, _ = split.divide(lengths, settings.validation, settings.test, CONTEXT, settings.seed)
    return {key: [corpus.open(piece.recording)[piece.start : piece.stop] for piece in splits[key]] for key in splits}


def windows(recordings: list[Codes], stride: int) -> Codes:
    """Windows of the context and one target, a window every `stride` codes: uint8 [n, CONTEXT + 1]."""
    found = [np.lib.stride_tricks.sliding_window_view(codes, CONTEXT + 1)[::stride] for codes in recordings]
    return np.concatenate(found)


def normalized(codes: Codes) -> Any:
    """What the original's network is given: float32 [n, CONTEXT, 1] from 0 to 1."""
    return codes[:, :CONTEXT, None].astype(np.float32) / (CODES - 1)


class Deadline(keras.callbacks.Callback):
    """Ends training after some minutes, prints each epoch, and counts targets and seconds of training alone."""

    def __init__(self, minutes: float) -> None:
        super().__init__()
        self.limit = 60 * minutes
        self.targets, self.seconds, self._begin = 0, 0.0, 0.0

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self._begin = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        seconds = time.perf_counter() - self._begin
        if self.seconds or self.targets:  # the first batch also compiles
            self.seconds += seconds
        self.targets += BATCH
        if self.seconds > self.limit:
            self.model.stop_training = True

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        bits, accuracy = logs["loss"] / math.log(2), logs["accuracy"]
        print(
            f"epoch {epoch + 1}, {self.seconds / 60:.1f} min: {bits:.3f} bits, {accuracy:.1%} in training", flush=True
        )


def original(splits: dict[str, list[Codes]], scored: Codes, stride: int, minutes: float) -> Row:
    """Train, score and generate in the original way."""
    model, given = network(), windows(splits["train"], stride)
    x, y = normalized(given), given[:, CONTEXT]
    count = len(x) // BATCH * BATCH
    deadline = Deadline(minutes)
    model.fit(x[:count], y[:count], batch_size=BATCH, epochs=10**6, verbose=0, callbacks=[deadline])
    p = model.predict(normalized(scored), batch_size=BATCH, verbose=0)
    bits = -np.log2(p[np.arange(len(scored)), scored[:, CONTEXT]])

    prompt = normalized(scored[:1])[0]
    model.predict(prompt[None], verbose=0)
    begin = time.perf_counter()
    for _ in range(PREDICTED):
        code = model.predict(prompt[None], verbose=0).argmax()
        prompt = np.append(prompt[1:], [[code / (CODES - 1)]], axis=0).astype(np.float32)
    return {
        "way": "the original way: Keras, rmsprop",
        "minutes": deadline.seconds / 60,
        "targets_per_second": (deadline.targets - BATCH) / deadline.seconds,
        "generated_per_second": PREDICTED / (time.perf_counter() - begin),
        "bits_per_sample": float(bits.mean()),
        "standard_error": float(bits.std(ddof=1) / math.sqrt(len(bits))),
    }


def ours(workspace: Path, run: Run, splits: dict[str, list[Codes]], scored: Codes, places: list[Codes]) -> Row:
    """Score the model of a run; its speeds are those that the run logged."""
    logged, metrics = run.data.params, run.data.metrics
    model = storage.load(registry.model_folder(workspace, run.info.run_id))
    by_window = logged["train.objective"] == "window"
    if by_window:
        found = per_code.evaluate_codes(model, list(scored), WindowLayout(CONTEXT, 1, 1), BATCH)
        bits = np.array([loss[CONTEXT] for loss in found.bits])
    else:
        found = per_code.evaluate_codes(model, splits["test"], WindowLayout(CONTEXT, 4 * CONTEXT, 4 * CONTEXT))
        bits = np.concatenate([loss[place] for loss, place in zip(found.bits, places, strict=True)])
    clip = f", clipped at {logged['train.clip_norm']}" if by_window else ""
    return {
        "way": f"{model.name}, {logged['train.objective']}, {logged['train.optimizer']}{clip}",
        "run": run.info.run_id,
        "minutes": metrics["training_seconds"] / 60,
        "targets_per_second": metrics["targets_per_second"],
        "generated_per_second": metrics.get("generate.samples_per_second", math.nan),
        "bits_per_sample": float(bits.mean()),
        "standard_error": float(bits.std(ddof=1) / math.sqrt(len(bits))),
    }


def show(row: Row) -> None:
    """Print a row of the table."""
    bits = f"{row['bits_per_sample']:.3f} ± {row['standard_error']:.3f}"
    cells = (row["minutes"], row["targets_per_second"], row["generated_per_second"])
    print("{:<48} {:>8.1f} {:>10,.0f} {:>10,.0f}".format(row["way"], *cells), f"  {bits}", flush=True)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("runs", nargs="*", metavar="RUN")
    parser.add_argument("--minutes", type=float, default=3.0, help="of the original way; default: %(default)s")
    parser.add_argument("--stride", type=int, default=1000, help="default: %(default)s")
    parser.add_argument("--targets", type=int, default=4000, help="that are scored; default: %(default)s")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    workspace = arguments.workspace
    splits = pieces(workspace, params.load(workspace / "params.yaml").shard)
    lengths = [len(codes) - CONTEXT for codes in splits["test"]]
    every = max(1, sum(lengths) // arguments.targets)
    places = [CONTEXT + np.arange(0, length, every) for length in lengths]
    scored = np.stack(
        [codes[at - CONTEXT : at + 1] for codes, found in zip(splits["test"], places, strict=True) for at in found]
    )
    client = client_of(workspace)
    rows = [ours(workspace, client.get_run(run), splits, scored, places) for run in arguments.runs]
    rows.insert(0, original(splits, scored, arguments.stride, arguments.minutes))
    print(f"{len(scored):,} targets of the test split")
    for row in rows:
        show(row)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
