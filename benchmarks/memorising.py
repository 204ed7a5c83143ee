#!/usr/bin/env python3
"""How long it takes to memorise a recording: accuracy and free-running agreement against minutes of training.

    python tools/excerpt.py FOLDER --skip 4 --start 3 --seconds 60 --to recordings/sixty-seconds
    python benchmarks/memorising.py recordings/sixty-seconds/recording.wav --minutes 90 --output DIR
        [--seconds 60] [--context 65] [--targets 512] [--prompts 8] [--model samplernn] [--every 4000]
        [--set KEY=VALUE ...]

All codes of the recording, at 8 kHz, are training targets, in windows of --targets each, which --context codes precede
(silence before the first; 65, since the burn-in ends at a multiple of 16 codes). The windows come in random order.
Every --every updates the model is scored on all of these targets, and then continues half a second of the recording
from --prompts places, about equally far apart, where windows begin, always with the likeliest code: the agreement is
the share of codes that equal the recording's, by second, and the exact seconds are those before the first code that
differs. --set changes the `train` section, for instance `--set model.dense=512 learning_rate=0.002`. Minutes are those
since the start, scoring included; the budget of training does not include it.

DIR gets curve.csv and curve.png, a row and a point per scoring; model, the weights with the fewest bits; and, of these,
continued.wav beside recorded.wav. After an interruption the same command resumes from the last checkpoint; so does one
with other settings.
"""

import argparse
import csv
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf
import soxr
import yaml
from matplotlib.figure import Figure

from audiornn import codec, codec_metrics, figures, params
from audiornn.common import validation
from audiornn.common.files import atomic_file
from audiornn.dataset import split
from audiornn.dataset.manifest import Manifest
from audiornn.dataset.windows import WindowLayout
from audiornn.generation import clips, sampling
from audiornn.models import storage
from audiornn.models.base import AudioModel
from audiornn.preparation import shard_writer
from audiornn.training import checkpoints, trainer
from audiornn.training.progress.curves import ValidationRecord

RATE = 8000
PROMPT_SECONDS, CONTINUED_SECONDS = 0.5, 10.0  # the latter at most, and no further than the next prompt
RECIPE = {  # the `train` section, besides the budget
    "batch_size": 64,
    "chunk": 16,  # an update learns from 1,024 codes of 64 places
    "learning_rate": 0.001,
    "clip_norm": 100.0,  # hardly any: the gradients of a few hard places are large
    "weight_decay": 0.0,
    "patience": None,
    "divergence_bits": 8.0,
}
# By model, other than its defaults: 64 codes tell all but a few places of a minute apart.
SIZES = {"samplernn": {"units": 32, "dense": 1280, "lookback": 64}}


def read(path: Path, seconds: float) -> Any:
    """The first seconds of a recording as codes uint8 [n]."""
    wave, rate = sf.read(path, always_2d=True)
    mono = soxr.resample(wave.mean(axis=1), rate, RATE)[: round(seconds * RATE)]
    if len(mono) < round(seconds * RATE):
        raise SystemExit(f"error: {path}: has {len(mono) / RATE:.1f} s, but --seconds is {seconds:g}")
    return codec.encode(mono)


