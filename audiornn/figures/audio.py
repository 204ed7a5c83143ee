"""Figures of audio: waveforms and spectrograms."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import scipy
from matplotlib.figure import Figure

from audiornn.common.array_types import Floats, Samples
from audiornn.figures.style import BLUE, ORANGE

if TYPE_CHECKING:
    from audiornn.evaluation.passages import Passage

FLOOR_DB = -100.0  # lowest level of spectrograms, in dB relative to full scale
RANGE_DB = 80.0
CLIP_TOP_DB = -10.0  # top of the scale if it must not depend on the clip


def clip(wave: Samples, sample_rate: int, title: str) -> Figure:
    """Waveform above spectrogram of a wave, on fixed scales so that clips can be compared.

    Parameters
    ----------
    wave
        Float [n] in [-1, 1].
    sample_rate
        In Hz.
    """
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    figure.suptitle(title)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[1, 2])
    seconds = max(len(wave), 1) / sample_rate
    above.plot(np.arange(len(wave)) / sample_rate, wave, color=BLUE, linewidth=0.5)
    above.set(xlim=(0, seconds), ylim=(-1.05, 1.05), ylabel="amplitude\n(full scale = 1)")
    above.grid(alpha=0.3)
    times, frequencies, level = spectrogram(wave, sample_rate)
    image = below.pcolormesh(
        times, frequencies / 1000, level, cmap="magma", vmin=CLIP_TOP_DB - RANGE_DB, vmax=CLIP_TOP_DB, rasterized=True
    )
    below.set(xlabel="time (s)", ylabel="frequency (kHz)", ylim=(0, sample_rate / 2000), facecolor="black")
    figure.colorbar(image, ax=below, label="level (dB re full scale)", pad=0.01)
    return figure


def compare_audio(clips: Mapping[str, Samples], sample_rate: int, title: str) -> Figure:
    """Waveform above spectrogram of several waves side by side, on common scales.

    Parameters
    ----------
    clips
        Waves float [n] in [-1, 1] by column title.
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
    images = []
    for column, (name, wave) in enumerate(clips.items()):
        axes[0, column].plot(np.arange(len(wave)) / sample_rate, wave, color=BLUE, linewidth=0.5)
        axes[0, column].set(title=name, xlim=(0, seconds), ylim=(-1.05 * peak, 1.05 * peak))
        axes[0, column].grid(alpha=0.3)
        times, frequencies, level = spectra[name]
        images.append(
            axes[1, column].pcolormesh(
                times, frequencies / 1000, level, cmap="magma", vmin=top - RANGE_DB, vmax=top, rasterized=True
            )
        )
        axes[1, column].set(xlabel="time (s)", xlim=(0, seconds), ylim=(0, sample_rate / 2000), facecolor="black")
    axes[0, 0].set_ylabel("amplitude (full scale = 1)")
    axes[1, 0].set_ylabel("frequency (kHz)")
    figure.colorbar(images[-1], ax=axes[1], label="level (dB re full scale)", pad=0.01)
    return figure


def passages(found: Sequence["Passage"], sample_rate: int) -> Figure:
    """Loss above spectrogram for several passages side by side, on common scales."""
    smooth = max(1, round(0.01 * sample_rate))
    spectra = [spectrogram(passage.wave, sample_rate) for passage in found]
    top = max(float(level.max()) for _, _, level in spectra)
    highest = max(float(np.nanmax(passage.bits)) for passage in found)
    seconds = max(len(passage.wave) for passage in found) / sample_rate
    figure = Figure(figsize=(4.8 * len(found) + 1, 6), layout="constrained")
    figure.suptitle(f"Loss of each code in the best and worst predicted {seconds:.2g} s of the test split")
    axes = figure.subplots(2, len(found), squeeze=False, sharex=True, sharey="row")
    images = []
    for column, (passage, (times, frequencies, level)) in enumerate(zip(found, spectra, strict=True)):
        above, below = axes[:, column]
        time = np.arange(len(passage.bits)) / sample_rate
        width = min(smooth, len(passage.bits))
        if np.isfinite(passage.bits).all():
            above.plot(time, passage.bits, color=BLUE, lw=0.3, alpha=0.5, label="each code")
            mean = np.convolve(passage.bits, np.ones(width) / width, "valid")
            above.plot(time[width // 2 :][: len(mean)], mean, color=ORANGE, label="mean over 10 ms")
        else:
            above.plot(time, passage.bits, ".", color=BLUE, label="each target")
        place = f"recording {passage.recording + 1}, from {passage.start / sample_rate:.2f} s"
        above.set(title=f"{passage.title}: {np.nanmean(passage.bits):.2f} bits per sample\n({place})")
        above.set(xlim=(0, seconds), ylim=(0, 1.2 * highest))
        above.grid(alpha=0.3)
        images.append(
            below.pcolormesh(
                times, frequencies / 1000, level, cmap="magma", vmin=top - RANGE_DB, vmax=top, rasterized=True
            )
        )
        below.set(xlabel="time (s)", ylim=(0, sample_rate / 2000), facecolor="black")
    axes[0, 0].set_ylabel("loss (bits)")
    axes[0, 0].legend(loc="upper right", ncols=2)
    axes[1, 0].set_ylabel("frequency (kHz)")
    figure.colorbar(images[-1], ax=axes[1], label="level (dB re full scale)", pad=0.01)
    return figure


def spectrogram(wave: Samples, sample_rate: int) -> tuple[Floats, Floats, Floats]:
    """Times (s), frequencies (Hz) and levels (dB, a full-scale sine is 0 dB) with a Hann window of 32 ms."""
    size = max(16, round(0.032 * sample_rate))
    window = scipy.signal.windows.hann(size, sym=False)
    transform = scipy.signal.ShortTimeFFT(window, hop=max(1, size // 4), fs=sample_rate, fft_mode="onesided")
    if len(wave) < size:
        wave = np.pad(wave, (0, size - len(wave)))
    magnitude = np.abs(transform.stft(wave)) * 2 / window.sum()
    level = np.maximum(20 * np.log10(np.maximum(magnitude, 1e-10)), FLOOR_DB)
    return transform.t(len(wave)), transform.f, level
