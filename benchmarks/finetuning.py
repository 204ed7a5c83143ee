#!/usr/bin/env python3
"""What an ancestor is worth: bits per sample on a new voice, fine-tuned and from scratch, with the same budget.

    python benchmarks/finetuning.py [--steps 400] [--budget 100] [--learning-rates 0.004,0.001] [--json FILE]

The ancestor, a small linear model, learns four of the synthetic voices. The fifth, of which there are 58 s, is the
new recordings: 80 % of them are for training, 10 % for validation, 10 % for the score. Both trainings get the same
budget at each of the learning rates; `train.start_from` alone differs between them.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile as sf
import soxr

from audiornn import codec, codec_metrics
from audiornn.corpus.synthetic.speech import voices
from audiornn.dataset import split
from audiornn.dataset.manifest import Manifest
from audiornn.dataset.windows import WindowLayout
from audiornn.models import storage
from audiornn.params import ModelParams, Train
from audiornn.preparation import shard_writer
from audiornn.training import scores, trainer

RATE, MINUTES = 8000, 5.0
NEW_VOICE = "en-us-m3"
LAYOUT = WindowLayout(256, 1024, 1024)
MODEL = ModelParams(name="linear", units=64, dense=64, layers=1)


def shards_of(paths: list[Path], folder: Path) -> Manifest:
    """Shards of recordings, joined: the first 80 % for training, then validation and test."""
    waves = [soxr.resample(wave, rate, RATE) for wave, rate in map(sf.read, paths)]
    codes = {"all": codec.encode(np.concatenate(waves))}
    ends = [int(share * len(codes["all"])) for share in (0, 0.8, 0.9, 1)]
    ranges = {
        part: [split.CodeRange("all", begin, end)]
        for part, begin, end in zip(split.SPLITS, ends, ends[1:], strict=False)
    }
    folder.mkdir()
    settings = codec.CodecSettings(sample_rate=RATE, highpass_hz=0.0, preemphasis=0.95)
    return shard_writer.write(folder, codes, ranges, LAYOUT, settings, codec_metrics.CodecMetrics(None, None, 0.0, 8.0))


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=400, help="updates of the ancestor")
    parser.add_argument("--budget", type=int, default=100, help="updates on the new voice")
    parser.add_argument("--learning-rates", default="0.004,0.001")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows: list[dict[str, object]] = []

    def row(what: str, learning_rate: float | None, bits: float) -> None:
        rows.append({"what": what, "learning_rate": learning_rate, "bits": round(bits, 3)})
        print(f"{what:<34} {learning_rate or '':>6} {bits:.3f}", flush=True)

    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        known = [path for path in voices(root / "known", MINUTES, seed=0) if NEW_VOICE not in path.name]
        new = [path for path in voices(root / "new", MINUTES, seed=1) if NEW_VOICE in path.name]
        others, voice = shards_of(known, root / "others"), shards_of(new, root / "voice")
        print(f"training split: {others.splits['train'].targets} targets of four voices", end=", ")
        print(f"{voice.splits['train'].targets} of the new one", flush=True)

        def train(manifest: Manifest, name: str, **settings: object) -> float:
            """Train a model; its bits per sample on the new voice."""
            params = Train(**{"model": MODEL, "warmup_steps": 20, "patience": None, **settings})  # type: ignore[arg-type]
            trainer.train(manifest, root / name, params, progress=False)
            return scores.evaluate(storage.load(root / name), voice)["test"]["bits_per_sample"]

        row(f"ancestor, {arguments.steps} updates", 0.004, train(others, "ancestor", steps=arguments.steps))
        for rate in map(float, arguments.learning_rates.split(",")):
            budget = {"steps": arguments.budget, "learning_rate": rate, "validate_every_steps": 25}
            row(f"from scratch, {arguments.budget} updates", rate, train(voice, "scratch", **budget))
            tuned = train(voice, "tuned", **budget, start_from=str(root / "ancestor"))
            row(f"fine-tuned, {arguments.budget} updates", rate, tuned)
    print(f"{time.process_time():.0f} s of processor time")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
