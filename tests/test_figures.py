"""Figures show what they say: both curves, the same scales, nothing cut off."""

import matplotlib.image
import numpy as np
import pytest

from audiornn import figures

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
    assert accuracy.get_ylabel() == "accuracy (share of codes right)"
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
def test_silence_and_scraps_can_be_drawn(tmp_path, samples):
    figures.save(figures.compare_audio({"a": np.zeros(samples)}, 8000, "t"), tmp_path / "a.png")
    assert np.ptp(matplotlib.image.imread(tmp_path / "a.png")) > 0


def test_pictures_are_the_same_bytes_each_time(tmp_path):
    for name in ("a", "b"):
        figures.save(figures.curves(HISTORY), tmp_path / f"{name}.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
