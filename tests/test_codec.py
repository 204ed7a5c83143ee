"""What the codec promises: codes that others' tools would give, blocks that join, noise where it is not heard."""

import re

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from audiornn import codec
from audiornn.common.errors import AudioRNNError

amplitudes = st.floats(-1, 1)
coefficients = st.floats(0, 0.999)
waves = arrays(np.float64, st.integers(0, 200), elements=amplitudes)
code_arrays = arrays(np.uint8, st.integers(0, 200))


def torchaudio_mu_law_encoding(x: NDArray[np.float64]) -> NDArray[np.int64]:
    """torchaudio.functional.mu_law_encoding for 256 channels, in float64."""
    mu = 256 - 1.0
    x_mu = np.sign(x) * np.log1p(mu * np.abs(x)) / np.log1p(mu)
    return ((x_mu + 1) / 2 * mu + 0.5).astype(np.int64)


def torchaudio_mu_law_decoding(x_mu: NDArray[np.int64]) -> NDArray[np.float64]:
    """torchaudio.functional.mu_law_decoding for 256 channels, in float64."""
    mu = 256 - 1.0
    x = x_mu / mu * 2 - 1.0
    return np.sign(x) * (np.exp(np.abs(x) * np.log1p(mu)) - 1.0) / mu


def librosa_mu_compress(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """librosa.mu_compress(x, mu=255, quantize=False)."""
    return np.sign(x) * np.log1p(255 * np.abs(x)) / np.log1p(255)


def cut(items: NDArray, points: list[float]) -> list[NDArray]:
    """Blocks of an array, cut at shares of its length; blocks may be empty."""
    return np.split(items, sorted(round(point * len(items)) for point in points))


# µ-law


def test_codes_are_those_of_torchaudio():
    x = np.concatenate([np.linspace(-1, 1, 200_001), np.geomspace(1e-9, 1, 1000), -np.geomspace(1e-9, 1, 1000)])
    assert np.array_equal(codec.mu_law_encode(x), torchaudio_mu_law_encoding(x))


@given(amplitudes)
def test_any_amplitude_has_torchaudios_code(x):
    assert codec.mu_law_encode(x) == torchaudio_mu_law_encoding(np.array(x))


@given(amplitudes)
def test_a_code_is_the_nearest_step_of_librosas_companded_amplitude(x):
    """255 steps from -1 to 1 lie 2/255 apart: the nearest one is at most 1/255 away."""
    step = codec.mu_law_encode(x) / 255 * 2 - 1
    assert abs(step - librosa_mu_compress(np.array(x))) <= 1 / 255 + 1e-12


def test_codes_decode_to_torchaudios_amplitudes():
    codes = np.arange(256)
    assert np.allclose(codec.mu_law_decode(codes), torchaudio_mu_law_decoding(codes), rtol=0, atol=1e-15)


def test_codes_run_from_0_over_128_for_silence_to_255():
    assert codec.mu_law_encode([-1, 0, 1]).tolist() == [0, 128, 255]
    assert codec.SILENCE == 128
    assert codec.mu_law_decode([0, 255]) == pytest.approx([-1, 1], abs=1e-12)


def test_every_code_survives_decoding_and_encoding():
    codes = np.arange(256, dtype=np.uint8)
    assert np.array_equal(codec.mu_law_encode(codec.mu_law_decode(codes)), codes)


@given(amplitudes, amplitudes)
def test_a_larger_amplitude_never_has_a_smaller_code(x, y):
    low, high = codec.mu_law_encode([min(x, y), max(x, y)])
    assert low <= high


def test_a_larger_code_always_has_a_larger_amplitude():
    assert (np.diff(codec.mu_law_decode(np.arange(256))) > 0).all()


@given(st.floats(min_value=1, allow_infinity=False))
def test_amplitudes_that_are_too_loud_get_the_outermost_code_and_never_wrap_around(x):
    assert codec.mu_law_encode([x, -x]).tolist() == [255, 0]


@given(arrays(np.float64, st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(0, 5)), elements=amplitudes))
def test_codes_keep_the_shape_of_the_amplitudes(x):
    codes = codec.mu_law_encode(x)
    assert (codes.dtype, codes.shape, codec.mu_law_decode(codes).shape) == (np.uint8, x.shape, x.shape)


# Pre-emphasis and de-emphasis


@given(waves, coefficients)
@example(np.zeros(0), 0.95)
@example(np.ones(1), 0.95)
def test_deemphasis_undoes_preemphasis(wave, a):
    back = codec.Decoder(a).deemphasise(codec.Encoder(a).emphasise(wave))
    assert back.shape == wave.shape
    assert np.allclose(back, wave, rtol=0, atol=1e-9)