def write_shards(folder: Path, codes: Any, context: int, targets: int) -> Manifest:
    """Windows in which each code after the first `context` is a target once; the splits for validation and test are the
    same as that for training.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ranges = [split.CodeRange("recording", 0, len(codes))]
    settings = codec.CodecSettings(sample_rate=RATE, highpass_hz=0.0, preemphasis=0.95)
    metrics = codec_metrics.CodecMetrics(
        None, None, 0.0, codec_metrics.entropy_bits(np.bincount(codes, minlength=codec.CODES))
    )
    layout = WindowLayout(context, targets, targets)
    return shard_writer.write(
        folder, {"recording": codes}, dict.fromkeys(split.SPLITS, ranges), layout, settings, metrics
    )


def prompt_starts(padded: Any, targets: int, prompts: int) -> list[int]:
    """Where prompts begin, at equal distances: where windows of training begin, as frames of codes begin there, too."""
    windows = len(padded) // targets
    count = min(prompts, windows)
    return [targets * (i * windows // count) for i in range(count)]


def free_running(model: AudioModel, padded: Any, starts: list[int]) -> Any:
    """Whether the codes with which the model continues the prompts are right: bool [prompts, n]."""
    length = min(np.diff([*starts, len(padded)]))
    prompt = min(round(PROMPT_SECONDS * RATE), length // 2)
    samples = min(round(CONTINUED_SECONDS * RATE), length - prompt)
    heard = np.stack([padded[start : start + prompt] for start in starts])
    expected = np.stack([padded[start + prompt : start + prompt + samples] for start in starts])
    return sampling.generate(model, samples, [0.0] * len(starts), prompt=heard) == expected


def row_of(record: ValidationRecord, minutes: float, right: Any) -> dict[str, Any]:
    """A row of the curve."""
    exact = np.where(right.all(axis=1), right.shape[1], right.argmin(axis=1)) / RATE
    whole = {
        "minutes": round(minutes, 3),
        "step": record.step,
        "epoch": record.epoch,
        "bits_per_sample": record.validation_loss,
        "accuracy": record.validation_accuracy,
        "exact_seconds_mean": float(exact.mean()),
        "exact_seconds_least": float(exact.min()),
    }
    for second in range(-(-right.shape[1] // RATE)):
        whole[f"agreement_{second + 1}"] = float(right[:, second * RATE : (second + 1) * RATE].mean())
    return whole


def plot(rows: list[dict[str, Any]]) -> Figure:
    """Accuracy, and agreement by second, against minutes of training."""
    figure = Figure(figsize=(8, 7), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    minutes = [row["minutes"] for row in rows]
    above.plot(minutes, [row["accuracy"] for row in rows], color=figures.BLUE, label="accuracy, all targets")
    agreements = [key for key in rows[-1] if key.startswith("agreement_")]
    for key in agreements:
        shade = 0.25 + 0.75 * agreements.index(key) / len(agreements)
        label = f"free-running, second {key.removeprefix('agreement_')}"
        above.plot(minutes, [row[key] for row in rows], color=figures.ORANGE, alpha=1.25 - shade, lw=1, label=label)
    above.set(ylabel="share of codes that are right", ylim=(0, 1.02), title="Memorising a recording")
    above.legend(fontsize=7)
    below.plot(minutes, [row["exact_seconds_mean"] for row in rows], color=figures.GREEN, label="mean over prompts")
    below.plot(minutes, [row["exact_seconds_least"] for row in rows], "--", color=figures.PURPLE, label="least")
    below.set(xlabel="minutes since training began", ylabel="seconds without a wrong code", ylim=(0, None))
    below.legend()
    for axes in (above, below):
        axes.grid(alpha=0.3)
    return figure


def settings_of(model: str, minutes: float, every: int, changes: list[str]) -> params.Train:
    """The `train` section: the recipe, and `key=value` settings."""
    content: dict[str, Any] = {**RECIPE, "minutes": minutes, "validate_every_steps": every}
    content["model"] = {"name": model, **SIZES.get(model, {})}
    for change in changes:
        key, _, value = change.partition("=")
        place = content["model"] if key.startswith("model.") else content
        place[key.removeprefix("model.")] = yaml.safe_load(value)
    if content.get("epochs") or content.get("steps"):
        content["minutes"] = None
    return validation.validate(params.Train, content, "--set")


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recording", type=Path)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--context", type=int, default=65)
    parser.add_argument("--targets", type=int, default=512)
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--minutes", type=float, default=90.0)
    parser.add_argument("--model", default="samplernn")
    parser.add_argument("--every", type=int, default=4000, metavar="UPDATES")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    arguments = parser.parse_args()
    output, codes = arguments.output, read(arguments.recording, arguments.seconds)
    settings = settings_of(arguments.model, arguments.minutes, arguments.every, arguments.set)
    padded = np.concatenate([np.full(arguments.context, codec.SILENCE, np.uint8), codes])
    manifest = write_shards(output / "shards", padded, arguments.context, arguments.targets)
    starts = prompt_starts(padded, arguments.targets, arguments.prompts)
    curve = output / "curve.csv"
    rows: list[dict[str, Any]] = []
    if curve.exists():  # of an interrupted training, or of one that has ended
        with open(curve, newline="", encoding="utf-8") as file:
            rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    store = checkpoints.CheckpointStore(output / "checkpoints")
    since_row = 0.0  # seconds between the last row and the last checkpoint, which count, too
    if rows and store.files:
        since_row = max(0.0, store.files[0].stat().st_mtime - curve.stat().st_mtime)
    begin, before = time.monotonic(), None

    def on_validation(record: ValidationRecord, model: AudioModel) -> None:
        nonlocal before
        if before is None:  # the first after a start: what was scored after the last checkpoint is scored again
            rows[:] = [row for row in rows if row["step"] < record.step]
            before = rows[-1]["minutes"] + since_row / 60 if rows else 0.0
        minutes = before + (time.monotonic() - begin) / 60
        row = row_of(record, minutes, free_running(model, padded, starts))
        rows.append(row)
        with atomic_file(curve) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(row))
            writer.writeheader()
            writer.writerows(rows)
        figures.save(plot(rows), output / "curve.png")
        exact = f"{row['exact_seconds_mean']:.2f} s (least {row['exact_seconds_least']:.2f} s)"
        print(
            f"{minutes:.1f} min: {row['accuracy']:.3%} of all targets right; free-running exact for {exact}", flush=True
        )

    trainer.train(manifest, output / "model", settings, on_validation=on_validation, store=store)
    model = storage.load(output / "model")
    prompt = padded[: round(PROMPT_SECONDS * RATE)]
    length = min(round(CONTINUED_SECONDS * RATE), len(padded) - len(prompt))
    made = sampling.generate(model, length, [0.0], prompt=prompt[None])[0]
    for name, found in (("continued", made), ("recorded", padded[len(prompt) : len(prompt) + length])):
        sf.write(output / f"{name}.wav", clips.decode(found, prompt, model.codec)[0], RATE, subtype="PCM_16")
    best = max(rows, key=lambda row: -row["bits_per_sample"])
    print(f"best: {best['accuracy']:.4%} of {len(codes):,} targets after {best['minutes']:.1f} min: {output}")


if __name__ == "__main__":
    main()
