"""A clip is compared with real audio: near to its like, far from all else."""

import tracemalloc

import numpy as np
import pytest
import soundfile as sf
from numpy.typing import NDArray
from scipy import linalg, signal

from audiornn.common.errors import AudioRNNError
from audiornn.diagnostics.diagnosis import diagnose
from audiornn.diagnostics.features import Sound
from audiornn.diagnostics.reference import Reference, frechet
from tests.helpers.waves import RATE, kinds, noise, sine


@pytest.mark.slow
def test_speech_is_near_speech_and_noise_hum_and_music_are_far(real, reference):
    for wave in real["speech"][1::2]:
        assert kinds(wave, RATE, reference) == []
    assert kinds(noise(), RATE, reference) == ["noise", "far-from-reference"]
    assert kinds(sine(440), RATE, reference) == ["tone", "far-from-reference"]
    for wave in real["music"][:2]:
        assert kinds(wave, RATE, reference) == ["far-from-reference"]


def test_the_advice_names_the_side_on_which_a_clip_departs(reference, said):
    dull = signal.sosfilt(signal.butter(4, 500, fs=RATE, output="sos"), said)
    bright = signal.sosfilt(signal.butter(4, 1500, "highpass", fs=RATE, output="sos"), said)
    for wave, side in ((dull, "duller"), (bright, "brighter")):
        (finding,) = [f for f in diagnose(wave, RATE, reference).findings if f.kind == "far-from-reference"]
        assert side in finding.advice


def test_findings_common_in_the_reference_are_ignored():
    rain = Reference.of([noise(12, seed=1)], RATE)
    assert kinds(noise(), RATE, rain) == []
    assert kinds(sine(440), RATE, rain) == ["tone", "far-from-reference"]
    organ = Reference.of([sine(330, 12)], RATE)
    assert kinds(sine(330), RATE, organ) == []


@pytest.mark.slow
def test_the_memory_of_a_reference_does_not_grow_with_its_length(said):
    minute = np.tile(said, 15)
    tracemalloc.start()
    reference = Reference.of((minute for _ in range(6)), RATE)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert reference.seconds == pytest.approx(6 * 60)
    assert len(reference.passages) == 32
    assert peak < 30e6


def test_a_reference_does_not_depend_on_how_it_is_cut_into_recordings(real):
    whole = np.concatenate(real["speech"])[: 30 * RATE]
    one, three = Reference.of([whole], RATE), Reference.of(np.split(whole, 3), RATE)
    np.testing.assert_allclose(one.mean, three.mean)
    np.testing.assert_allclose(one.covariance, three.covariance)


def test_a_short_reference_has_a_fixed_limit(said):
    assert Reference.of([said], RATE).limit(4) == 8


def test_recordings_of_a_folder_are_read_as_the_pipeline_reads_them(said, tmp_path):
    """Their channels cancel each other: a mean of both would be silence."""
    folder = tmp_path / "reference"
    folder.mkdir()
    sf.write(folder / "a.wav", np.stack([said, -said], 1), RATE)
    expected = Reference.of([said], RATE)
    for path in (folder, folder / "a.wav"):
        found = Reference.read(path, RATE)
        assert abs(found.centroid_hz - expected.centroid_hz) < 0.02 * expected.centroid_hz
        assert found.distance(Sound(said - said.mean(), RATE)) < 1


def test_a_reference_without_sound_or_at_another_rate_is_an_error(said):
    for waves in ([], [np.zeros(5 * RATE)], [said[: RATE // 2]]):
        with pytest.raises(AudioRNNError, match="the reference has less than a second of sound"):
            Reference.of(waves, RATE)
    with pytest.raises(AudioRNNError, match="the clip is at 16000 Hz, but the reference at 8000 Hz"):
        diagnose(noise(3), 16000, Reference.of([said], RATE))


# The formulas


def random_covariance(size: int, rank: int, seed: int) -> NDArray[np.float64]:
    root = np.random.default_rng(seed).normal(size=(size, rank))
    return root @ root.T


@pytest.mark.parametrize("rank", [6, 3])
def test_the_frechet_distance_is_that_of_the_paper(rank):
    a, b = random_covariance(6, 6, 0), random_covariance(6, rank, 1)
    mean_a, mean_b = np.arange(6.0), np.ones(6)
    one = np.eye(6)  # the loading of both
    root = linalg.sqrtm((a + one) @ (b + one)).real
    expected = np.sum((mean_a - mean_b) ** 2) + np.trace(a + b + 2 * one - 2 * root)
    assert frechet(mean_a, a, mean_b, b) == pytest.approx(expected)
    assert frechet(mean_b, b, mean_a, a) == pytest.approx(expected)
    assert frechet(mean_a, a, mean_a, a) == pytest.approx(0, abs=1e-9)


def test_in_one_dimension_it_is_the_difference_of_means_and_deviations():
    found = frechet(np.array([1.0]), np.array([[8.0]]), np.array([4.0]), np.array([[3.0]]))
    assert found == pytest.approx((1 - 4) ** 2 + (3 - 2) ** 2)  # deviations of 3 and 2 with 1 added to the variances
