#!/usr/bin/env python3
"""Memory of training, and seconds per target, against minutes of audio and context.

    python benchmarks/memory.py [--minutes 1,10,60,120] [--contexts 1000,8000] [--set KEY=VALUE ...]
                                [--folder RECORDINGS] [--figure FILE.png] [--json FILE]

The stages run as in the pipeline, each a process of its own, in a temporary folder: the embedded speech of some
minutes (or the recordings below --folder, for as long as they are), then 100 updates of `train` with what params.yaml
says otherwise; --set changes it, for instance `--set train.model.name=samplernn`. The memory is the most that the train
stage's process had, tracking and validation included; the seconds per target are the best of five times twenty updates,
as other programs can only slow them down.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, Any

import mlflow
import yaml

ROOT = Path(__file__).resolve().parents[1]
UPDATES = 100


def start(stage: str, folder: Path, log: IO[bytes] | None = None, **variables: str) -> subprocess.Popen[bytes]:
    """Start a stage in a folder, with more environment variables; progress and errors go to `log`, or are shown."""
    names = {"TF_CONFIG", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "DVC_ROOT"}
    environment = {key: value for key, value in os.environ.items() if key not in names} | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", f"stages.{stage}"]
    return subprocess.Popen(command, cwd=folder, env=environment | variables, stdout=subprocess.DEVNULL, stderr=log)


def run(stage: str, folder: Path) -> float:
    """Run a stage; its peak memory in MB (10^6 bytes)."""
    process = start(stage, folder)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{stage} failed")
    return (usage.ru_maxrss if sys.platform == "darwin" else usage.ru_maxrss * 1024) / 1e6


def configure(folder: Path, settings: dict[str, Any]) -> None:
    """Write params.yaml with changes by dotted keys."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    for key, value in settings.items():
        *sections, name = key.split(".")
        place = params
        for section in sections:
            place = place[section]
        if key == "train.model.name" and value != place["name"]:
            place.clear()  # sizes belong to the model
        place[name] = value
    (folder / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")


def measure(work: Path, context: int) -> dict[str, Any]:
    """Shard and train on what is encoded in `work`."""
    run("shard", work)
    peak = run("train", work)
    run_id = json.loads((work / "models/mlflow.json").read_text())["run_id"]
    client = mlflow.MlflowClient(f"sqlite:///{work / 'mlflow.db'}")
    speeds = [point.value for point in client.get_metric_history(run_id, "step.targets_per_second")]
    shard = json.loads((work / "metrics/shard.json").read_text())
    minutes = json.loads((work / "metrics/corpus.json").read_text())["minutes"]
    return {
        "minutes": round(minutes, 1),
        "context": context,
        "shards_mb": round(shard["bytes"] / 1e6, 1),
        "peak_mb": round(peak),
        "targets_per_second": round(max(speeds)),
        "microseconds_per_target": round(1e6 / max(speeds), 1),
    }


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Memory, and seconds per target, against minutes of audio."""
    from matplotlib.figure import Figure

    from audiornn import figures

    figure = Figure(figsize=(10, 3.8), layout="constrained")
    axes = figure.subplots(1, 2)
    colours = [figures.BLUE, figures.ORANGE, figures.GREY]
    for i, context in enumerate(sorted({row["context"] for row in rows})):
        of = sorted((row for row in rows if row["context"] == context), key=lambda row: row["minutes"])
        for at, key in zip(axes, ("peak_mb", "microseconds_per_target"), strict=True):
            line = {"color": colours[i % 3], "marker": "os^"[i % 3], "label": f"context {context}"}
            at.plot([row["minutes"] for row in of], [row[key] for row in of], **line)
    axes[0].axhline(3000, color=figures.GREY, linestyle=":")
    axes[0].set(ylabel="peak memory (MB)", title="Most memory that training took (dotted: 3 GB)")
    axes[1].set(ylabel="time per target (µs)", title="Time of training per target")
    for at in axes:
        at.set(xlabel="minutes of audio", xscale="log", xticks=sorted({row["minutes"] for row in rows}))
        at.xaxis.set_major_formatter("{x:.0f}")
        at.minorticks_off()
        at.set_ylim(bottom=0)
        at.grid(alpha=0.3)
        at.legend(loc="lower right")
    figures.save(figure, path)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", default="1,10,60,120", help="of embedded speech (default: %(default)s)")
    parser.add_argument("--contexts", default="1000,8000", help="default: %(default)s")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="of params.yaml")
    parser.add_argument("--folder", type=Path, help="recordings, in place of embedded speech")
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    changes = {key: yaml.safe_load(value) for key, _, value in (setting.partition("=") for setting in arguments.set)}
    rows: list[dict[str, Any]] = []
    names = ["minutes", "context", "shards_mb", "peak_mb", "targets_per_second", "microseconds_per_target"]
    print("  ".join(f"{name:>10}" for name in names))
    for minutes in [0] if arguments.folder else map(int, arguments.minutes.split(",")):
        with tempfile.TemporaryDirectory() as temporary:
            work = Path(temporary)
            settings = {
                "corpus.path": str(arguments.folder.resolve()) if arguments.folder else None,
                "corpus.minutes": minutes or 1,
                "shard.validation": 0.02,
                "shard.test": 0.02,
                **{"train.epochs": None, "train.steps": UPDATES, "train.patience": None},
                **changes,
            }
            configure(work, settings)
            for stage in ("corpus", "resample", "encode"):
                run(stage, work)
            for context in map(int, arguments.contexts.split(",")):
                configure(work, settings | {"shard.context": context})
                rows.append(measure(work, context))
                print("  ".join(f"{rows[-1][name]:>{max(10, len(name))}}" for name in names), flush=True)
    if arguments.figure:
        plot(rows, arguments.figure)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
