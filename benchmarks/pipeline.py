#!/usr/bin/env python3
"""Cost of preparing data, or of the whole pipeline: seconds and peak memory of each stage, and bytes per target.

    python benchmarks/pipeline.py FOLDER [--context 1000] [--json FILE]    the recordings below FOLDER
    python benchmarks/pipeline.py --hours 10                               one file of noise, 44.1 kHz stereo
    python benchmarks/pipeline.py --hours 10 --steps 300                   all stages: trained for 300 updates

The stages run as in the pipeline, each a process of its own, in a temporary folder. With --steps the splits for
validation and test are a thousandth of the codes each.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile as sf
import yaml

ROOT = Path(__file__).resolve().parents[1]
PREPARATION = ("recordings", "corpus", "resample", "encode", "shard")
TRAINING = ("ancestor", "train", "evaluate", "generate", "report")


def long_recording(path: Path, hours: float) -> None:
    """A FLAC of quiet noise; FLAC, as WAV ends at 4 GiB."""
    random = np.random.default_rng(0)
    second = (0.05 * random.standard_normal((44_100, 2))).astype(np.float32)
    with sf.SoundFile(path, "w", 44_100, 2, "PCM_16", format="FLAC") as file:
        for i in range(round(hours * 3600)):
            file.write(np.roll(second, 997 * i, axis=0))


def run(stage: str, folder: Path) -> dict[str, float | str]:
    """Run a stage; its seconds, and its own peak memory in MB (10^6 bytes)."""
    begin = time.perf_counter()
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-m", f"stages.{stage}"], cwd=folder, env=environment, stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{stage} failed")
    peak = usage.ru_maxrss if sys.platform == "darwin" else usage.ru_maxrss * 1024
    return {"stage": stage, "seconds": round(time.perf_counter() - begin, 1), "peak_mb": round(peak / 1e6)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--hours", type=float)
    parser.add_argument("--context", type=int, default=1000)
    parser.add_argument("--steps", type=int, help="train for so many updates, evaluate, generate and report, too")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    if (arguments.folder is None) == (arguments.hours is None):
        parser.error("give either a folder of recordings or --hours")
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        source = arguments.folder
        if arguments.hours:
            source = work / "source"
            source.mkdir()
            long_recording(source / "long.flac", arguments.hours)
        params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
        params["corpus"]["path"] = str(source.resolve())
        params["shard"]["context"] = arguments.context
        if arguments.steps:
            params["shard"] |= {"validation": 0.001, "test": 0.001}
            params["train"] |= {"epochs": None, "steps": arguments.steps}
        (work / "params.yaml").write_text(yaml.safe_dump(params))
        rows = [run(stage, work) for stage in PREPARATION + (TRAINING if arguments.steps else ())]
        minutes = json.loads((work / "metrics/corpus.json").read_text())["minutes"]
        shard = json.loads((work / "metrics/shard.json").read_text())
    print(f"{minutes:.1f} minutes of audio, context {arguments.context}")
    print(f"{'stage':<10} {'seconds':>8} {'peak MB':>8}")
    for row in rows:
        print(f"{row['stage']:<10} {row['seconds']:>8} {row['peak_mb']:>8}")
    print(f"{shard['targets']} targets, {shard['bytes']} bytes, {shard['bytes_per_target']:.3f} bytes per target")
    if arguments.json:
        arguments.json.write_text(json.dumps({"minutes": minutes, "rows": rows, "shard": shard}, indent=2) + "\n")


if __name__ == "__main__":
    main()
