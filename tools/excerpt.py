#!/usr/bin/env python3
"""One recording of a given length from the recordings of a folder, joined in the order of their paths.

    python tools/excerpt.py FOLDER --seconds 600 --to recordings/ten-minutes
    python tools/excerpt.py FOLDER --seconds 60 --passages 5 --to recordings/sixty-seconds
    python tools/excerpt.py FOLDER --skip 4 --start 3 --seconds 60 --to recordings/sixty-seconds-of-music

It is written to recording.wav in the new folder --to, mono, at the rate of the first recording. With --passages the
folder also gets validation.wav and test.wav, passages of it of that many seconds: a training on the folder is then
validated on what it has heard, and keeps the weights that reproduce it best. Recordings that are silent are left
out. --skip leaves out the first of those that remain, and --start that many seconds of what then comes first.
"""

import argparse
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf
import soxr

SILENT = 1e-2  # peak below which a recording is silent


def recordings(folder: Path, rate: int | None = None) -> Iterator[tuple[Any, int]]:
    """The recordings with sound, float [n], all at the rate of the first."""
    for path in sorted(folder.rglob("*.*")):
        if path.suffix.lower() not in (".wav", ".flac", ".ogg"):
            continue
        wave, own = sf.read(path, always_2d=True)
        wave = wave.mean(axis=1)
        if len(wave) and np.abs(wave).max() >= SILENT:
            rate = rate or own
            yield wave if own == rate else soxr.resample(wave, own, rate), rate


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--passages", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument("--skip", type=int, default=0, metavar="N")
    parser.add_argument("--start", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument("--to", type=Path, required=True, metavar="FOLDER")
    arguments = parser.parse_args()
    if not 0 < arguments.seconds < math.inf:
        sys.exit(f"error: --seconds is {arguments.seconds:g}, but must be above 0")
    if not 0 <= arguments.start < math.inf:
        sys.exit(f"error: --start is {arguments.start:g}, but must be at least 0")
    parts, held, rate = [], 0, 1
    end = arguments.start + arguments.seconds
    for number, (wave, rate) in enumerate(recordings(arguments.folder)):
        if number < arguments.skip:
            continue
        parts.append(wave)
        held += len(wave)
        if held >= end * rate:
            break
    if not parts or held < round(end * rate):
        sys.exit(
            f"error: {arguments.folder}: has {held / rate:.1f} s of sound, but --start is {arguments.start:g} and "
            f"--seconds {arguments.seconds:g}"
        )
    if not 0 <= 2 * arguments.passages <= arguments.seconds:
        sys.exit(f"error: --passages is {arguments.passages:g}, but must be from 0 to half of --seconds")
    first = round(arguments.start * rate)
    whole = np.concatenate(parts)[first : first + round(arguments.seconds * rate)]
    if arguments.to.exists():
        sys.exit(f"error: {arguments.to}: exists already")
    arguments.to.mkdir(parents=True)
    sf.write(arguments.to / "recording.wav", whole, rate, subtype="PCM_16")
    if length := round(arguments.passages * rate):
        for name, start in (("validation", 0), ("test", len(whole) // 2)):
            sf.write(arguments.to / f"{name}.wav", whole[start : start + length], rate, subtype="PCM_16")
    print(f"{arguments.to}: {len(whole) / rate:g} s at {rate} Hz, of {len(parts)} recordings")


if __name__ == "__main__":
    main()
