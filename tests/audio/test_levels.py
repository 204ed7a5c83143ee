"""No wave is louder than it should be, and quiet ones keep their level."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from audiornn.audio.levels import Limiter, make_playable
from tests.helpers.signals import RATE, level_db, middle, sine


@settings(max_examples=60, deadline=None)
@given(arrays(np.float64, st.integers(0, 300), elements=st.floats(-30, 30)), st.sampled_from([0.0, 20.0, 100.0]))
def test_no_generated_wave_exceeds_the_ceiling(wave, highpass_hz):
    safe, gain = make_playable(wave, RATE, highpass_hz)
    assert len(safe) == len(wave)
    assert np.abs(safe).max(initial=0) <= 0.98 * (1 + 1e-12)
    assert 0 < gain <= 1


def test_a_loud_wave_is_scaled_as_a_whole():
    safe, gain = make_playable(5 * sine(440, RATE), RATE)
    assert gain == pytest.approx(0.98 / 5, rel=0.05)  # the high-pass overshoots a little at the start
    assert np.abs(safe).max() == pytest.approx(0.98)
    assert np.allclose(safe[RATE // 2 :], 5 * gain * sine(440, RATE)[RATE // 2 :], atol=0.1)  # its shape is kept


def test_a_quiet_wave_keeps_its_level():
    safe, gain = make_playable(0.01 * sine(440, RATE), RATE)
    assert gain == 1
    assert level_db(middle(safe)) == pytest.approx(-40, abs=0.05)


def test_silence_stays_silence():
    safe, gain = make_playable(np.zeros(100), RATE)
    assert gain == 1
    assert not safe.any()


def test_the_offset_of_a_generated_wave_is_removed():
    safe, _ = make_playable(3 + 0.5 * sine(440, RATE), RATE)
    assert abs(middle(safe).mean()) < 1e-4
    assert level_db(middle(safe)) == pytest.approx(20 * np.log10(0.5), abs=0.1)


def test_skipped_samples_only_settle_the_filter():
    wave = 0.3 * sine(440, RATE)
    wave[100] = 20  # a click in what is skipped
    wave[100:] += 0.2
    safe, gain = make_playable(wave, RATE, skip=4000)
    assert len(safe) == RATE - 4000
    assert gain == 1
    assert np.abs(safe).max() == pytest.approx(0.3, abs=0.01)
    assert not len(make_playable(wave, RATE, skip=RATE)[0])


@pytest.mark.parametrize("peak_mode", ["safe", "normalise", "limit"])
def test_no_peak_mode_exceeds_the_ceiling_and_only_normalise_lifts_quiet_clips(peak_mode):
    time = np.arange(16_000) / 8000
    loud, quiet = 3 * np.sin(2 * np.pi * 200 * time), 0.1 * np.sin(2 * np.pi * 200 * time)
    wave, gain = make_playable(loud, 8000, peak_mode=peak_mode)
    assert np.abs(wave).max() <= 0.98 + 1e-9
    assert 0.2 < gain < 0.4
    wave, gain = make_playable(quiet, 8000, peak_mode=peak_mode)
    assert np.abs(wave[8000:]).max() == pytest.approx(0.98 if peak_mode == "normalise" else 0.1, rel=0.1)
    assert (gain == 1) == (peak_mode != "normalise")


def test_a_limiter_only_lowers_peaks_and_works_block_by_block():
    random = np.random.default_rng(0)
    wave = 0.2 * np.sin(np.arange(20_000) / 5)
    wave[10_000] = 5.0
    whole = Limiter(8000)
    limited = whole.process(wave, last=True)
    assert len(limited) == len(wave)
    assert np.abs(limited).max() <= 0.98 + 1e-9
    assert whole.lowest_gain == pytest.approx(0.98 / 5)
    np.testing.assert_array_equal(limited[:9900], wave[:9900])
    np.testing.assert_array_equal(limited[10_100:], wave[10_100:])
    blockwise = Limiter(8000)
    cuts = np.sort(random.integers(0, len(wave), 50))
    parts = [blockwise.process(block) for block in np.split(wave, cuts)]
    np.testing.assert_allclose(np.concatenate([*parts, blockwise.process(np.zeros(0), last=True)]), limited, atol=1e-12)
