"""Figures of audio have common scales, with nothing cut off."""

from dataclasses import replace

import matplotlib.image
import numpy as np
import pytest

from audiornn import figures
from audiornn.evaluation.passages import Passage
from tests.helpers.figures import inside, labelled


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


def test_clips_have_scales_that_do_not_depend_on_them():
    time = np.arange(4000) / 8000
    drawn = [figures.clip(level * np.sin(2 * np.pi * 500 * time), 8000, "title") for level in (0.9, 0.001)]
    for figure in drawn:
        wave, spectrum = figure.axes[:2]
        assert wave.get_ylim() == (-1.05, 1.05)
        assert spectrum.collections[0].get_clim() == (figures.CLIP_TOP_DB - figures.RANGE_DB, figures.CLIP_TOP_DB)
        assert figure._suptitle.get_text() == "title"
        assert inside(figure)
