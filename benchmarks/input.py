#!/usr/bin/env python3
"""What reading costs while training: a step with batches from shards, and with one batch that stays in memory.

    python benchmarks/input.py [--minutes 60] [--context 128] [--model audiornn] [--steps 60] [--json FILE]

Shards of random codes, which are read as any others, are written to a temporary folder, then learned from in turns:
ten batches from disk, ten times the same batch. Beside it, how fast the shards are read when nothing is learned, and
how long the first batch takes at the beginning and in the middle of an epoch, as after an interruption. Processor
seconds are those of all threads, so that reading ahead in the background counts; other programs do not.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from audiornn.backend import deterministic
from audiornn.codec import CodecSettings
from audiornn.codec_metrics import CodecMetrics
from audiornn.dataset import shards, split
from audiornn.dataset.windows import WindowLayout
from audiornn.models import storage
from audiornn.params import ModelParams, Train
from audiornn.preparation import shard_writer
from audiornn.training.devices import optimizers
from audiornn.training.devices.batch_plan import BatchPlan
from audiornn.training.devices.steps import DeviceSteps

TURN = 10  # batches


def clocked(work: Callable[[], Any]) -> tuple[float, float]:
    """Seconds of wall clock and of the processor."""
    begin = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - begin[0], time.process_time() - begin[1]


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60, help="of audio at 8 kHz (default: %(default)s)")
    parser.add_argument("--context", type=int, default=128, help="default: %(default)s")
    parser.add_argument("--model", default="audiornn", help="default: %(default)s")
    parser.add_argument("--steps", type=int, default=60, help="of each kind (default: %(default)s)")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    deterministic(0)
    layout = WindowLayout.with_defaults(arguments.context)
    params = Train(model=ModelParams(name=arguments.model))
    codes = {"noise": np.random.default_rng(0).integers(0, 256, round(arguments.minutes * 480_000), dtype=np.uint8)}
    ranges = {name: [] for name in split.SPLITS} | {"train": [split.CodeRange("noise", 0, len(codes["noise"]))]}
    codec, metrics = CodecSettings(8000, 0.0, 0.0), CodecMetrics(None, None, 0.0, 8.0)
    with tempfile.TemporaryDirectory() as folder:
        manifest = shard_writer.write(folder, codes, ranges, layout, codec, metrics)
        windows = manifest.splits["train"].windows
        model = storage.build(arguments.model)
        plan = BatchPlan.for_windows(params, layout.context, layout.targets_per_window, windows=windows, hop=model.hop)
        devices = DeviceSteps(model, optimizers.build_optimizer(params, model), plan, params)

        def read(skip: int = 0) -> Any:
            return iter(shards.read(manifest, "train", plan.batch_size, seed=0, skip=skip))

        def learn(codes: Any, targets: Any) -> None:
            state = devices.burn_in(codes)
            for start in plan.chunk_starts(plan.targets):
                gradients, sums, state = devices.compute_gradients(codes, targets, np.int32(start), state)
                devices.apply_gradients(gradients, sums[2], 1e-4).numpy()

        first, _ = clocked(lambda: next(read()))
        middle, _ = clocked(lambda: next(read(windows // plan.batch_size // 2)))
        alone, alone_cpu = clocked(lambda: [None for _ in read()])
        batches = read()
        kept = next(batches)
        learn(*kept)  # compile
        turns: dict[str, list[tuple[float, float]]] = {"from shards": [], "from memory": []}
        for _ in range(arguments.steps // TURN):
            turns["from shards"].append(clocked(lambda: [learn(*next(batches)) for _ in range(TURN)]))
            turns["from memory"].append(clocked(lambda: [learn(*kept) for _ in range(TURN)]))
    rows = {
        name: {"seconds": float(np.median(wall)) / TURN, "processor_seconds": float(np.median(cpu)) / TURN}
        for name, (wall, cpu) in ((name, zip(*of, strict=True)) for name, of in turns.items())
    }
    n = len(codes["noise"])
    rows["reading alone"] = {"codes_per_second": n / alone, "codes_per_processor_second": n / alone_cpu}
    rows["first batch"] = {"seconds": first, "seconds_in_the_middle": middle}
    print(f"{arguments.minutes:g} minutes, {windows} windows, {plan.batch_size} a batch; {arguments.model}")
    for name in turns:
        of = rows[name]
        print(f"a batch {name}: {of['seconds']:.4f} s, {of['processor_seconds']:.4f} s of the processor")
    alone_row = rows["reading alone"]
    print(f"reading alone: {alone_row['codes_per_second']:,.0f} codes/s")
    print(f"first batch after {first:.2f} s; in the middle of an epoch after {middle:.2f} s")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
