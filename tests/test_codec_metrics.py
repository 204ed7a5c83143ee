"""What the codec loses: noise, where it lies, and how much its codes say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from audiornn import codec, codec_metrics
from audiornn.audio import resampling
from audiornn.corpus.synthetic.speech import speech


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> list[NDArray[np.float64]]:
    """Sentences at 8000 Hz."""
    files = speech(tmp_path_factory.mktemp("speech"), 0.2)
    return [np.concatenate(list(resampling.resample_blocks(file, 8000))) for file in files]


def test_the_signal_to_noise_ratio_is_signal_energy_over_error_energy(spoken):
    wave = np.concatenate(spoken)
    decoded = codec.decode(codec.encode(wave))
    loss = codec_metrics.CodecSnr(8000)
    loss.add(wave, decoded)
    expected = 10 * np.log10(np.sum(wave**2) / np.sum((decoded - wave) ** 2))
    assert loss.snr_db()[0] == pytest.approx(expected, abs=1e-9)


def test_the_second_ratio_is_that_of_the_upper_half_of_the_spectrum():
    t = np.arange(80_000) / 8000
    low, high = np.sin(2 * np.pi * 1400 * t), np.sin(2 * np.pi * 2600 * t)
    loss = codec_metrics.CodecSnr(8000)
    loss.add(0.5 * low + 0.1 * high, 0.4 * low + 0.09 * high)  # errors of 0.1 below, of 0.01 above 2000 Hz
    overall, upper = loss.snr_db()
    assert upper == pytest.approx(20, abs=0.3)  # the filter is not infinitely steep
    assert overall == pytest.approx(10 * np.log10((0.5**2 + 0.1**2) / (0.1**2 + 0.01**2)), abs=0.05)


def test_the_ratios_of_blocks_are_those_of_the_whole(spoken):
    whole, blocks = codec_metrics.CodecSnr(8000), codec_metrics.CodecSnr(8000)
    for wave in spoken:
        decoded = codec.decode(codec.encode(wave))
        whole.start_recording()
        whole.add(wave, decoded)
        blocks.start_recording()
        for part in np.split(np.stack([wave, decoded]), [0, 1, 777, 777, 9000], axis=1):
            blocks.add(*part)
    assert blocks.snr_db() == pytest.approx(whole.snr_db(), abs=1e-9)


def test_the_order_of_recordings_makes_no_difference():
    """Without a new start, the filter would still ring from a recording that ends on a step."""
    step, noise = np.ones(1000), np.random.default_rng(0).uniform(-1e-3, 1e-3, 1000)

    def ratios(*recordings: NDArray[np.float64]) -> tuple[float | None, float | None]:
        loss = codec_metrics.CodecSnr(8000)
        for wave in recordings:
            loss.start_recording()
            loss.add(wave, wave + noise / 2)
        return loss.snr_db()

    assert ratios(step, noise) == pytest.approx(ratios(noise, step), abs=1e-9)


@pytest.mark.parametrize("wave", [np.zeros(0), np.zeros(100), np.ones(100)], ids=["nothing", "silence", "no error"])
def test_a_ratio_without_signal_or_error_is_none_rather_than_infinite(wave):
    loss = codec_metrics.CodecSnr(8000)
    loss.add(wave, wave)
    assert loss.snr_db() == (None, None)


def test_preemphasis_makes_the_upper_half_of_speech_much_cleaner(spoken):
    def upper(preemphasis: float) -> float:
        loss = codec_metrics.CodecSnr(8000)
        for wave in spoken:
            loss.start_recording()
            loss.add(wave, codec.decode(codec.encode(wave, preemphasis), preemphasis))
        return loss.snr_db()[1]

    assert upper(0.95) > upper(0) + 6


def test_noise_lies_25_db_below_speech_in_every_recording(spoken):
    """µ-law alone gives about 38 dB; pre-emphasis trades some of it for a cleaner upper half."""
    for wave in spoken:
        decoded = codec.decode(codec.encode(wave))
        assert 10 * np.log10(np.sum(wave**2) / np.sum((decoded - wave) ** 2)) > 25


def test_entropy_is_8_bits_for_evenly_used_codes_and_0_for_a_single_one():
    assert codec_metrics.entropy_bits(np.full(256, 7)) == pytest.approx(8)
    single = codec_metrics.entropy_bits(np.eye(256)[128])
    assert single == 0
    assert str(single) == "0.0"  # and not -0.0
    assert codec_metrics.entropy_bits([1, 1, 2] + [0] * 253) == pytest.approx(1.5)


@given(arrays(np.int64, 256, elements=st.integers(0, 10**9)).filter(np.any))
def test_entropy_lies_between_0_and_8_bits(counts):
    assert 0 <= codec_metrics.entropy_bits(counts) <= 8 + 1e-9
