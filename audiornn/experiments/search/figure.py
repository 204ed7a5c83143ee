"""The figure of a search: parallel coordinates.

Optuna's own has a white line for the worst trial, no place for pruned ones, and fails where all values of a parameter
are the same.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from audiornn.common.array_types import Floats
from audiornn.experiments.plan import format_value
from audiornn.figures import GREY, ORANGE

LOSS = "bits per sample"
MAX_LABEL = 24  # characters of a label
BEHIND = {"facecolor": "white", "alpha": 0.7, "edgecolor": "none", "pad": 1}  # of a label, over lines


def parallel_coordinates(
    values: Sequence[Mapping[str, Any]], losses: Sequence[float | None], logarithmic: Sequence[str] = ()
) -> Figure:
    """A line per trial, from parameter to parameter to its loss: the best thick, pruned ones dotted, without a loss.

    Parameters
    ----------
    values
        Of each trial, by parameter; numbers are drawn on a scale, all else as categories.
    losses
        Of each trial in bits per sample, of at least one; None if it was pruned.
    logarithmic
        Parameters on a logarithmic scale.
    """
    names = list(values[0])
    figure = Figure(figsize=(2.6 * (len(names) + 1) + 1, 4.8), layout="constrained")
    axes = figure.subplots()
    heights = np.empty((len(values), len(names) + 1))
    for column, name in enumerate(names):
        heights[:, column], ticks = _scale([each[name] for each in values], name in logarithmic)
        _axis(axes, column, ticks)
    known = np.array([loss is not None for loss in losses])
    heights[:, -1] = np.nan
    heights[known, -1], ticks = _scale([loss for loss in losses if loss is not None], False)
    _axis(axes, len(names), ticks)
    order = sorted((i for i in range(len(losses)) if known[i]), key=lambda i: -float(losses[i] or 0))
    colours = matplotlib.colormaps["viridis"](np.linspace(0.9, 0, max(1, len(order))))  # dark: fewer bits
    for i in np.flatnonzero(~known).tolist():
        axes.plot(heights[i], color=GREY, linestyle=":", lw=1, label=f"trial {i}, without result")
    for i, colour in zip(order, colours, strict=False):
        best = i == order[-1]
        axes.plot(heights[i], color=ORANGE if best else colour, lw=3 if best else 1.2, label=f"trial {i}")
    axes.set_xticks(range(len(names) + 1), [*names, LOSS])
    axes.set(xlim=(-0.1, len(names) + 0.45), ylim=(-0.04, 1.04))
    axes.set_title("Trials: the best is thick, those that were pruned are dotted")
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    return figure


def _scale(values: Sequence[Any], logarithmic: bool) -> tuple[Floats, dict[float, str]]:
    """Heights from 0 to 1 of values, float [n], and the labels of some heights."""
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        labels = [format_value(value) for value in values]
        kinds = sorted(set(labels))
        places = {label: i / max(1, len(kinds) - 1) for i, label in enumerate(kinds)}
        return np.array([places[label] for label in labels]), {place: label for label, place in places.items()}
    numbers = np.array(values, float)
    scaled = np.log(numbers) if logarithmic else numbers
    low, high = scaled.min(), scaled.max()
    if low == high:
        return np.full(len(values), 0.5), {0.5: f"{numbers[0]:.4g}"}
    ticks = {share: low + share * (high - low) for share in (0.0, 0.25, 0.5, 0.75, 1.0)}
    return (scaled - low) / (high - low), {
        share: f"{np.exp(at) if logarithmic else at:.4g}" for share, at in ticks.items()
    }


def _axis(axes: Axes, place: int, ticks: Mapping[float, str]) -> None:
    """A vertical line with labels beside it."""
    axes.axvline(place, color=GREY, lw=0.8, zorder=0)
    for height, label in ticks.items():
        text = label if len(label) <= MAX_LABEL else f"{label[:MAX_LABEL]}…"
        axes.text(place + 0.03, height, text, va="center", fontsize=8, parse_math=False, bbox=BEHIND)
