#!/usr/bin/env python3
"""A fixed task on real speech: bits per sample on unheard recordings after half an hour of processor time.

    apt-get download asterisk-core-sounds-en-wav && dpkg-deb -x asterisk-core-sounds-en-wav_*.deb speech
    python benchmarks/speech.py speech [--model NAME] [--cpu-seconds 1800] [--set KEY=VALUE ...] [--output DIR]

Corpus   the 8 kHz recordings of the package, without its silence/ folder.
Codes    pre-emphasis of 0.95, per recording; µ-law; 256 codes: `audiornn.codec.encode`.
Split    recordings sorted by path; every tenth is test, the one before it validation, the others training.
Score    mean bits per sample over the test codes, joined, cut into segments of 8192 that are entered with a fresh
         state; the first 65 and the last 16 samples of a segment are not scored.
Budget   processor seconds of training, those of all threads added up; reading data, compiling and validating count.

--model is any of the registry, by default that of params.yaml; its recipe stands below; --set changes it, for instance
`--set learning_rate=0.001 model.units=384`. --output keeps the trained model.
"""

import argparse
import json
import math
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf
import yaml
from tqdm import tqdm

from audiornn import codec, codec_metrics, params
from audiornn.backend import tf
from audiornn.common import validation
from audiornn.dataset import split
from audiornn.dataset.manifest import Manifest
from audiornn.dataset.windows import WindowLayout
from audiornn.models.base import AudioModel
from audiornn.preparation import shard_writer
from audiornn.training import trainer

SEGMENT, SKIP_HEAD, SKIP_TAIL = 8192, 65, 16
VALIDATED = 16 * SEGMENT  # codes of the validation split that are scored while training

# What differs from the defaults of `train`, by model. A window is entered with a fresh state, as the segments of the
# score, and learned in pieces.
RECIPES: dict[str, dict[str, Any]] = {
    "lpcmix": {"batch_size": 4, "chunk": 1024, "learning_rate": 0.002, "warmup_steps": 200, "divergence_bits": 4.0},
    "audiornn": {"batch_size": 8, "chunk": 512, "learning_rate": 0.002, "warmup_steps": 200},
    "samplernn": {"batch_size": 4, "chunk": 1024, "learning_rate": 0.003, "warmup_steps": 200},
    "linear": {"batch_size": 4, "chunk": 1024, "learning_rate": 0.003, "warmup_steps": 200},
}


def recordings(folder: Path) -> list[Path]:
    """The recordings, in the order of the split."""
    paths = [path for path in sorted(folder.rglob("*.wav"), key=str) if "silence" not in path.parts]
    if not paths:
        raise SystemExit(f"no recordings under {folder}")
    return paths


def part_of(index: int) -> str:
    """The part that a recording belongs to, by its place in the order."""
    return {9: "test", 8: "validation"}.get(index % 10, "train")


def load(folder: Path) -> dict[str, Any]:
    """Codes uint8 [n] of each part."""
    parts: dict[str, list[Any]] = {part: [] for part in split.SPLITS}
    for index, path in enumerate(tqdm(recordings(folder), "encode", leave=False)):
        wave, rate = sf.read(path, dtype="float64")
        if rate != 8000 or wave.ndim != 1:
            raise SystemExit(f"{path}: expected 8 kHz, mono; found {rate} Hz, shape {wave.shape}")
        parts[part_of(index)].append(codec.encode(wave))
    return {part: np.concatenate(codes) for part, codes in parts.items()}


def write_shards(folder: Path, codes: dict[str, Any]) -> Manifest:
    """Windows of two segments a segment apart, of which training takes a random one."""
    folder.mkdir(parents=True)
    used = {**codes, "validation": codes["validation"][:VALIDATED]}
    ranges = {part: [split.CodeRange(part, 0, len(used[part]))] for part in split.SPLITS}
    metrics = codec_metrics.CodecMetrics(
        None, None, 0.0, codec_metrics.entropy_bits(np.bincount(used["train"], minlength=codec.CODES))
    )
    settings = codec.CodecSettings(sample_rate=8000, highpass_hz=20.0, preemphasis=0.95)
    return shard_writer.write(folder, used, ranges, WindowLayout(1, 2 * SEGMENT - 1, SEGMENT), settings, metrics)


def bits_per_sample(model: AudioModel, codes: Any, batch: int = 4) -> float:
    """The score of a model."""
    segments = codes[: len(codes) // SEGMENT * SEGMENT].reshape(-1, SEGMENT)
    logits = tf.function(lambda codes: model(codes))
    nats, count = 0.0, 0
    for start in tqdm(range(0, len(segments), batch), "score", leave=False):
        part = segments[start : start + batch]
        filled = np.concatenate([part, np.zeros([batch - len(part), SEGMENT], np.uint8)])
        z = logits(tf.constant(filled)).numpy()[: len(part), SKIP_HEAD - 1 : -1 - SKIP_TAIL].astype(np.float64)
        labels = part[:, SKIP_HEAD : SEGMENT - SKIP_TAIL]
        z -= z.max(-1, keepdims=True)
        log_p = np.take_along_axis(z, labels[..., None].astype(int), -1)[..., 0] - np.log(np.exp(z).sum(-1))
        nats, count = nats - log_p.sum(), count + log_p.size
    return nats / count / math.log(2)


def recipe(name: str, settings: list[str], minutes: float) -> params.Train:
    """The `train` section for a model: its recipe, and `key=value` settings."""
    content: dict[str, Any] = {
        "crop_targets": SEGMENT - 1,
        "patience": None,
        "validate_every_steps": 10**6,
        **RECIPES.get(name, {}),
    }
    content["model"] = {"name": name, **content.get("model", {})}
    for setting in settings:
        key, _, value = setting.partition("=")
        place = content["model"] if key.startswith("model.") else content
        place[key.removeprefix("model.")] = yaml.safe_load(value)
    return validation.validate(params.Train, {**content, "minutes": minutes}, "--set")


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("speech", type=Path, help="folder with the recordings")
    parser.add_argument("--model", default=None, help="a name of the registry")
    parser.add_argument("--cpu-seconds", type=float, default=1800.0)
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE")
    parser.add_argument("--part", default="test", choices=["validation", "test"])
    parser.add_argument("--output", type=Path, help="folder for the trained model")
    parser.add_argument("--json", type=Path, help="file for the row")
    arguments = parser.parse_args()
    name = arguments.model or params.load().train.model.name
    settings = recipe(name, arguments.set, arguments.cpu_seconds / 60)
    codes = load(arguments.speech)
    with tempfile.TemporaryDirectory() as scratch:
        manifest = write_shards(Path(scratch) / "shards", codes)
        output = arguments.output or Path(scratch) / "model"
        begin, wall = time.process_time(), time.perf_counter()
        model, result = trainer.train(manifest, output, settings, clock=time.process_time)
        spent, wall = time.process_time() - begin, time.perf_counter() - wall
        row = {
            "model": {"name": name, **model.sizes},
            "parameters": model.count_params(),
            "batch_size": settings.batch_size,
            "chunk": settings.chunk,
            "cpu_seconds": round(spent),
            "wall_seconds": round(wall),
            "samples_per_cpu_second": round(result.targets / spent),
            "validation_bits_while_training": round(result.best_validation, 4),
            f"{arguments.part}_bits": round(bits_per_sample(model, codes[arguments.part]), 4),
        }
    print(json.dumps(row, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
