"""Figures of predictions show what they say."""

import matplotlib.image
import numpy as np
import pytest

from audiornn import figures
from audiornn.evaluation.context_curve import ContextPoint
from audiornn.evaluation.per_code import CONFIDENCES, PROBABILITIES, Reliability
from tests.helpers.figures import HISTORY, inside, labelled


def test_curves_show_training_and_validation_in_one_picture():
    loss, accuracy = figures.curves(HISTORY, code_entropy=7.0).axes
    assert loss.get_ylabel() == "loss (bits per sample)"
    lines = {line.get_label(): line for line in loss.lines}
    assert list(lines["training"].get_ydata()) == [5, 4, 3]
    assert list(lines["validation"].get_ydata()) == [5.5, 4.0, 4.5]
    assert (lines["weights kept"].get_xdata()[0], lines["weights kept"].get_ydata()[0]) == (2, 4.0)
    assert lines["entropy of a single code"].get_ydata()[0] == 7.0
    assert accuracy.get_ylabel() == "accuracy (share of correct codes)"
    assert all(axes.get_xlabel() == "epoch" and axes.get_title() for axes in (loss, accuracy))


def test_a_single_epoch_can_be_drawn(tmp_path):
    figures.save(figures.curves(HISTORY[:1]), tmp_path / "a.png")
    assert matplotlib.image.imread(tmp_path / "a.png").shape[0] > 300


def test_the_context_curve_shows_its_error_and_where_training_was():
    curve = [ContextPoint(c, 8 - i, 0.1 * i, 0, 0, 99) for i, c in enumerate((1, 2, 4, 8, 12, 16))]
    figure = figures.context_curve(curve, 8, code_entropy=7.0)
    [axes] = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("codes since the state was reset", "loss (bits per sample)")
    assert axes.get_xscale() == "log"
    lines = {line.get_label(): line for line in axes.lines}
    line = lines["test split, 99 targets"]
    assert list(line.get_xdata()) == [1, 2, 4, 8, 12, 16]
    assert list(line.get_ydata()) == [8, 7, 6, 5, 4, 3]
    assert lines["training context, 8 codes"].get_xdata()[0] == 8
    assert lines["entropy of a single code"].get_ydata()[0] == 7
    band = axes.collections[0].get_paths()[0].vertices
    assert {(12, 3.6), (12, 4.4)} <= {(x, round(y, 6)) for x, y in band.tolist()}
    assert labelled(figure, 1)
    assert inside(figure)
    short = figures.context_curve(curve[:3], 8)  # recordings that are too short for the training context
    assert not any("training" in line.get_label() for line in short.axes[0].lines)


def test_calibration_shows_frequencies_beside_probabilities_and_how_many_there_are():
    likeliest, every = Reliability(CONFIDENCES), Reliability(PROBABILITIES)
    random = np.random.default_rng(0)
    p = random.random(10_000)
    likeliest.add(p, random.random(10_000) < p / 2)
    every.add(p**9, random.random(10_000) < p**9)
    figure = figures.calibration(likeliest, every)
    above, logarithmic, below, _ = figure.axes
    assert figure._suptitle.get_text() == "Calibration: predicted probability and observed frequency"
    assert likeliest.error == pytest.approx(0.25, abs=0.02)
    assert f"mean gap {likeliest.error:.3f}" in above.get_title()
    observed = above.containers[0].lines[0]
    np.testing.assert_allclose(observed.get_ydata(), np.asarray(observed.get_xdata()) / 2, atol=0.08)
    assert (above.get_ylim()[0], below.get_xlabel()) == (0, "predicted probability")
    assert logarithmic.get_xscale() == logarithmic.get_yscale() == "log"
    assert below.patches[0].get_data().values.sum() == 10_000
    assert labelled(figure, 4)
    assert inside(figure)


@pytest.mark.slow
def test_calibration_of_a_model_that_is_always_sure_and_right_can_be_drawn(tmp_path):
    likeliest, every = Reliability(CONFIDENCES), Reliability(PROBABILITIES)
    likeliest.add(np.ones(5), np.ones(5))
    every.add(np.array([1.0, 0.0, 0.0]), np.array([1, 0, 0]))
    figures.save(figures.calibration(likeliest, every), tmp_path / "a.png")
    assert np.ptp(matplotlib.image.imread(tmp_path / "a.png")) > 0.5


def test_code_distributions_are_shares_in_one_panel():
    real, made = np.full(256, 10), np.zeros(256, int)
    made[128] = 50
    figure = figures.code_distributions(real, {"generated (0.9 bits)": made})
    [axes] = figure.axes
    [line] = axes.lines
    assert line.get_label() == "generated (0.9 bits)"
    assert (line.get_ydata()[128], line.get_ydata().sum()) == (1, 1)
    assert axes.get_xlim() == (0, 255)
    assert axes.get_ylim()[0] < 1 / 256 < axes.get_ylim()[1]
    assert labelled(figure, 1)
    assert inside(figure)


def test_lines_in_one_panel_differ_without_colour():
    real = np.ones(256)
    lines = figures.code_distributions(real, dict.fromkeys("abcd", real)).axes[0].lines
    assert len({line.get_color() for line in lines}) == len({line.get_linestyle() for line in lines}) == 4


def test_a_budget_of_less_than_an_epoch_is_drawn_from_its_start(tmp_path):
    row = dict(HISTORY[0], epoch=0.2152)
    for axes in figures.curves([row]).axes:
        assert axes.get_xlim()[0] == 0
        assert 0.2152 < axes.get_xlim()[1] < 0.3