def test_deemphasis_undoes_preemphasis_of_a_long_recording():
    wave = np.random.default_rng(0).uniform(-1, 1, 100_000)
    back = codec.Decoder(0.95).deemphasise(codec.Encoder(0.95).emphasise(wave))
    assert np.abs(back - wave).max() < 1e-9


@given(waves, coefficients)
def test_preemphasis_subtracts_a_share_of_the_sample_before(wave, a):
    before = np.concatenate([[0.0], wave])[: len(wave)]
    assert np.allclose(codec.Encoder(a).emphasise(wave), wave - a * before, rtol=0, atol=1e-15)


@given(waves, code_arrays)
def test_preemphasis_0_is_plain_mu_law(wave, codes):
    assert np.array_equal(codec.encode(wave, 0), codec.mu_law_encode(wave))
    assert np.array_equal(codec.decode(codes, 0), codec.mu_law_decode(codes))


@pytest.mark.parametrize("code", [0, 255])
@pytest.mark.parametrize("a", [0.5, 0.95, 0.99])
def test_a_million_worst_case_codes_stay_bounded(code, a):
    """A constant ±1 sums up to at most 1 / (1 - a) in the de-emphasis."""
    wave = codec.decode(np.full(1_000_000, code, np.uint8), a)
    assert np.abs(wave).max() <= 1 / (1 - a) * (1 + 1e-9)


# Blocks


@settings(max_examples=60)
@given(waves, st.lists(st.floats(0, 1), max_size=8), coefficients)
def test_blocks_of_any_sizes_give_the_codes_of_the_whole(wave, points, a):
    encoder = codec.Encoder(a)
    blocks = [encoder.encode(block) for block in cut(wave, points)]
    assert np.array_equal(np.concatenate(blocks), codec.encode(wave, a))
    assert encoder.samples == len(wave)


@settings(max_examples=60)
@given(code_arrays, st.lists(st.floats(0, 1), max_size=8), coefficients)
def test_blocks_of_any_sizes_give_the_wave_of_the_whole(codes, points, a):
    decoder = codec.Decoder(a)
    blocks = [decoder.decode(block) for block in cut(codes, points)]
    assert np.array_equal(np.concatenate(blocks), codec.decode(codes, a))


def test_blocks_of_a_long_recording_join_without_a_different_code():
    wave = np.random.default_rng(0).uniform(-1, 1, 100_000)
    encoder = codec.Encoder()
    blocks = [encoder.encode(block) for block in np.array_split(wave, 333)]
    assert np.array_equal(np.concatenate(blocks), codec.encode(wave))


def test_an_empty_wave_has_no_codes_and_no_codes_have_an_empty_wave():
    assert (codec.encode([]).dtype, codec.encode([]).shape) == (np.uint8, (0,))
    assert codec.decode([]).shape == (0,)


def test_the_encoder_counts_what_preemphasis_drives_beyond_full_scale():
    encoder = codec.Encoder(0.5)
    encoder.encode([1.0, -1.0, 1.0, 1.0])  # emphasised: 1, -1.5, 1.5, 0.5
    assert (encoder.clipped, encoder.samples) == (2, 4)
    encoder.encode([-1.0])  # emphasised: -1.5
    assert (encoder.clipped, encoder.samples) == (3, 5)


# Errors


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: codec.encode(np.zeros((2, 3))), "wave has shape (2, 3), but must be mono"),
        (lambda: codec.encode(0.5), "wave has shape (), but must be mono"),
        (lambda: codec.encode([0.0, np.nan]), "wave holds values that are not finite"),
        (lambda: codec.encode([0.0, -np.inf]), "wave holds values that are not finite"),
        (lambda: codec.encode([0.0], 1.0), "preemphasis is 1.0, but must be at least 0 (off) and below 1"),
        (lambda: codec.encode([0.0], -0.1), "preemphasis is -0.1, but must be at least 0 (off) and below 1"),
        (lambda: codec.encode([0.0], np.nan), "preemphasis is nan"),
        (lambda: codec.decode([128], 1.0), "preemphasis is 1.0, but must be at least 0 (off) and below 1"),
        (lambda: codec.decode([128], -0.1), "preemphasis is -0.1, but must be at least 0 (off) and below 1"),
        (lambda: codec.decode(np.zeros((2, 3), np.uint8)), "codes have shape (2, 3), but must have one axis"),
        (lambda: codec.decode([0, 256]), "codes must be integers from 0 to 255"),
        (lambda: codec.decode([0, -1]), "codes must be integers from 0 to 255"),
        (lambda: codec.decode([0.0, 1.0]), "codes must be integers from 0 to 255"),
    ],
)
def test_bad_input_is_named(call, says):
    with pytest.raises(AudioRNNError, match=re.escape(says)):
        call()
