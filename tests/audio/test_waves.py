"""What reading and writing promise: blocks of bounded size, clipping that is counted, the file named in errors."""

import re
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from audiornn.audio import resampling, waves
from audiornn.common.errors import AudioRNNError
from tests.helpers.signals import RATE, noise


def test_the_size_of_blocks_is_bounded_for_any_number_of_channels(tmp_path, monkeypatch):
    monkeypatch.setattr(waves, "BLOCK_SAMPLES", 100)
    wave = noise(0, 1000, 7)
    sf.write(tmp_path / "a.wav", wave, RATE, subtype="FLOAT")
    blocks = list(waves.read_blocks(tmp_path / "a.wav"))
    assert max(block.size for block in blocks) <= 100
    assert np.allclose(np.concatenate(blocks), wave, rtol=0, atol=1e-7)


@pytest.mark.parametrize(("subtype", "bits"), [("PCM_16", 16), ("PCM_24", 24)])
@settings(max_examples=40, deadline=None)
@given(wave=arrays(np.float64, st.integers(0, 50), elements=st.floats(-1e6, 1e6) | st.floats(-1.1, 1.1)))
def test_samples_beyond_full_scale_are_clipped_and_counted_and_never_wrap_around(subtype, bits, wave):
    with tempfile.TemporaryDirectory() as folder:
        with waves.WaveWriter(Path(folder, "a.wav"), RATE, subtype) as writer:
            for block in np.array_split(wave, 3):
                writer.write(block)
        written, rate = sf.read(Path(folder, "a.wav"))
    assert rate == RATE
    assert np.abs(written - np.clip(wave, -1, 1)).max(initial=0) <= 1.5 * 2.0 ** (
        1 - bits
    )  # half a step, and one for full scale
    assert writer.samples == len(wave)
    assert writer.clipped == np.count_nonzero(np.abs(wave) > 1)
    assert writer.peak == np.abs(wave).max(initial=0)


def test_a_file_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    with pytest.raises(AudioRNNError, match="nowhere/a.wav: cannot be written"):
        waves.WaveWriter(tmp_path / "nowhere/a.wav", RATE)

    def full(*_):
        raise sf.LibsndfileError(2)

    with waves.WaveWriter(tmp_path / "a.wav", RATE) as writer:
        monkeypatch.setattr(sf.SoundFile, "write", full)
        with pytest.raises(AudioRNNError, match="a.wav: cannot be written"):
            writer.write(noise(0, 80))


def test_all_channels_are_written_and_counted(tmp_path):
    wave = np.array([[0.5, -2.0, 0.25], [1.5, 0.0, -0.5]])
    with waves.WaveWriter(tmp_path / "a.wav", RATE, channels=3) as writer:
        writer.write(wave)
    assert np.allclose(sf.read(tmp_path / "a.wav")[0], np.clip(wave, -1, 1), atol=2**-22)
    assert (writer.samples, writer.clipped, writer.peak) == (6, 2, 2.0)


def test_a_recording_longer_than_wav_can_hold_is_written_as_rf64(tmp_path):
    for frames, container in ((RATE, "WAV"), (1 << 31, "RF64")):
        with waves.WaveWriter(tmp_path / "a.wav", RATE, frames=frames) as writer:
            writer.write(noise(0, 100))
        assert sf.info(tmp_path / "a.wav").format == container
        assert np.allclose(sf.read(tmp_path / "a.wav")[0], noise(0, 100), atol=2**-22)


def truncated_flac(folder: Path) -> Path:
    sf.write(folder / "whole.flac", noise(0, 50_000), RATE)
    path = folder / "broken.flac"
    path.write_bytes((folder / "whole.flac").read_bytes()[:30_000])
    return path


def text(folder: Path) -> Path:
    path = folder / "letter.wav"
    path.write_text("Dear reader,\n" * 100)
    return path


def headerless(folder: Path) -> Path:
    path = folder / "a.raw"
    path.write_bytes(bytes(1000))
    return path


def not_a_number(folder: Path) -> Path:
    path = folder / "nan.wav"
    sf.write(path, np.array([0.1, np.nan, 0.2]), RATE, subtype="FLOAT")
    return path


def too_large_for_float32(folder: Path) -> Path:
    path = folder / "huge.wav"
    sf.write(path, np.array([0.1, 1e300, 0.2]), RATE, subtype="DOUBLE")
    return path


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda folder: folder / "missing.wav", "no such file"),
        (lambda folder: folder, "not a file"),
        (lambda folder: folder / ("a" * 300), "not readable as audio: File name too long"),
        (text, "not readable as audio"),
        (headerless, "not readable as audio"),
        (truncated_flac, "cannot be decoded to its end"),
        (not_a_number, "holds samples that are not finite"),
        (too_large_for_float32, "holds samples that are not finite"),
    ],
)
def test_an_unusable_file_is_named_in_one_line(make: Callable[[Path], Path], says, tmp_path):
    path = make(tmp_path)
    with pytest.raises(AudioRNNError, match=f"^{re.escape(str(path))}: {says}") as error:
        resampling.resample_file(path, tmp_path / "target.wav", RATE)
    assert "\n" not in str(error.value)
