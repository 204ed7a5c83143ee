"""Plots of training, evaluation and audio. All are drawn without a display and returned as matplotlib figures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, MultipleLocator, PercentFormatter
from scipy import signal

from audiornn.common.array_types import Counts, Floats, Samples
from audiornn.common.files import atomic_file

if TYPE_CHECKING:
    from audiornn.evaluation.context_curve import ContextPoint
    from audiornn.evaluation.passages import Passage
    from audiornn.evaluation.per_code import Reliability

matplotlib.use("Agg")
# Palette for colour-blind readers (Okabe & Ito)
BLUE, ORANGE, GREEN, PURPLE, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#555555"
FLOOR_DB = -100.0  # lowest level of spectrograms, in dB relative to full scale
RANGE_DB = 80.0
CLIP_TOP_DB = -10.0  # top of the scale if it must not depend on the clip


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure as PNG, atomically and reproducibly."""
    with atomic_file(path) as partial:
        write(figure, partial)


def write(figure: Figure, file: Path | BinaryIO, dpi: int = 120) -> None:
    """Write a figure as PNG to a path or an open file; the same figure gives the same bytes each time."""
    figure.savefig(file, format="png", dpi=dpi, facecolor="white", metadata={"Software": None})


def curves(history: Sequence[Mapping[str, float]], code_entropy: float | None = None) -> Figure:
    """Loss and accuracy by epoch, training and validation.

    Parameters
    ----------
    history
        By epoch: `epoch`, `train_loss`, `validation_loss` (bits per sample), `train_accuracy`,
        `validation_accuracy` (shares).
    code_entropy
        Entropy of a single code in bits, drawn as a baseline.
    """
    epochs = [row["epoch"] for row in history]
    best = min(history, key=lambda row: row["validation_loss"])
    marker = "o" if len(epochs) < 30 else None
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    for axes, name, label in zip(
        figure.subplots(1, 2),
        ("loss", "accuracy"),
        ("loss (bits per sample)", "accuracy (share of correct codes)"),
        strict=True,
    ):
        for split, colour, style in (("train", BLUE, "-"), ("validation", ORANGE, "--")):
            values = [row[f"{split}_{name}"] for row in history]
            split_label = "training" if split == "train" else split
            axes.plot(epochs, values, style, color=colour, marker=marker, markersize=4, label=split_label)
        axes.plot(best["epoch"], best[f"validation_{name}"], "o", ms=11, mfc="none", mec=ORANGE, label="weights kept")
        if name == "loss" and code_entropy:
            axes.axhline(code_entropy, color=GREY, linestyle=":", label="entropy of a single code")
        if name == "accuracy":
            axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.set(xlabel="epoch", ylabel=label, title=f"{name.capitalize()} by epoch")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=epochs[-1] >= 2))
        axes.set_xlim(0, 1.04 * epochs[-1])
        axes.grid(alpha=0.3)
        axes.legend()
    return figure


