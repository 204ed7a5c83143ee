"""Numbered wav files up to a total length; portable random choices."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
import soundfile as sf
from numpy.typing import NDArray
from tqdm import tqdm

T = TypeVar("T")


def check_arguments(minutes: float, seed: int) -> None:
    if not 0 < minutes < math.inf:
        raise ValueError(f"minutes must be a positive number, not {minutes}")
    if seed < 0:
        raise ValueError(f"seed must be 0 or more, not {seed}")


def write_until(
    folder: Path, minutes: float, sample_rate: int, pieces: Iterator[tuple[str, NDArray[np.int16]]]
) -> list[Path]:
    """Write pieces as WAV files until their total length is `minutes`."""
    folder.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    missing = minutes * 60 * sample_rate
    with tqdm(desc="synthesise", total=round(missing), unit="sample", unit_scale=True, disable=None) as bar:
        while missing > 0:
            label, samples = next(pieces)
            paths.append(folder / f"{len(paths) + 1:04d}-{label}.wav")
            sf.write(paths[-1], samples, sample_rate, subtype="PCM_16")
            missing -= len(samples)
            bar.update(len(samples))
    return paths


def choose(options: tuple[T, ...], rng: np.random.Generator) -> T:
    # NumPy may change choice() and integers(); the plain stream of doubles is stable across versions.
    return options[int(rng.random() * len(options))]
