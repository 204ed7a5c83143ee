#!/usr/bin/env python3
"""Cost of preparing data by its size, from nothing and when one recording is added.

    python benchmarks/growth.py --files 100,1000,10000 --seconds 2      many short recordings
    python benchmarks/growth.py --hours 1,10                            recordings of an hour
    python benchmarks/growth.py --files 1000 --cores 1,2                the same on fewer cores
    python benchmarks/growth.py --files 10000 --dvc                     with DVC's own share
    python benchmarks/growth.py --outputs 256,10000                     DVC alone, by files of an output
    python benchmarks/growth.py --earlier A.json,B.json --figure FILE   a figure of earlier results
    options: --json FILE, --figure FILE, --folder FOLDER (default: a temporary one), --no-comparison

Recordings are generated: tones that glide, with noise, 16 kHz mono FLAC (hours: 44.1 kHz stereo, of which the second
ten and all later ones sound like the first ten, but are other files). Each stage is a process of its own, as in the
pipeline. For every stage: seconds, processor seconds of all its processes, and the peak memory of the largest of them;
`again`: after one recording was added. The bytes of the grown corpus are compared with those made from nothing, unless
--no-comparison is given.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile as sf
import yaml

ROOT = Path(__file__).resolve().parents[1]
ORIGINALS = 10  # recordings of an hour that are generated
STAGES = ("recordings", "corpus", "resample", "encode", "shard")


def record(path: Path, number: int, seconds: float, rate: int, channels: int) -> None:
    """A recording like no other: blocks of a minute, so that hours fit into memory."""
    random = np.random.default_rng(number)
    with sf.SoundFile(path, "w", rate, channels, "PCM_16", format="FLAC") as file:
        left = round(seconds * rate)
        while left:
            n = min(left, 60 * rate)
            glide = np.cumsum(random.uniform(100, 400) + np.linspace(0, random.uniform(-50, 50), n)) / rate
            wave = 0.3 * np.sin(2 * np.pi * glide) + 0.02 * random.standard_normal(n)
            file.write(np.repeat(wave[:, None], channels, axis=1))
            left -= n


def copy(original: Path, path: Path, number: int) -> None:
    """The same audio in another file: a FLAC metadata block for applications, number 2, holds the number."""
    content = original.read_bytes()
    block = b"\x02\x00\x00\x0cAuRN" + number.to_bytes(8)
    path.write_bytes(content[:42] + block + content[42:])  # behind STREAMINFO, which always comes first


def recordings_of(hours: float) -> tuple[int, float, int, int]:
    """Recordings of an hour each, or a shorter one: how many, seconds of each, sample rate, channels."""
    return max(1, round(hours)), min(hours, 1) * 3600, 44_100, 2


def record_all(folder: Path, files: int, seconds: float, rate: int, channels: int) -> None:
    """Recordings in a folder; of an hour or more, those after the first ten are copies."""
    for i in range(files):
        if seconds < 3600 or i < ORIGINALS:
            record(folder / f"{i:06d}.flac", i, seconds, rate, channels)
        else:
            copy(folder / f"{i % ORIGINALS:06d}.flac", folder / f"{i:06d}.flac", i)


def run(command: list[str], folder: Path, cores: int | None) -> dict[str, float]:
    """Run a command: seconds, processor seconds and peak memory in MB (10^6 bytes)."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    if cores:
        environment["LOKY_MAX_CPU_COUNT"] = str(cores)
    # The largest process of those that the command waited for, and their time, are known to a parent of its own.
    script = (
        "import json, resource, subprocess, sys, time; begin = time.perf_counter(); "
        "code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode; "
        "u = resource.getrusage(resource.RUSAGE_CHILDREN); "
        "print(json.dumps([code, time.perf_counter() - begin, u.ru_utime + u.ru_stime, u.ru_maxrss]))"
    )
    command = [sys.executable, "-c", script, *command]
    printed = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, check=True).stdout
    code, seconds, processor, peak = json.loads(printed)
    if code:
        sys.exit(f"{' '.join(command)} failed")
    peak = peak if sys.platform == "darwin" else peak * 1024
    return {"seconds": round(seconds, 2), "cpu_seconds": round(processor, 2), "peak_mb": round(peak / 1e6)}


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of all outputs."""
    files = sorted(path for path in (folder / "data").rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def workspace(folder: Path, source: Path, dvc: bool) -> None:
    """Parameters that name the recordings; with DVC, a repository."""
    folder.mkdir()
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params["corpus"]["path"] = str(source)
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    if dvc:
        shutil.copytree(ROOT / "audiornn", folder / "audiornn", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(ROOT / "stages", folder / "stages", ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("dvc.yaml", ".dvcignore", ".gitignore"):
            shutil.copy(ROOT / name, folder / name)
        for command in (["git", "init", "-q"], ["dvc", "init", "-q"]):
            subprocess.run(command, cwd=folder, check=True)
        shutil.copy(ROOT / ".dvc/config", folder / ".dvc/config")


def measure(folder: Path, cores: int | None, stages: tuple[str, ...], dvc: bool) -> dict[str, dict[str, float]]:
    """What each stage costs, or all of them under DVC."""
    if dvc:
        return {f"dvc repro {stages[-1]}": run(["dvc", "repro", stages[-1]], folder, cores)}
    return {stage: run([sys.executable, "-m", f"stages.{stage}"], folder, cores) for stage in stages}


def outputs(folder: Path, files: int) -> dict[str, float]:
    """What DVC needs for an output of N small files, of which one is new."""
    folder.mkdir()
    make = "import pathlib; out = pathlib.Path('out'); out.mkdir(); n = int(pathlib.Path('n').read_text()); "
    make += "[(out / str(i)).write_bytes(i.to_bytes(8) * 1000) for i in range(n)]"
    stage = {"cmd": "python make.py", "deps": ["make.py", "n"], "outs": ["out"]}
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"make": stage}}))
    (folder / "make.py").write_text(make)
    for command in (["git", "init", "-q"], ["dvc", "init", "-q"]):
        subprocess.run(command, cwd=folder, check=True)
    shutil.copy(ROOT / ".dvc/config", folder / ".dvc/config")
    for n in (files - 1, files):
        (folder / "n").write_text(str(n))
        row = run(["dvc", "repro"], folder, None)
    return row


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", default="", help="numbers of recordings")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each of them (default: %(default)s)")
    parser.add_argument("--hours", default="", help="hours, in recordings of one hour")
    parser.add_argument("--cores", default="", help="numbers of cores to use (default: all)")
    parser.add_argument("--to", default="shard", choices=STAGES, help="last stage (default: %(default)s)")
    parser.add_argument("--dvc", action="store_true", help="measure `dvc repro` as a whole")
    parser.add_argument("--earlier", default="", help="files that --json wrote, to add to the results")
    parser.add_argument("--folder", type=Path, help="where to work")
    parser.add_argument("--no-comparison", action="store_true", help="do not compare the bytes")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--outputs", default="", help="numbers of files of an output")
    arguments = parser.parse_args()
    stages = STAGES[: STAGES.index(arguments.to) + 1]
    sizes = [(int(n), arguments.seconds, 16_000, 1) for n in filter(None, arguments.files.split(","))]
    sizes += [recordings_of(float(n)) for n in filter(None, arguments.hours.split(","))]
    rows = [row for name in filter(None, arguments.earlier.split(",")) for row in json.loads(Path(name).read_text())]
    with tempfile.TemporaryDirectory(dir=arguments.folder) as temporary:
        for n in filter(None, arguments.outputs.split(",")):
            row = outputs(Path(temporary, f"outputs-{n}"), int(n))
            print(f"{n:>6} files of an output, one new: {row['seconds']:.2f} s, {row['cpu_seconds']:.2f} cpu s")
        for files, seconds, rate, channels in sizes:
            source = Path(temporary, f"source-{files}-{seconds:g}")
            source.mkdir()
            record_all(source, files, seconds, rate, channels)
            for cores in [int(n) for n in filter(None, arguments.cores.split(","))] or [None]:
                work, fresh = Path(temporary, "work"), Path(temporary, "fresh")
                workspace(work, source, arguments.dvc)
                first = measure(work, cores, stages, arguments.dvc)
                added = source / "added.flac"
                record(added, files, min(seconds, 60), rate, channels)
                again = measure(work, cores, stages, arguments.dvc)
                grown = {} if arguments.no_comparison else digests(work)
                same = None
                if not arguments.no_comparison:
                    workspace(fresh, source, False)
                    measure(fresh, cores, stages, False)
                    same = digests(fresh) == grown
                    shutil.rmtree(fresh)
                added.unlink()
                for kind, measured in (("first", first), ("again", again)):
                    for stage, row in measured.items():
                        hours = files * seconds / 3600
                        rows.append({"files": files, "hours": hours, "cores": cores, "run": kind, "stage": stage} | row)
                        print(
                            f"{files:>6} files {hours:8.2f} h {cores or 'all':>4} cores  {kind} {stage:<16} "
                            f"{row['seconds']:>8.2f} s {row['cpu_seconds']:>8.2f} cpu s {row['peak_mb']:>6.0f} MB",
                            flush=True,
                        )
                if same is not None:
                    print(
                        f"the grown corpus has {'the same' if same else 'OTHER'} bytes as one from nothing", flush=True
                    )
                shutil.rmtree(work)
            shutil.rmtree(source)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")
    if arguments.figure:
        draw(rows, arguments.figure)


def draw(rows: list[dict], path: Path) -> None:
    """Seconds of each stage by the number of recordings, and by hours."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    long = [row["hours"] / row["files"] > 0.1 for row in rows]
    sizes = {(is_long, row["files"]) for row, is_long in zip(rows, long, strict=True)}
    kinds = [of_hours for of_hours in (False, True) if sum(size[0] == of_hours for size in sizes) > 1]  # two points
    figure, axes = plt.subplots(1, len(kinds), figsize=(5 * len(kinds) + 1, 4), sharey=True, squeeze=False)
    for axis, of_hours in zip(axes[0], kinds, strict=True):
        chosen = [row for row, is_long in zip(rows, long, strict=True) if is_long == of_hours]
        for color, stage in enumerate(dict.fromkeys(row["stage"] for row in chosen)):
            for kind, style in (("first", "o-"), ("again", "o:")):
                points = [row for row in chosen if (row["stage"], row["run"]) == (stage, kind)]
                x = [row["hours"] if of_hours else row["files"] for row in points]
                label = stage if kind == "first" else None
                axis.loglog(x, [row["cpu_seconds"] for row in points], style, color=f"C{color}", label=label)
        axis.set_xlabel("hours" if of_hours else "recordings")
        axis.grid(True, alpha=0.3)
    axes[0, 0].set_ylabel("processor seconds (dotted: one recording added)")
    axes[0, 0].legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main()
