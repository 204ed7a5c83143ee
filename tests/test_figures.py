"""Figures show what they say: both curves, the same scales, nothing cut off."""

from dataclasses import replace

import matplotlib.image
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from audiornn import figures
from audiornn.evaluation.context_curve import ContextPoint
from audiornn.evaluation.passages import Passage
from audiornn.evaluation.per_code import CONFIDENCES, PROBABILITIES, Reliability

HISTORY = [
    {"epoch": i, "train_loss": 6 - i, "validation_loss": v, "train_accuracy": i / 10, "validation_accuracy": i / 12}
    for i, v in ((1, 5.5), (2, 4.0), (3, 4.5))
]


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


def test_audio_is_compared_on_the_same_scales():
    time = np.arange(8000) / 8000
    clips = {"real": 0.8 * np.sin(2 * np.pi * 1000 * time), "quiet": 0.01 * np.sin(2 * np.pi * 500 * time[:4000])}
    axes = figures.compare_audio(clips, 8000, "title").axes
    waves, spectra = axes[:2], axes[2:4]
    assert waves[0].get_ylim() == waves[1].get_ylim()
    assert waves[0].get_xlim() == waves[1].get_xlim() == (0, 1)
    images = [axis.collections[0] for axis in spectra]
    assert images[0].get_clim() == images[1].get_clim()
    assert [axis.get_title() for axis in waves] == ["real", "quiet"]
    # A full-scale sine stands at 0 dB, at its frequency.
    times, frequencies, level = figures.spectrogram(np.sin(2 * np.pi * 1000 * time), 8000)
    loudest = np.unravel_index(level[:, 20:-20].argmax(), level[:, 20:-20].shape)
    assert frequencies[loudest[0]] == pytest.approx(1000, abs=16)
    assert level.max() == pytest.approx(0, abs=0.2)
    assert times[-1] == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("samples", [1, 100, 255])
def test_silence_and_very_short_audio_can_be_drawn(tmp_path, samples):
    figures.save(figures.compare_audio({"a": np.zeros(samples)}, 8000, "t"), tmp_path / "a.png")
    assert np.ptp(matplotlib.image.imread(tmp_path / "a.png")) > 0


def test_pictures_have_the_same_bytes_every_time(tmp_path):
    for name in ("a", "b"):
        figures.save(figures.curves(HISTORY), tmp_path / f"{name}.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def inside(figure):
    """Whether titles and labels of a figure lie within it, so that none is cut off."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    texts = [text for axes in figure.axes for text in (axes.title, axes.xaxis.label, axes.yaxis.label)]
    texts += [figure._suptitle] if figure._suptitle else []
    boxes = [text.get_window_extent(renderer) for text in texts if text.get_text()]
    return all(b.x0 >= 0 and b.y0 >= 0 and b.x1 <= figure.bbox.x1 and b.y1 <= figure.bbox.y1 for b in boxes)


def labelled(figure, panels):
    """Whether a figure has that number of panels, all of which show something, a title, and names on both axes."""
    assert len(figure.axes) >= panels
    assert any(axes.get_title() for axes in figure.axes)
    assert all(axes.has_data() for axes in figure.axes)
    return any(axes.get_xlabel() for axes in figure.axes) and any(axes.get_ylabel() for axes in figure.axes)


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


def test_calibration_of_a_model_that_is_always_sure_and_right_can_be_drawn(tmp_path):
    likeliest, every = Reliability(CONFIDENCES), Reliability(PROBABILITIES)
    likeliest.add(np.ones(5), np.ones(5))
    every.add(np.array([1.0, 0.0, 0.0]), np.array([1, 0, 0]))
    figures.save(figures.calibration(likeliest, every), tmp_path / "a.png")
    assert np.ptp(matplotlib.image.imread(tmp_path / "a.png")) > 0.5


def test_the_loss_stands_over_its_spectrogram_on_the_same_scales():
    time = np.arange(4000) / 8000
    found = [
        Passage(name, i, 100 * i, level * np.sin(2 * np.pi * 500 * time), np.full(4000, bits, np.float32))
        for i, (name, level, bits) in enumerate((("predicted best", 0.5, 2.0), ("predicted worst", 0.1, 6.0)))
    ]
    figure = figures.passages(found, 8000)
    loss, spectra = figure.axes[:2], figure.axes[2:4]
    assert loss[0].get_ylim() == loss[1].get_ylim()
    assert [axes.get_xlim() for axes in (*loss, *spectra)] == [(0, 0.5)] * 4
    assert spectra[0].collections[0].get_clim() == spectra[1].collections[0].get_clim()
    assert "2.00 bits per sample" in loss[0].get_title()
    assert "recording 2, from 0.01 s" in loss[1].get_title()
    mean = loss[1].lines[1]
    np.testing.assert_allclose(mean.get_ydata(), 6)
    assert len(mean.get_xdata()) == 4000 - 79
    assert labelled(figure, 4)
    assert inside(figure)
    assert figures.passages([replace(found[0], wave=np.zeros(3), bits=np.ones(3, np.float32))], 8000)


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


def test_clips_have_scales_that_do_not_depend_on_them():
    time = np.arange(4000) / 8000
    drawn = [figures.clip(level * np.sin(2 * np.pi * 500 * time), 8000, "title") for level in (0.9, 0.001)]
    for figure in drawn:
        wave, spectrum = figure.axes[:2]
        assert wave.get_ylim() == (-1.05, 1.05)
        assert spectrum.collections[0].get_clim() == (figures.CLIP_TOP_DB - figures.RANGE_DB, figures.CLIP_TOP_DB)
        assert figure._suptitle.get_text() == "title"
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
