#!/usr/bin/env python3
"""What `audiornn estimate` says, and what then happens: a run up to the training, in a clone of this repository.

    python benchmarks/estimation.py [--recordings FOLDER] [-S KEY=VALUE ...] [--processor-time] [--json FILE]

The clone has the last commit. Times are of the wall clock, memory is the largest of any stage. On a machine that others
use, too, --processor-time compares processor seconds instead, of all threads and processes of both together.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
import yaml

from audiornn.experiments.estimation import estimate
from audiornn.experiments.plan import set_dotted

ROOT = Path(__file__).parents[1]


def size(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def processor_seconds() -> float:
    """Of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def run(workspace: Path, processor_time: bool) -> dict[str, float]:
    """Run the pipeline up to the training: seconds until it begins, and until it ends; the most bytes of memory."""
    begin, started = time.time(), 0.0
    command = [sys.executable, "-m", "dvc", "repro", "train"]
    dvc = subprocess.Popen(command, cwd=workspace, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert dvc.stdout
    for line in dvc.stdout:
        if "Running stage 'train'" in line:
            started = sum(psutil.Process(dvc.pid).cpu_times()[:4]) if processor_time else time.time() - begin
    _, status, used = os.wait4(dvc.pid, 0)  # of DVC and its stages
    if status:
        raise SystemExit("dvc repro train failed")
    end = used.ru_utime + used.ru_stime if processor_time else time.time() - begin
    return {"preparation": started, "end": end, "memory": used.ru_maxrss * 1024}


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recordings", type=Path, metavar="FOLDER", help="default: the synthetic corpus")
    parser.add_argument("-S", action="append", default=[], dest="overrides", metavar="KEY=VALUE")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--processor-time", action="store_true")
    parser.add_argument("--estimate", action="store_true", help=argparse.SUPPRESS)  # of the current folder, alone
    arguments = parser.parse_args()
    if arguments.estimate:
        if arguments.processor_time:
            time.perf_counter = processor_seconds
        print(json.dumps(asdict(estimate.estimate()[1])))
        return
    with tempfile.TemporaryDirectory() as folder:
        workspace = Path(folder) / "clone"
        subprocess.run(["git", "clone", "--quiet", ROOT, workspace], check=True)
        tree: dict[str, Any] = yaml.safe_load((workspace / "params.yaml").read_text())
        if arguments.recordings:
            tree["corpus"]["path"] = str(arguments.recordings.resolve())
        for key, _, value in (override.partition("=") for override in arguments.overrides):
            set_dotted(tree, key, yaml.safe_load(value), "-S")
        (workspace / "params.yaml").write_text(yaml.safe_dump(tree))
        command = [sys.executable, __file__, "--estimate", *["--processor-time"] * arguments.processor_time]
        begin = time.perf_counter()
        told = json.loads(subprocess.run(command, cwd=workspace, check=True, capture_output=True, text=True).stdout)
        took = time.perf_counter() - begin
        ran = run(workspace, arguments.processor_time)
        trained = json.loads((workspace / "metrics/train.json").read_text())
        epochs = trained["epochs"]
        del told["bytes"]["checkpoints"]  # which are removed at the end
        happened = {name: size(workspace / name) for name in told["bytes"]}
    rows = {f"MB in {name}": (n / 1e6, happened[name] / 1e6) for name, n in told["bytes"].items()}
    rows["MB on disk in all"] = sum(told["bytes"].values()) / 1e6, sum(happened.values()) / 1e6
    rows["MB of memory"] = told["memory"] / 1e6, ran["memory"] / 1e6
    rows["s before the training"] = told["preparation"], ran["preparation"]
    if not arguments.processor_time:
        rows["s of updates per epoch"] = told["epoch"] + told["start"] / epochs, trained["training_seconds"] / epochs
    rows["s of the training"] = told["training"], ran["end"] - ran["preparation"]
    rows["s until the end"] = told["preparation"] + told["training"], ran["end"]
    print(f"estimated in {took:.0f} s\n")
    print("| | estimated | happened | difference |\n|---|---|---|---|")
    for name, (estimated, real) in rows.items():
        print(f"| {name} | {estimated:,.1f} | {real:,.1f} | {estimated / real - 1:+.0%} |")
    if arguments.json:
        arguments.json.write_text(json.dumps({"estimate": told, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
