"""Waves at the rate of the tests of diagnostics."""

import numpy as np
from numpy.typing import NDArray

from audiornn.diagnostics.diagnosis import diagnose
from audiornn.diagnostics.reference import Reference

RATE = 8000
Wave = NDArray[np.float64]


def time(seconds: float, rate: int = RATE) -> Wave:
    return np.arange(round(seconds * rate)) / rate


def sine(frequency: float, seconds: float = 3, rate: int = RATE) -> Wave:
    return 0.3 * np.sin(2 * np.pi * frequency * time(seconds, rate))


def noise(seconds: float = 3, rate: int = RATE, seed: int = 0) -> Wave:
    return 0.1 * np.random.default_rng(seed).standard_normal(round(seconds * rate))


def again(piece: Wave, seconds: float, rate: int = RATE) -> Wave:
    return np.resize(piece, round(seconds * rate))


def kinds(wave: Wave, rate: int = RATE, reference: Reference | None = None) -> list[str]:
    """What a diagnosis finds."""
    return [finding.kind for finding in diagnose(wave, rate, reference).findings]
