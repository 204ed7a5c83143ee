"""Synthesised music: plucked strings at the right pitch, in several keys and tempi."""

import math

import numpy as np
import pytest
import soundfile as sf
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from audiornn.corpus.synthetic.music import pluck
from tests.helpers.corpora import voice_of


def strongest_frequency(samples: NDArray[np.float64], rate: int) -> float:
    """Frequency in Hz of the highest spectral peak, by a parabola through its logarithm."""
    size = 8 * len(samples)
    spectrum = np.log(np.abs(np.fft.rfft(samples * np.blackman(len(samples)), size)) + 1e-12)
    top = int(spectrum.argmax())
    left, middle, right = spectrum[top - 1 : top + 2]
    return (top + (left - right) / (left - 2 * middle + right) / 2) * rate / size


def test_music_peaks_at_seven_tenths_without_dc_or_clicks(played):
    for path in played:
        samples, _ = sf.read(path)
        assert np.abs(samples).max() == pytest.approx(0.7, abs=1e-4)
        assert samples.std() > 0.03
        assert abs(samples.mean()) < 3e-4
        assert abs(samples[0]) < 0.01
        assert np.abs(samples[-20:]).max() < 0.01


def test_music_comes_in_several_keys_and_tempi(played):
    names = [voice_of(path).rsplit("-", 1) for path in played]
    assert len({key for key, _ in names}) >= 3
    assert len({tempo for _, tempo in names}) >= 3


@settings(max_examples=25, deadline=None, derandomize=True)
@given(frequency=st.floats(50, 1100), rate=st.sampled_from([8000, 16000, 22050, 44100]), seed=st.integers(0, 1000))
def test_a_plucked_string_sounds_at_the_pitch_asked_for(frequency, rate, seed):
    sound = pluck(frequency, 1.0, rate, np.random.default_rng(seed))
    cents = 1200 * math.log2(strongest_frequency(sound, rate) / frequency)
    assert abs(cents) < 3


def test_a_plucked_string_has_the_length_asked_for_and_no_dc():
    sound = pluck(220, 1.5, 22050, np.random.default_rng(0))
    assert len(sound) == 33075
    assert np.abs(sound).max() == 1
    assert abs(sound.mean()) < 1e-3


@pytest.mark.parametrize("rate", [8000, 22050, 44100])
@pytest.mark.parametrize("frequency", [55, 220, 880])
def test_low_and_high_strings_fade_equally_fast(frequency, rate):
    sound = pluck(frequency, 3.0, rate, np.random.default_rng(0))
    wave = sound * np.exp(-2j * np.pi * frequency * np.arange(len(sound)) / rate)  # its fundamental at 0 Hz
    early, late = np.abs(wave[: rate // 2].mean()), np.abs(wave[-rate // 2 :].mean())
    assert 20 * math.log10(early / late) == pytest.approx(20 * 2.5, abs=1)  # 60 dB in 3 seconds
