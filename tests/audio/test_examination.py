"""A recording is used whole and at its level, or its owner is told."""

import numpy as np
import pytest
import soundfile as sf

from audiornn.audio.examination import examine
from audiornn.audio.resampling import resample_file, with_headroom
from audiornn.audio.waves import Reading, read_mono
from audiornn.common.errors import AudioRNNError

RATE = 8000


@pytest.fixture
def noise():
    return np.random.default_rng(0).uniform(-0.5, 0.5, 5 * RATE)


def heard(path, reading):
    return np.concatenate(list(read_mono(path, reading=reading)))


def test_an_undamaged_recording_is_read_unchanged(noise, tmp_path):
    sf.write(tmp_path / "a.wav", np.column_stack([noise, 0.3 * noise]), RATE)
    found = examine(tmp_path / "a.wav")
    assert (found.rate, found.channels, found.frames, found.notes) == (RATE, 2, 5 * RATE, ())
    assert found.reading == Reading("libsndfile")
    np.testing.assert_allclose(heard(tmp_path / "a.wav", found.reading), 0.65 * noise, atol=1e-4)


@pytest.mark.parametrize("quieter", [1.0, 0.9])
def test_where_channels_cancel_each_other_the_louder_one_is_used(noise, quieter, tmp_path):
    sf.write(tmp_path / "a.wav", np.column_stack([quieter * noise, -noise]), RATE)
    found = examine(tmp_path / "a.wav")
    assert "channels cancel each other" in found.notes[0]
    assert found.reading.channel == (0 if quieter == 1 else 1)
    np.testing.assert_allclose(np.abs(heard(tmp_path / "a.wav", found.reading)), np.abs(noise), atol=1e-4)


def test_channels_of_different_sources_are_mixed(noise, tmp_path):
    sf.write(tmp_path / "a.wav", np.column_stack([noise, noise[::-1]]), RATE)
    assert examine(tmp_path / "a.wav").reading.channel is None


@pytest.mark.parametrize(("bits", "scale"), [(16, 2**15), (24, 2**23), (32, 2**31)])
def test_a_float_file_with_integer_values_is_scaled_to_full_scale(noise, bits, scale, tmp_path):
    sf.write(tmp_path / "a.wav", np.float32(np.round(1.9 * noise * scale)), RATE, subtype="FLOAT")
    found = examine(tmp_path / "a.wav")
    assert f"taken for integers of {bits} bits" in found.notes[0]
    np.testing.assert_allclose(heard(tmp_path / "a.wav", found.reading), 1.9 * noise, atol=1e-4)


@pytest.mark.parametrize("peak_mode", [1e-5, 9e-5])
def test_inaudible_recordings_are_refused(noise, peak_mode, tmp_path):
    sf.write(tmp_path / "a.wav", 0.3 + 2 * peak_mode * noise, RATE, subtype="FLOAT")
    with pytest.raises(AudioRNNError, match=r"silent: its peak is at -\d+ dBFS"):
        examine(tmp_path / "a.wav")
    sf.write(tmp_path / "a.wav", 0.3 + 0.01 * noise, RATE, subtype="FLOAT")
    assert not examine(tmp_path / "a.wav").notes


@pytest.mark.parametrize("suffix", ["flac", "wav"])
def test_the_readable_part_of_a_truncated_file_is_used_and_noted(noise, suffix, tmp_path):
    sf.write(tmp_path / f"a.{suffix}", noise, RATE)
    content = (tmp_path / f"a.{suffix}").read_bytes()
    (tmp_path / f"a.{suffix}").write_bytes(content[: len(content) * 6 // 10])
    found = examine(tmp_path / f"a.{suffix}")
    assert 2 < found.frames / RATE < 3.1
    assert len(heard(tmp_path / f"a.{suffix}", found.reading)) == found.frames
    assert f"{found.frames / RATE:.1f}" in found.notes[0]
    assert ("of 5.0 s are used" in found.notes[0]) == (suffix == "flac")


def test_both_sides_of_garbage_in_an_mp3_file_are_used(noise, tmp_path):
    sf.write(tmp_path / "a.mp3", noise, RATE)
    content = bytearray((tmp_path / "a.mp3").read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3000] = np.random.default_rng(1).bytes(3000)
    (tmp_path / "a.mp3").write_bytes(content)
    found = examine(tmp_path / "a.mp3")
    assert 3 < found.frames / RATE < 4.5
    assert found.notes == (f"damaged or cut off; {found.frames / RATE:.1f} of 5.0 s are used",)


def test_a_square_wave_that_resampling_would_clip_is_scaled_down_as_a_whole(tmp_path):
    wave = 0.99 * np.sign(np.sin(2 * np.pi * 25 * np.arange(2 * RATE) / RATE))
    sf.write(tmp_path / "a.wav", wave, RATE)
    resampled = resample_file(tmp_path / "a.wav", tmp_path / "b.wav", RATE)
    assert resampled.peak == pytest.approx(0.98, rel=1e-6)
    assert resampled.gain == with_headroom(tmp_path / "a.wav", RATE).gain < 0.6
    sf.write(tmp_path / "a.wav", 0.3 * wave, RATE)
    assert resample_file(tmp_path / "a.wav", tmp_path / "b.wav", RATE).gain == 1
