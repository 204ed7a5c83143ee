"""Figures of predictions: learning curves, context, calibration, codes."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, MultipleLocator, PercentFormatter

from audiornn.common.array_types import Counts
from audiornn.figures.style import BLUE, GREEN, GREY, ORANGE, PURPLE

if TYPE_CHECKING:
    from audiornn.evaluation.context_curve import ContextPoint
    from audiornn.evaluation.per_code import Reliability


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
