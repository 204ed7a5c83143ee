"""Every picture. All are drawn without a display and returned as matplotlib figures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray
from scipy import signal

from audiornn.files import atomic_file

matplotlib.use("Agg")
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#555555"  # told apart by colour-blind people too (Okabe & Ito)
FLOOR_DB = -100.0  # lowest level of spectrograms, in dB relative to full scale
RANGE_DB = 80.0


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure as PNG, atomically and without the time of writing."""
    with atomic_file(path) as partial:
        figure.savefig(partial, dpi=120, facecolor="white", metadata={"Software": None})


def curves(history: Sequence[Mapping[str, float]], code_entropy: float | None = None) -> Figure:
    """Loss and accuracy against epoch, training and validation in one picture.

    Parameters
    ----------
    history
        By epoch: `epoch`, `train_loss`, `validation_loss` (bits per sample), `train_accuracy`,
        `validation_accuracy` (shares).
    code_entropy
        Entropy of a single code in bits, drawn as the line that a model must get below.
    """
    epochs = [row["epoch"] for row in history]
    best = min(history, key=lambda row: row["validation_loss"])
    marker = "o" if len(epochs) < 30 else None
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    for axes, name, label in zip(
        figure.subplots(1, 2),
        ("loss", "accuracy"),
        ("loss (bits per sample)", "accuracy (share of codes right)"),
        strict=True,
    ):
        for part, colour, style in (("train", BLUE, "-"), ("validation", ORANGE, "--")):
            values = [row[f"{part}_{name}"] for row in history]
            label_part = "training" if part == "train" else part
            axes.plot(epochs, values, style, color=colour, marker=marker, markersize=4, label=label_part)
        axes.plot(best["epoch"], best[f"validation_{name}"], "o", ms=11, mfc="none", mec=ORANGE, label="weights kept")
        if name == "loss" and code_entropy:
            axes.axhline(code_entropy, color=GREY, linestyle=":", label="entropy of a single code")
        if name == "accuracy":
            axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.set(xlabel="epoch", ylabel=label, title=f"{name.capitalize()} by epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.margins(x=0.04)
        axes.grid(alpha=0.3)
        axes.legend()
    return figure


def compare_audio(clips: Mapping[str, NDArray[Any]], sample_rate: int, title: str) -> Figure:
    """Waveform above spectrogram of several waves side by side, all on the same scales.

    Parameters
    ----------
    clips
        Waves float [n] in [-1, 1] by the titles of their columns.
    sample_rate
        In Hz.
    """
    seconds = max(len(wave) for wave in clips.values()) / sample_rate
    peak = max(0.05, *(float(np.abs(wave).max(initial=0)) for wave in clips.values()))
    spectra = {name: spectrogram(wave, sample_rate) for name, wave in clips.items()}
    top = max(float(level.max()) for _, _, level in spectra.values())
    figure = Figure(figsize=(max(7.0, 4.2 * len(clips) + 0.8), 6), layout="constrained")
    figure.suptitle(title)
    axes = figure.subplots(2, len(clips), squeeze=False, sharex=True, sharey="row")
    image: Any = None
    for column, (name, wave) in enumerate(clips.items()):
        axes[0, column].plot(np.arange(len(wave)) / sample_rate, wave, color=BLUE, linewidth=0.5)
        axes[0, column].set(title=name, xlim=(0, seconds), ylim=(-1.05 * peak, 1.05 * peak))
        axes[0, column].grid(alpha=0.3)
        times, frequencies, level = spectra[name]
        image = axes[1, column].pcolormesh(
            times, frequencies / 1000, level, cmap="magma", vmin=top - RANGE_DB, vmax=top, rasterized=True
        )
        axes[1, column].set(xlabel="time (s)", xlim=(0, seconds), ylim=(0, sample_rate / 2000), facecolor="black")
    axes[0, 0].set_ylabel("amplitude (full scale = 1)")
    axes[1, 0].set_ylabel("frequency (kHz)")
    figure.colorbar(image, ax=axes[1], label="level (dB re full scale)", pad=0.01)
    return figure


def spectrogram(wave: NDArray[Any], sample_rate: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Times (s), frequencies (Hz) and levels (dB, a full-scale sine is 0 dB) under a Hann window of 32 ms."""
    size = max(16, round(0.032 * sample_rate))
    window = signal.windows.hann(size, sym=False)
    transform = signal.ShortTimeFFT(window, hop=max(1, size // 4), fs=sample_rate, fft_mode="onesided")
    if len(wave) < size:
        wave = np.pad(wave, (0, size - len(wave)))
    magnitude = np.abs(transform.stft(wave)) * 2 / window.sum()
    level = np.maximum(20 * np.log10(np.maximum(magnitude, 1e-10)), FLOOR_DB)
    return transform.t(len(wave)), transform.f, level
