#!/usr/bin/env python3
"""How training scales over workers that talk through loopback.

    python benchmarks/workers.py [--workers 1,2] [--policies data,file] [--model audiornn] [--steps 60] [--batch 24]
        [--json FILE]

Each worker is a process on a core of its own, described to TensorFlow by TF_CONFIG as on a cluster; the global batch is
the same however many they are. --policies are values of `train.shard_policy`: workers that read all shards, or each its
own. The data are random codes, which cost what others cost. Wall-clock figures need a quiet machine with as many cores
as workers; processor seconds per target, summed over the workers, tell what working together costs on a busy one, too.
What a worker sends per update is calculated for a ring (Patarasuk & Yuan 2009), what it reads from the policy.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from audiornn.dataset.manifest import RECORD_BYTES
from audiornn.dataset.windows import WindowLayout

WARM_UP = 20  # updates that do not count
LAYOUT = WindowLayout(128, 512, 512)


def write_shards(folder: Path) -> None:
    """Windows of random codes."""
    from audiornn.codec import CodecSettings
    from audiornn.codec_metrics import CodecMetrics
    from audiornn.dataset import split
    from audiornn.preparation import shard_writer

    codes = {"noise": np.random.default_rng(0).integers(0, 256, 2_000_000, dtype=np.uint8)}
    ranges = {name: [split.CodeRange("noise", 0, 1_900_000)] for name in split.SPLITS[:1]}
    ranges |= {name: [split.CodeRange("noise", 1_900_000, 1_950_000)] for name in split.SPLITS[1:]}
    codec, metrics = CodecSettings(8000, 0.0, 0.0), CodecMetrics(None, None, 0.0, 8.0)
    shard_writer.write(folder, codes, ranges, LAYOUT, codec, metrics, megabytes=0.1)


def work(folder: Path, model: str, steps: int, batch: int, policy: str) -> None:
    """Train as one of the workers; print what it cost."""
    index = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[index % len(cores)]})
    from audiornn.dataset.manifest import read_manifest
    from audiornn.params import Train
    from audiornn.training import trainer

    marks: list[tuple[float, float]] = []

    def clock() -> float:
        marks.append((time.perf_counter(), time.process_time()))
        return marks[-1][0]

    params = Train(
        **{"model": {"name": model}, "steps": steps, "batch_size": batch, "patience": None, "divergence_bits": 99.0},
        shard_policy=policy,
        validate_every_steps=steps,  # at the end, where it does not count
    )
    trained, result = trainer.train(
        read_manifest(folder), folder / f"model{index}", params, clock=clock, progress=False
    )
    ends = marks[2 : steps + 2]  # of updates: the clock is read twice before the first, and again after the validation
    wall, processor = (b - a for a, b in zip(ends[WARM_UP - 1], ends[-1], strict=True))
    targets = result.targets * (steps - WARM_UP) / steps
    print(json.dumps({"seconds": wall, "processor": processor, "targets": targets, "weights": trained.count_params()}))


def measure(workers: int, policy: str, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Run a number of workers."""
    sockets = [socket.socket() for _ in range(workers)]
    for probe in sockets:
        probe.bind(("127.0.0.1", 0))
    cluster = {"worker": [f"127.0.0.1:{probe.getsockname()[1]}" for probe in sockets]}
    for probe in sockets:
        probe.close()
    command = [sys.executable, __file__, "--model", arguments.model, "--steps", str(arguments.steps)]
    command += ["--batch", str(arguments.batch), "--policies", policy, "--work", str(folder)]
    processes = []
    for index in range(workers):
        config = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})
        processes.append(subprocess.Popen(command, env=os.environ | {"TF_CONFIG": config}, stdout=subprocess.PIPE))
    reports = []
    for process in processes:
        output, _ = process.communicate()
        if process.returncode:
            sys.exit(f"a worker ended with code {process.returncode}")
        reports.append(json.loads(output.splitlines()[-1]))
    targets = reports[0]["targets"]
    windows = arguments.batch / (workers if policy == "file" else 1)
    return {
        "workers": workers,
        "policy": policy,
        "targets_per_second": round(targets / max(report["seconds"] for report in reports)),
        "processor_microseconds_per_target": round(1e6 * sum(report["processor"] for report in reports) / targets, 2),
        "megabytes_read_per_update": round(windows * (LAYOUT.length + RECORD_BYTES) / 1e6, 3),
        "megabytes_sent_per_update": round(2 * (workers - 1) / workers * 4 * reports[0]["weights"] / 1e6, 2),
    }


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", default="1,2", help="numbers of workers (default: %(default)s)")
    parser.add_argument("--policies", default="data,file", help="default: %(default)s")
    parser.add_argument("--model", default="audiornn", help="default: %(default)s")
    parser.add_argument(
        "--steps", type=int, default=60, help="updates, of which 20 do not count (default: %(default)s)"
    )
    parser.add_argument("--batch", type=int, default=24, help="windows of all workers together (default: %(default)s)")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.steps <= WARM_UP:
        parser.error(f"--steps is {arguments.steps}, but must be more than {WARM_UP}, which do not count")
    if arguments.work:
        work(arguments.work, arguments.model, arguments.steps, arguments.batch, arguments.policies)
        return
    with tempfile.TemporaryDirectory() as folder:
        write_shards(Path(folder))
        rows = [
            measure(int(number), policy, Path(folder), arguments)
            for number in arguments.workers.split(",")
            for policy in arguments.policies.split(",")
            if int(number) > 1 or policy == arguments.policies.split(",")[0]  # for one worker all are the same
        ]
    print("  ".join(rows[0]))
    for row in rows:
        print("  ".join(f"{value:>{len(name)}}" for name, value in row.items()))
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
