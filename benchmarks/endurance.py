#!/usr/bin/env python3
"""Memory of preparing hours of audio, and of a long training.

    python benchmarks/endurance.py [--hours 1] [--minutes 60] [--warm-up 60] [--set KEY=VALUE ...] [--folder FOLDER]
                                   [--csv FILE] [--figure FILE.png] [--json FILE]

The stages up to `shard` prepare --hours of generated recordings (those of benchmarks/growth.py: tones that glide, with
noise, 44.1 kHz stereo FLAC, an hour each), then the train stage of params.yaml trains on them for --minutes, with
tracking in the default store, a validation every 500 updates (on a minute of audio; on an hour where there are several
recordings, as the split does not cut them), and clips (from about six minutes on: they may take a twentieth of the
time). Each stage is a process of its own, as in the pipeline. A sample is the resident memory of that process and of
all processes below it, in MB (10^6 bytes), the most within a second; pages that they share count in each.

For each stage: seconds and peak. For the training, from the end of the warm-up, which lasts --warm-up seconds and until
the first validation is over, to that of the last validation: the means of the first and of the last third, and the
slope of a line through all samples. The samples are written to --csv, and drawn to --figure.
"""

import argparse
import csv
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import psutil
import yaml
from growth import STAGES, record_all, recordings_of
from memory import configure, start

INTERVAL, LOOK = 1.0, 0.2  # seconds between samples; between looks, of which a sample is the largest
VALIDATE_EVERY = 500  # updates
HISTORY, RESULT = "metrics/history.csv", "metrics/train.json"  # written by the first validation; when all is learned
Row = dict[str, Any]


def resident_mb(process: psutil.Process) -> tuple[float, int]:
    """Resident memory of a process and of those below it, and how many they are."""
    sizes = []
    for each in (process, *process.children(recursive=True)):
        try:
            sizes.append(each.memory_info().rss / 1e6)
        except psutil.NoSuchProcess:  # it has ended meanwhile
            continue
    return round(sum(sizes), 1), len(sizes)


def watch(stage: str, folder: Path, begin: float) -> tuple[list[Row], float, dict[str, float]]:
    """Run a stage: samples of its memory, by seconds since `begin`; its seconds; when files were there, in seconds."""
    rows: list[Row] = []
    there: dict[str, float] = {}
    most = (0.0, 0)
    with open(folder / f"{stage}.log", "wb") as log:
        started = sampled = time.monotonic()
        process = start(stage, folder, log)
        watched = psutil.Process(process.pid)
        while True:
            ended, now = process.poll() is not None, time.monotonic()
            most = max(most, (0.0, 0) if ended else resident_mb(watched))
            if most[0] and (ended or not rows or now - sampled >= INTERVAL):
                at = round(now - begin, 2)
                rows.append({"stage": stage, "seconds": at, "megabytes": most[0], "processes": most[1]})
                sampled, most = now, (0.0, 0)
            for name in (HISTORY, RESULT):
                if name not in there and (folder / name).exists():
                    there[name] = now - started
            if ended:
                break
            time.sleep(LOOK)
    if process.returncode:
        sys.exit(f"{stage} failed:\n{(folder / f'{stage}.log').read_text()}")
    return rows, round(now - started, 1), there


def trend(rows: list[Row], warm_up: float, end: float) -> dict[str, float] | None:
    """Means of the first and the last third from warm-up to end, and the slope; None for too few samples."""
    seconds = np.array([row["seconds"] for row in rows]) - rows[0]["seconds"]
    between = (seconds >= warm_up) & (seconds <= end)
    seconds, megabytes = seconds[between], np.array([row["megabytes"] for row in rows])[between]
    third = len(seconds) // 3
    if not third:
        return None
    return {
        "first_third_mb": round(float(megabytes[:third].mean()), 1),
        "last_third_mb": round(float(megabytes[-third:].mean()), 1),
        "slope_mb_per_hour": round(float(np.polyfit(seconds / 3600, megabytes, 1)[0]), 1),
    }


