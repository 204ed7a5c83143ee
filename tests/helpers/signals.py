"""Test signals, and what tests measure on them."""

import numpy as np
from numpy.typing import NDArray

RATE = 8000


def sine(frequency: float, rate: int, seconds: float = 1.0) -> NDArray[np.float64]:
    return np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)


def noise(seed: int, *shape: int) -> NDArray[np.float64]:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, shape)


def middle(wave: NDArray[np.float64]) -> NDArray[np.float64]:
    """Without the first and the last quarter, where filters begin and end."""
    return wave[len(wave) // 4 : -len(wave) // 4]


def level_db(wave: NDArray[np.float64]) -> float:
    """RMS in dB relative to that of a full-scale sine; -300 for silence."""
    return float(20 * np.log10(max(np.sqrt(np.mean(wave**2) * 2), 1e-15)))


def strongest_frequency(wave: NDArray[np.float64], rate: int) -> float:
    """In Hz, to a fraction of one."""
    size = 16 * len(wave)
    return float(np.abs(np.fft.rfft(wave * np.hanning(len(wave)), size)).argmax() * rate / size)
