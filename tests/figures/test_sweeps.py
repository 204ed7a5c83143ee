"""The figure of a sweep shows each setting."""

import numpy as np
import pytest

from audiornn import figures


@pytest.mark.parametrize("values", [[4000, 128, 1000], ["lpcmix", "linear", "samplernn"]])
def test_a_sweep_shows_each_setting_with_its_cost_and_marks_the_best(values):
    columns = {
        "validation_bits_per_sample": [4.5, 4.1, 4.3],
        "test_bits_per_sample": [4.6, 4.2, 4.4],
        "training_seconds": [600.0, 60.0, 120.0],
        "distance_ratio": [None, 1.5, 0.8],
    }
    bits, sound, cost = figures.sweep("what", values, columns, "Sweep").axes
    lines = {line.get_label(): line for line in bits.lines}
    numbers = isinstance(values[0], int)
    assert list(lines["validation"].get_xdata()) == ([128, 1000, 4000] if numbers else [0, 1, 2])
    assert list(lines["validation"].get_ydata()) == ([4.1, 4.3, 4.5] if numbers else [4.5, 4.1, 4.3])
    assert (lines["best on validation"].get_xdata()[0], lines["best on validation"].get_ydata()[0]) == (
        128 if numbers else 1,
        4.1,
    )
    heard = list(sound.lines[0].get_ydata())
    assert heard == pytest.approx([1.5, 0.8, np.nan] if numbers else [np.nan, 1.5, 0.8], nan_ok=True)
    assert list(sound.lines[1].get_ydata()) == [1, 1]
    minutes = list(cost.lines[0].get_ydata()) if numbers else [bar.get_height() for bar in cost.patches]
    assert minutes == ([1, 2, 10] if numbers else [10, 1, 2])
    assert (cost.get_xscale(), cost.get_xlabel()) == ("log" if numbers else "linear", "what")
    assert [label.get_text() for label in cost.get_xticklabels()] == [str(value) for value in values]


def test_repeated_settings_have_bars_of_their_standard_errors():
    columns = {key: [4.5, 4.1, 4.3] for key in ("validation_bits_per_sample", "test_bits_per_sample")}
    columns |= {"training_seconds": [600.0, 60.0, 120.0], "distance_ratio": [None, 1.5, 0.8]}
    errors = {key: [0.1, None, 0.2] for key in columns} | {"training_seconds": [60.0, 6.0, 12.0]}
    bits, sound, cost = figures.sweep("what", [1, 2, 3], columns, "Sweep", errors).axes
    (bars, _) = (container[2][0].get_segments() for container in bits.containers)
    assert [[tuple(end) for end in bar] for bar in bars] == [[(1, 4.4), (1, 4.6)], [(3, 4.1), (3, 4.5)]]
    assert len(sound.containers) == len(cost.containers) == 1
    assert "mean ± standard error" in bits.get_title()
    alone = figures.sweep("what", [1, 2, 3], columns, "Sweep", {key: [None] * 3 for key in columns}).axes[0]
    assert not alone.containers and "error" not in alone.get_title()