def plot(rows: list[Row], hours: float, warm_up: float, path: Path) -> None:
    """Memory against time: the preparation, stage by stage, and the training."""
    from matplotlib.figure import Figure

    from audiornn import figures

    figure = Figure(figsize=(11, 4), layout="constrained")
    axes = figure.subplots(1, 2)
    colours = [figures.BLUE, figures.ORANGE, figures.GREEN, figures.PURPLE, figures.GREY]
    for stage, colour in zip(STAGES, colours, strict=True):
        of = [row for row in rows if row["stage"] == stage]
        if of:
            seconds = [row["seconds"] for row in of]
            axes[0].plot(seconds, [row["megabytes"] for row in of], ".-", ms=3, color=colour, label=stage)
            axes[0].axvline(seconds[0], color=colour, linestyle=":", lw=1)
    training = [row for row in rows if row["stage"] == "train"]
    seconds = [row["seconds"] - training[0]["seconds"] for row in training]
    axes[1].plot(seconds, [row["megabytes"] for row in training], color=figures.BLUE, lw=1, label="train")
    axes[1].axvline(warm_up, color=figures.GREY, linestyle=":", label="end of the warm-up")
    axes[0].set_title(f"Preparation of {hours:g} h of audio")
    axes[1].set_title("Training")
    for at in axes:
        at.set(xlabel="seconds", ylabel="resident memory (MB)")
        at.set_ylim(0, 1.2 * at.get_ylim()[1])
        at.grid(alpha=0.3)
        at.legend(loc="upper center", ncols=5, fontsize="small", columnspacing=1)
    figures.save(figure, path)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=1.0, help="of recordings (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=60.0, help="of training (default: %(default)s)")
    parser.add_argument("--warm-up", type=float, default=60.0, help="seconds, at least (default: %(default)s)")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="of params.yaml")
    parser.add_argument("--folder", type=Path, help="where to work (default: a temporary folder)")
    parser.add_argument("--csv", type=Path, default=Path("endurance.csv"), help="default: %(default)s")
    parser.add_argument("--figure", type=Path, default=Path("endurance.png"), help="default: %(default)s")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    changes = {key: yaml.safe_load(value) for key, _, value in (setting.partition("=") for setting in arguments.set)}
    rows: list[Row] = []
    stages: list[Row] = []
    with tempfile.TemporaryDirectory(dir=arguments.folder) as temporary:
        work, source = Path(temporary, "work"), Path(temporary, "source")
        work.mkdir()
        source.mkdir()
        record_all(source, *recordings_of(arguments.hours))
        minute = min(0.1, 1 / 60 / arguments.hours)  # as a share of the audio
        settings = {
            "corpus.path": str(source),
            **{"shard.validation": minute, "shard.test": minute},
            **{"train.epochs": None, "train.minutes": arguments.minutes, "train.patience": None},
            **{"train.validate_every_steps": VALIDATE_EVERY, "train.clip_every_epochs": min(1, 0.1 / arguments.hours)},
            **changes,
        }
        configure(work, settings)
        begin = time.monotonic()
        print(f"{'stage':<10} {'seconds':>8} {'peak MB':>8} {'processes':>9}")
        for stage in (*STAGES, "train"):
            samples, seconds, there = watch(stage, work, begin)
            rows += samples
            peak, most = (max(row[name] for row in samples) for name in ("megabytes", "processes"))
            stages.append({"stage": stage, "seconds": seconds, "peak_mb": round(peak), "processes": most})
            print(f"{stage:<10} {seconds:>8} {peak:>8.0f} {most:>9}", flush=True)
        run_id = json.loads((work / "models/mlflow.json").read_text())["run_id"]
        logged = mlflow.MlflowClient(f"sqlite:///{work / 'mlflow.db'}").get_run(run_id).data.metrics
        validations = len((work / HISTORY).read_text().splitlines()) - 1
    with open(arguments.csv, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    warm_up = max(arguments.warm_up, there[HISTORY])
    plot(rows, arguments.hours, warm_up, arguments.figure)
    found = trend([row for row in rows if row["stage"] == "train"], warm_up, there[RESULT])
    done = {"steps": int(logged["steps"]), "validations": validations, "clips": int(logged["listen.clips"])}
    print(f"training: {done['steps']} updates, {validations} validations, {done['clips']} clips")
    if found:
        print(
            f"after {warm_up:.0f} s of warm-up: first third {found['first_third_mb']} MB, last third "
            f"{found['last_third_mb']} MB, slope {found['slope_mb_per_hour']:+.1f} MB per hour"
        )
    else:
        print(f"nothing is left after {warm_up:.0f} s of warm-up")
    if arguments.json:
        result = {
            "hours": arguments.hours,
            "minutes": arguments.minutes,
            "stages": stages,
            "training": done,
            "warm_up_seconds": round(warm_up, 1),
        }
        arguments.json.write_text(json.dumps(result | {"trend": found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
