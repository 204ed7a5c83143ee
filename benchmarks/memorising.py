#!/usr/bin/env python3
"""Memorising a recording: accuracy on every code of it, and how long it continues by itself.

    python benchmarks/memorising.py RECORDINGS --output DIR [--seconds 60] [--epochs 60] [--set model.units=512 ...]

The recordings below a folder, in the order of their paths, are joined until they fill `--seconds`. All of their codes
are targets, and nothing else is: this measures capacity and optimisation, not prediction of unheard audio. The
recording is divided into `--windows` pieces that are learned side by side, with the state carried from chunk to chunk,
so that every code of the first is learned in the state in which it is generated.

Every `--every` epochs: the share of targets that are the model's likeliest code, given the true past; and, for each
second, the share of codes equal to the recording's when the model continues its first `--prompt` seconds by itself,
always taking the likeliest code. `DIR/progress.csv` holds both against minutes of training, `DIR/progress.png` shows
them; `DIR/recording.wav` and `DIR/continued.wav` are to be compared by ear, `DIR/model` is the model.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from matplotlib.figure import Figure

from audiornn import codec
from audiornn.audio.resampling import resample_blocks
from audiornn.audio.waves import WaveWriter
from audiornn.dataset import shards, split
from audiornn.dataset.manifest import Manifest
from audiornn.dataset.windows import WindowLayout
from audiornn.files import atomic_file
from audiornn.generation import sampling
from audiornn.models.base import AudioModel
from audiornn.params import Train
from audiornn.training import trainer
from audiornn.training.curves import ValidationRecord

RECIPE: dict[str, Any] = {
    "model": {"name": "samplernn", "units": 512, "dense": 512, "lookback": 32},
    "chunk": 256,
    "learning_rate": 0.002,
    "weight_decay": 0.0,
    "divergence_bits": 8.0,
    "patience": None,
    "clip_every_epochs": None,
    "checkpoint_minutes": None,
}


def first_codes(folder: Path, settings: codec.CodecSettings, seconds: float) -> Any:
    """Codes uint8 of the first seconds of the recordings below a folder."""
    waves, missing = [], round(seconds * settings.sample_rate)
    for path in sorted(folder.rglob("*.wav"), key=str):
        wave = np.concatenate(list(resample_blocks(path, settings.sample_rate, settings.highpass_hz)))[:missing]
        waves.append(wave)
        missing -= len(wave)
        if not missing:
            return np.concatenate([codec.encode(wave, settings.preemphasis) for wave in waves])
    raise SystemExit(f"{folder}: its recordings are {missing / settings.sample_rate:.1f} s shorter than --seconds")


def write_shards(folder: Path, codes: Any, windows: int, settings: codec.CodecSettings) -> Manifest:
    """The same windows as training and as validation split."""
    folder.mkdir(parents=True)
    ranges = {name: [split.CodeRange("recording", 0, len(codes))] for name in split.SPLITS}
    targets = -(-(len(codes) - 1) // windows)
    metrics = codec.CodecMetrics(None, None, 0.0, codec.entropy_bits(np.bincount(codes, minlength=codec.CODES)))
    layout = WindowLayout(1, targets, targets)
    return shards.write(folder, {"recording": codes}, ranges, layout, settings, metrics)


def write_wave(path: Path, codes: Any, settings: codec.CodecSettings) -> None:
    with WaveWriter(path, settings.sample_rate) as writer:
        writer.write(codec.decode(codes, settings.preemphasis))


def agreement(model: AudioModel, codes: Any, prompt: int, seconds: int) -> tuple[Any, Any]:
    """The likeliest continuation of the first `prompt` codes; the share of each second that is the recording's."""
    rate = model.codec.sample_rate
    made = sampling.generate(model, seconds * rate, [0.0], prompt=codes[None, :prompt])[0]
    return made, (made == codes[prompt : prompt + len(made)]).reshape(seconds, rate).mean(axis=1)


def draw(progress: pd.DataFrame, seconds: int) -> Figure:
    """Accuracy, and whole seconds of agreement, against minutes of training."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    above.plot(progress.minutes, 100 * progress.accuracy, marker=".")
    above.set(ylabel="accuracy, %")
    above.axhline(99, color="grey", linewidth=0.8, linestyle="--")
    shares = progress[[f"second_{i + 1}" for i in range(seconds)]].to_numpy()
    mesh = below.pcolormesh(progress.minutes, np.arange(seconds) + 1, shares.T, vmin=0, vmax=1, shading="nearest")
    below.set(xlabel="minutes of training", ylabel="second after the prompt")
    figure.colorbar(mesh, ax=below, label="share of codes equal to the recording's")
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recordings", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=60.0, help="seconds to learn (default: %(default)s)")
    parser.add_argument("--sample-rate", type=int, default=8000)
    parser.add_argument("--windows", type=int, default=8, help="pieces learned side by side (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--minutes", type=float, help="budget in minutes instead of epochs")
    parser.add_argument("--every", type=int, default=5, help="epochs between measurements (default: %(default)s)")
    parser.add_argument("--prompt", type=float, default=0.5, help="seconds of the prompt (default: %(default)s)")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="of `train` in params.yaml")
    args = parser.parse_args()

    settings = codec.CodecSettings(sample_rate=args.sample_rate, highpass_hz=20.0, preemphasis=0.95)
    codes = first_codes(args.recordings, settings, args.seconds)
    args.output.mkdir(parents=True)
    manifest = write_shards(args.output / "shards", codes, args.windows, settings)
    recipe = {**RECIPE, "model": {**RECIPE["model"]}, "batch_size": args.windows}
    recipe |= {"minutes": args.minutes} if args.minutes else {"epochs": args.epochs}
    for assignment in args.set:
        key, value = assignment.split("=", 1)
        section, name = (recipe["model"], key.removeprefix("model.")) if key.startswith("model.") else (recipe, key)
        section[name] = yaml.safe_load(value)
    recipe["validate_every_steps"] = args.every * -(-manifest.layout.targets_per_window // recipe["chunk"])

    prompt = round(args.prompt * settings.sample_rate)
    seconds = (len(codes) // args.windows - prompt) // settings.sample_rate
    rows: list[dict[str, float]] = []
    trained, since = 0.0, time.perf_counter()

    def measure(record: ValidationRecord, model: AudioModel) -> None:
        nonlocal trained, since
        trained += time.perf_counter() - since
        made, shares = agreement(model, codes, prompt, seconds)
        row = {"minutes": trained / 60, "epoch": float(record.epoch), "accuracy": record.validation_accuracy}
        rows.append(row | {f"second_{i + 1}": float(share) for i, share in enumerate(shares)})
        progress = pd.DataFrame(rows)
        with atomic_file(args.output / "progress.csv") as path:
            progress.to_csv(path, index=False, float_format="%.6g")
        with atomic_file(args.output / "progress.png") as path:
            draw(progress, seconds).savefig(path, dpi=120)
        write_wave(args.output / "continued.wav", np.concatenate([codes[:prompt], made]), settings)
        since = time.perf_counter()

    write_wave(args.output / "recording.wav", codes, settings)
    model, _ = trainer.train(
        manifest, args.output / "model", Train.model_validate(recipe), on_validation=measure, store=None
    )
    last = rows[-1]
    weights = int(sum(np.prod(variable.shape) for variable in model.trainable_variables))
    print(json.dumps({"targets": len(codes) - 1, "weights": weights, **last}))


if __name__ == "__main__":
    main()
