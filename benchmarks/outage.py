#!/usr/bin/env python3
"""Training speed while the tracking server hangs, answers with errors or is gone.

    python benchmarks/outage.py [--minutes 1.25] [--rounds 2] [--set KEY=VALUE ...] [--json FILE]

The train stage of params.yaml, on two minutes of embedded speech, trains for --minutes against a local MLflow server on
SQLite. Three seconds after the first validation the server is left alone (healthy), stopped by SIGSTOP (hanging), put
behind a proxy that answers status 500 to everything (failing), or killed (gone), and remains so. All states are run in
turn, --rounds times; a short training before them compiles the kernels.

For each training: targets per second of its own clock, from metrics/train.json, in which validations do not count;
targets per processor second of the whole stage, which depends less on other programs; the seconds from start to end of
the stage, those included that it waits at the end for a server that takes nothing (30 s); and the entries that wait for
`audiornn sync` then. For each state: both speeds divided by those of the healthy ones, means of all rounds.
"""

import argparse
import json
import os
import shutil
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml
from memory import ROOT, configure, run, start

sys.path.insert(0, str(ROOT))
from tests.helpers.servers import FailingProxy, TrackingServer

STATES = ("healthy", "hanging", "failing", "gone")
SPEEDS = ("targets_per_second", "targets_per_processor_second")
DELAY = 3.0  # seconds between the first validation and the fault
SPEECH_MINUTES, VALIDATE_EVERY = 2, 50  # minutes of audio; updates


def prepare(folder: Path, settings: dict[str, Any]) -> None:
    """Run the stages before the training."""
    folder.mkdir()
    configure(folder, settings)
    for stage in ("recordings", "corpus", "resample", "encode", "shard"):
        run(stage, folder)


def train(prepared: Path, folder: Path, state: str) -> dict[str, Any]:
    """Train in a new folder, with a server that comes into a state."""
    shutil.copytree(prepared / "data/shard", folder / "data/shard")
    shutil.copy(prepared / "params.yaml", folder / "params.yaml")
    place = folder / "server"
    place.mkdir()
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    server = TrackingServer(place, f"sqlite:///{place / 'mlflow.db'}", environment)
    server.start()
    with FailingProxy(server.port) as proxy, open(folder / "train.log", "wb") as log:
        begin = time.perf_counter()
        address = proxy.address if state == "failing" else server.address
        process = start("train", folder, log, MLFLOW_TRACKING_URI=address)
        try:
            while process.poll() is None and not (folder / "metrics/history.csv").exists():
                time.sleep(0.1)
            if process.returncode is not None:
                sys.exit(f"train ended before its first validation:\n{(folder / 'train.log').read_text()}")
            time.sleep(DELAY)
            if state == "hanging":
                server.send(signal.SIGSTOP)
            elif state == "failing":
                proxy.mode = "refuse"
            elif state == "gone":
                server.kill()
            _, status, usage = os.wait4(process.pid, 0)
            if status:
                sys.exit(f"train failed:\n{(folder / 'train.log').read_text()}")
        except KeyboardInterrupt:
            process.kill()
            raise
        finally:
            server.kill()
    seconds = time.perf_counter() - begin
    metrics = json.loads((folder / "metrics/train.json").read_text())
    return {
        "state": state,
        "targets_per_second": round(metrics["targets_per_second"]),
        "targets_per_processor_second": round(
            metrics["targets_per_second"] * metrics["training_seconds"] / (usage.ru_utime + usage.ru_stime)
        ),
        "stage_seconds": round(seconds, 1),
        "waiting_entries": len(list(folder.glob(".audiornn/outbox/*/[0-9]*"))),
    }


def mean(rows: list[dict[str, Any]], state: str, key: str) -> float:
    """The mean of all trainings in a state."""
    return statistics.mean(row[key] for row in rows if row["state"] == state)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=1.25, help="of each training (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=2, help="trainings in each state (default: %(default)s)")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="of params.yaml")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    changes = {key: yaml.safe_load(value) for key, _, value in (setting.partition("=") for setting in arguments.set)}
    settings = {
        "corpus.path": None,
        "corpus.minutes": SPEECH_MINUTES,
        **{"train.epochs": None, "train.validate_every_steps": VALIDATE_EVERY, "train.patience": None},
        **changes,
    }
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        warm_up, prepared = work / "warm-up", work / "prepared"
        prepare(warm_up, settings | {"train.steps": 20})
        run("train", warm_up)
        shutil.move(warm_up, prepared)
        configure(prepared, settings | {"train.minutes": arguments.minutes})
        print(f"{'state':<8} {'targets/s':>9} {'per CPU s':>9} {'stage s':>8} {'waiting':>8}")
        for number in range(arguments.rounds):
            for state in STATES:
                rows.append(row := train(prepared, work / f"{number}-{state}", state))
                print(
                    f"{state:<8} {row['targets_per_second']:>9,} {row['targets_per_processor_second']:>9,} "
                    f"{row['stage_seconds']:>8} {row['waiting_entries']:>8}",
                    flush=True,
                )
    print(f"{'of healthy':<10} {'targets/s':>9} {'per CPU s':>9}")
    for state in STATES:
        ratios = [mean(rows, state, key) / mean(rows, "healthy", key) for key in SPEEDS]
        print(f"{state:<10} {ratios[0]:>9.3f} {ratios[1]:>9.3f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