def context_curve(curve: Sequence["ContextPoint"], training_context: int, code_entropy: float | None = None) -> Figure:
    """Bits per sample against context length, with standard errors.

    Parameters
    ----------
    curve
        As of `audiornn.evaluation.context_curve.context_curve`.
    training_context
        The training context, marked if the curve reaches it.
    code_entropy
        Entropy of a single code in bits: the best loss without context.
    """
    contexts = [point.context for point in curve]
    bits = np.array([point.bits_per_sample for point in curve])
    errors = np.array([point.standard_error for point in curve])
    figure = Figure(figsize=(8, 4.8), layout="constrained")
    axes = figure.subplots()
    axes.fill_between(contexts, bits - errors, bits + errors, color=BLUE, alpha=0.25, lw=0, label="± standard error")
    axes.plot(contexts, bits, "o-", color=BLUE, markersize=4, label=f"test split, {curve[0].targets} targets")
    if training_context <= contexts[-1]:
        label = f"training context, {training_context} codes"
        axes.axvline(training_context, color=ORANGE, linestyle="--", label=label)
    if code_entropy:
        axes.axhline(code_entropy, color=GREY, linestyle=":", label="entropy of a single code")
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set(
        xlabel="codes since the state was reset",
        ylabel="loss (bits per sample)",
        title="Loss against context length",
    )
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def calibration(top_code: "Reliability", all_codes: "Reliability") -> Figure:
    """Reliability diagrams for the likeliest code and for all codes, with counts below."""
    figure = Figure(figsize=(10, 6.4), layout="constrained")
    axes = figure.subplots(2, 2, height_ratios=[3, 1], sharex="col")
    figure.suptitle("Calibration: predicted probability and observed frequency")
    for column, (found, title, logarithmic) in enumerate(
        ((top_code, f"the likeliest code, mean gap {top_code.error:.3f}", False), (all_codes, "any code", True))
    ):
        held = found.counts > 0
        counts, predicted = found.counts[held], found.predicted[held] / found.counts[held]
        observed = found.observed[held] / counts
        error = np.sqrt(np.maximum(observed * (1 - observed), 1e-12) / counts)
        lowest = max(found.edges[1], 1e-9) / 3 if logarithmic else 0.0
        above, below = axes[0, column], axes[1, column]
        above.plot([lowest, 1], [lowest, 1], ":", color=GREY, label="perfect calibration")
        seen = observed > 0 if logarithmic else slice(None)
        above.errorbar(
            predicted[seen], observed[seen], error[seen], fmt="o-", ms=4, color=BLUE, capsize=2, label="observed"
        )
        edges = np.maximum(found.edges, lowest)
        if logarithmic:
            above.set(xscale="log", yscale="log")
        above.set(xlim=(lowest, 1), ylim=(lowest, 1.02), title=title, ylabel="observed frequency")
        above.grid(alpha=0.3)
        above.legend(loc="upper left")
        below.stairs(found.counts, edges, fill=True, color=BLUE, alpha=0.6, baseline=0.5)
        below.set(yscale="log", ylim=(0.5, 3 * max(1, found.counts.max())), xlabel="predicted probability")
        below.set_ylabel("predictions")
        below.grid(alpha=0.3)
    return figure


