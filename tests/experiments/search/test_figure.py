"""The figure of a search has a line per trial, through all of its parameters to its loss."""

import io

import numpy as np
import pytest

from audiornn.experiments.search.figure import parallel_coordinates


def test_each_trial_is_a_line_and_the_best_is_the_thickest():
    values = [{"rate": 0.001, "size": 64, "kind": "a"}, {"rate": 0.01, "size": 256, "kind": "$b$"}]
    values.append({"rate": 0.1, "size": 64, "kind": {"name": "c"}})
    figure = parallel_coordinates(values, [4.5, 4.0, None], ["rate"])
    (axes,) = figure.axes
    lines = {line.get_label(): line for line in axes.lines if line.get_label().startswith("trial")}
    assert list(lines["trial 0"].get_ydata()) == pytest.approx([0, 0, 0.5, 1])
    assert list(lines["trial 1"].get_ydata()) == pytest.approx([0.5, 1, 0, 0]), "rates are on a logarithmic scale"
    pruned = lines["trial 2, without result"].get_ydata()
    assert list(pruned[:3]) == pytest.approx([1, 0, 1]) and np.isnan(pruned[3])
    assert lines["trial 1"].get_linewidth() > lines["trial 0"].get_linewidth()
    assert [label.get_text() for label in axes.get_xticklabels()] == ["rate", "size", "kind", "bits per sample"]
    figure.savefig(io.BytesIO())


def test_trials_that_are_all_alike_can_be_drawn():
    figure = parallel_coordinates([{"size": 64}, {"size": 64}], [4.0, 4.0], ["size"])
    assert [text.get_text() for text in figure.axes[0].texts] == ["64", "4"]
