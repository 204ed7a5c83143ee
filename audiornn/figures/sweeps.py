"""Figures of sweeps."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from audiornn.figures.style import BLUE, GREY, ORANGE


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