def passages(found: Sequence["Passage"], sample_rate: int) -> Figure:
    """Loss above spectrogram for several passages side by side, on common scales."""
    smooth = max(1, round(0.01 * sample_rate))
    spectra = [spectrogram(passage.wave, sample_rate) for passage in found]
    top = max(float(level.max()) for _, _, level in spectra)
    highest = max(float(np.max(passage.bits)) for passage in found)
    seconds = max(len(passage.wave) for passage in found) / sample_rate
    figure = Figure(figsize=(4.8 * len(found) + 1, 6), layout="constrained")
    figure.suptitle(f"Loss of each code in the best and worst predicted {seconds:.2g} s of the test split")
    axes = figure.subplots(2, len(found), squeeze=False, sharex=True, sharey="row")
    images = []
    for column, (passage, (times, frequencies, level)) in enumerate(zip(found, spectra, strict=True)):
        above, below = axes[:, column]
        time = np.arange(len(passage.bits)) / sample_rate
        width = min(smooth, len(passage.bits))
        above.plot(time, passage.bits, color=BLUE, lw=0.3, alpha=0.5, label="each code")
        mean = np.convolve(passage.bits, np.ones(width) / width, "valid")
        above.plot(time[width // 2 :][: len(mean)], mean, color=ORANGE, label="mean over 10 ms")
        place = f"recording {passage.recording + 1}, from {passage.start / sample_rate:.2f} s"
        above.set(title=f"{passage.title}: {np.mean(passage.bits):.2f} bits per sample\n({place})")
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


def code_distributions(real: Counts, others: Mapping[str, Counts]) -> Figure:
    """Distributions of codes: real audio as an area, others as lines.

    Parameters
    ----------
    real
        Counts [256] in the test split.
    others
        Counts [256] by legend label, at most four.
    """
    figure = Figure(figsize=(9, 4.8), layout="constrained")
    axes = figure.subplots()
    codes = np.arange(len(real))
    axes.fill_between(codes, real / real.sum(), color=GREY, alpha=0.35, lw=0, step="mid", label="real (test split)")
    for (name, counts), colour, style in zip(
        others.items(), (BLUE, ORANGE, GREEN, PURPLE), ("-", "--", "-.", ":"), strict=False
    ):
        axes.step(codes, counts / counts.sum(), where="mid", color=colour, linestyle=style, lw=1.1, label=name)
    axes.set(
        xlabel="code (128: silence, 0 and 255: full scale after pre-emphasis)",
        ylabel="share of all codes",
        title="Distribution of codes",
        xlim=(0, len(real) - 1),
    )
    axes.set_yscale("log", nonpositive="clip")
    axes.set_ylim(0.5 / real.sum(), 1)
    axes.xaxis.set_major_locator(MultipleLocator(32))
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


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


def sweep(
    parameter: str,
    values: Sequence[object],
    columns: Mapping[str, Sequence[float | None]],
    title: str,
    errors: Mapping[str, Sequence[float | None]] | None = None,
) -> Figure:
    """Bits per sample, distance from real audio and training time of a sweep's settings.

    Parameters
    ----------
    parameter
        Name of the swept parameter.
    values
        Its value in each setting. Numbers are on a linear axis, or a logarithmic one if they span more than a decade;
        other values are categories.
    columns
        For each setting `validation_bits_per_sample`, `test_bits_per_sample`, `training_seconds`, and `distance_ratio`,
        None if the clips were silent.
    errors
        Standard errors by the same names, drawn as bars; None where they are not known.
    """
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    places = np.array(values if numbers else range(len(values)), float)
    order = np.argsort(places)
    figure = Figure(figsize=(max(7.0, 1.7 * len(values) + 2), 8.2), layout="constrained")
    bits, sound, cost = figure.subplots(3, 1, sharex=True, height_ratios=[2, 1.2, 1])
    for split, colour, style in (("validation", ORANGE, "-"), ("test", BLUE, "--")):
        heights = np.array(columns[f"{split}_bits_per_sample"], float)[order]
        bits.plot(places[order], heights, color=colour, marker="o", linestyle=style if numbers else "none", label=split)
    validation = np.array(columns["validation_bits_per_sample"], float)
    best = int(validation.argmin())
    bits.plot(places[best], validation[best], "o", ms=13, mfc="none", mec=ORANGE, label="best on validation")
    bits.set(ylabel="bits per sample (lower is better)", title=f"{title}: loss, sound and training time")
    distance = np.array(columns["distance_ratio"], float)[order]  # None becomes NaN, which is not drawn
    sound.plot(places[order], distance, color=ORANGE, marker="o", linestyle="-" if numbers else "none")
    sound.axhline(1, color=GREY, linestyle=":", label="limit of real audio")
    sound.set_ylabel("distance from real audio\n(1: its own limit)")
    sound.set_ylim(0, 1.15 * max(1.0, *distance[np.isfinite(distance)]))
    sound.legend()
    minutes = np.array(columns["training_seconds"], float) / 60
    if numbers:
        cost.plot(places[order], minutes[order], color=GREY, marker="s")
    else:
        cost.bar(places, minutes, width=0.4, color=GREY)
        cost.set_xlim(-0.6, len(values) - 0.4)
    cost.set(xlabel=parameter, ylabel="training time (minutes)", ylim=(0, 1.15 * max(minutes.max(), 1e-3)))
    if numbers and places.min() > 0 and places.max() > 10 * places.min():
        cost.set_xscale("log")
    cost.set_xticks(places, [str(value).replace(" ", "\n") for value in values])
    cost.minorticks_off()
    drawn = (
        (bits, "validation_bits_per_sample", 1.0, ORANGE),
        (bits, "test_bits_per_sample", 1.0, BLUE),
        (sound, "distance_ratio", 1.0, ORANGE),
        (cost, "training_seconds", 1 / 60, GREY),
    )
    for axes, column, scale, colour in drawn if errors else ():
        error = np.array((errors or {})[column], float)
        known = np.isfinite(error)  # None becomes NaN
        heights = np.array(columns[column], float)
        if known.any():
            axes.errorbar(
                places[known], scale * heights[known], scale * error[known], fmt="none", ecolor=colour, capsize=4
            )
    if errors and any(value is not None for column in errors.values() for value in column):
        bits.set_title(f"{title}: loss, sound and training time, mean ± standard error")
    for axes in (bits, sound, cost):
        axes.grid(alpha=0.3)
        axes.set_axisbelow(True)
    bits.margins(x=0.08)
    bits.legend()
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


def spectrogram(wave: Samples, sample_rate: int) -> tuple[Floats, Floats, Floats]:
    """Times (s), frequencies (Hz) and levels (dB, a full-scale sine is 0 dB) with a Hann window of 32 ms."""
    size = max(16, round(0.032 * sample_rate))
    window = signal.windows.hann(size, sym=False)
    transform = signal.ShortTimeFFT(window, hop=max(1, size // 4), fs=sample_rate, fft_mode="onesided")
    if len(wave) < size:
        wave = np.pad(wave, (0, size - len(wave)))
    magnitude = np.abs(transform.stft(wave)) * 2 / window.sum()
    level = np.maximum(20 * np.log10(np.maximum(magnitude, 1e-10)), FLOOR_DB)
    return transform.t(len(wave)), transform.f, level
