"""What reading, resampling and writing promise: any recording, unspoilt, in bounded memory."""

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from audiornn.audio import levels, resampling, waves
from audiornn.errors import AudioRNNError

RATE = 8000

KINDS = [
    # container, subtype, sample rate, channels, tolerance of length in samples at 8000 Hz and of level in dB
    ("WAV", "PCM_U8", 8000, 1, 1, 0.05),
    ("WAV", "PCM_16", 44100, 2, 1, 0.01),
    ("WAV", "PCM_24", 48000, 6, 1, 0.01),
    ("WAV", "PCM_32", 96000, 1, 1, 0.01),
    ("WAV", "FLOAT", 22050, 2, 1, 0.01),
    ("WAV", "DOUBLE", 11025, 1, 1, 0.01),
    ("WAV", "ULAW", 8000, 1, 1, 0.05),
    ("FLAC", "PCM_16", 32000, 2, 1, 0.01),
    ("FLAC", "PCM_24", 192000, 1, 1, 0.01),
    ("OGG", "VORBIS", 44100, 2, 1, 0.3),
    ("OGG", "OPUS", 48000, 1, 1, 0.3),
    ("MP3", "MPEG_LAYER_III", 44100, 2, 400, 0.3),  # padded to whole frames
    ("MP3", "MPEG_LAYER_III", 16000, 1, 1200, 0.3),
    ("AIFF", "PCM_16", 44100, 8, 1, 0.01),
    ("AIFF", "PCM_24", 4000, 1, 2, 0.01),
]


def sine(frequency: float, rate: int, seconds: float = 1.0) -> NDArray[np.float64]:
    return np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)


def noise(seed: int, *shape: int) -> NDArray[np.float64]:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, shape)


def middle(wave: NDArray[np.float64]) -> NDArray[np.float64]:
    """Without the first and the last quarter, where filters begin and end."""
    return wave[len(wave) // 4 : -len(wave) // 4]


def level_db(wave: NDArray[np.float64]) -> float:
    """RMS in dB relative to that of a full-scale sine; -300 for silence."""
    return float(20 * np.log10(max(np.sqrt(np.mean(wave**2) * 2), 1e-15)))


def strongest_frequency(wave: NDArray[np.float64], rate: int) -> float:
    """In Hz, to a fraction of one."""
    size = 16 * len(wave)
    return float(np.abs(np.fft.rfft(wave * np.hanning(len(wave)), size)).argmax() * rate / size)


def resampled(folder: Path, wave: NDArray[np.float64], rate: int, **options: float) -> NDArray[np.float64]:
    """What `resample_file` makes of a wave."""
    sf.write(folder / "source.wav", wave, rate, subtype="FLOAT")
    resampling.resample_file(folder / "source.wav", folder / "target.wav", RATE, **options)
    return sf.read(folder / "target.wav")[0]


# Any recording


@pytest.mark.parametrize(("container", "subtype", "rate", "channels", "samples", "decibels"), KINDS)
def test_any_recording_becomes_mono_at_one_rate(container, subtype, rate, channels, samples, decibels, tmp_path):
    source, target = tmp_path / f"a.{container.lower()}", tmp_path / "b.wav"
    sf.write(source, np.tile(0.5 * sine(440, rate)[:, None], channels), rate, subtype, format=container)
    writer = resampling.resample_file(source, target, RATE)

    info = sf.info(target)
    assert (info.samplerate, info.channels, info.subtype) == (RATE, 1, "PCM_24")
    assert info.frames == writer.samples == pytest.approx(RATE, abs=samples)
    wave = middle(sf.read(target)[0])
    assert strongest_frequency(wave, RATE) == pytest.approx(440, abs=0.5)
    assert level_db(wave) == pytest.approx(level_db(np.array([0.5 / 2**0.5])), abs=decibels)
    assert writer.clipped == 0


def test_channels_are_averaged(tmp_path):
    wave = sine(440, 44100)[:, None] * [0.9, 0.2, 0.1]
    assert np.abs(middle(resampled(tmp_path, wave, 44100))).max() == pytest.approx(0.4, abs=1e-3)


def test_a_recording_at_the_target_rate_keeps_every_sample(tmp_path):
    wave = noise(0, 5000)
    assert np.abs(resampled(tmp_path, wave, RATE, highpass_hz=0) - wave).max() < 2**-23


@pytest.mark.parametrize("rate", [11025, 22050, 44100, 48000])
def test_every_sample_stays_in_its_place_in_time(rate, tmp_path):
    """A resampler that delayed the wave would show here."""
    wave = resampled(tmp_path, 0.5 * sine(440, rate), rate, highpass_hz=0)
    expected = 0.5 * sine(440, RATE)
    size = min(len(wave), len(expected))
    assert np.abs(middle(wave[:size] - expected[:size])).max() < 1e-4


# Nothing is added and nothing that matters is lost


@pytest.mark.parametrize("frequency", [4100, 6000, 15000])
def test_what_lies_above_half_the_target_rate_does_not_come_back_as_alias(frequency, tmp_path):
    wave = resampled(tmp_path, 0.5 * sine(frequency, 44100), 44100)
    assert level_db(middle(wave)) < level_db(np.array([0.5 / 2**0.5])) - 80


@pytest.mark.parametrize("frequency", [200, 1000, 3400])
def test_what_lies_in_the_band_of_speech_keeps_its_level(frequency, tmp_path):
    wave = resampled(tmp_path, sine(frequency, 44100) / 2, 44100)
    assert level_db(middle(wave)) == pytest.approx(20 * np.log10(0.5), abs=0.1)


def test_rumble_is_attenuated_as_by_a_second_order_filter(tmp_path):
    """A Butterworth filter of second order at 20 Hz has -3 dB there and 10 log 17 = -12.3 dB an octave below."""
    for frequency, decibels in ((20, -3.0), (10, -12.3)):
        wave = resampled(tmp_path, sine(frequency, 44100, 4) / 2, 44100)
        assert level_db(middle(wave)) == pytest.approx(20 * np.log10(0.5) + decibels, abs=0.3)


@pytest.mark.parametrize("rate", [4000, 8000, 22050, 44100])
def test_an_offset_vanishes_without_a_click_at_either_end(rate, tmp_path):
    wave = resampled(tmp_path, 0.5 + 0.1 * sine(440, rate), rate)
    assert abs(middle(wave).mean()) < 1e-4
    assert np.abs(wave).max() < 0.11


def test_an_offset_alone_becomes_silence(tmp_path):
    assert np.abs(resampled(tmp_path, np.full(44100, 0.7), 44100)).max() < 1e-6


def test_a_recording_cut_out_of_a_wave_begins_without_a_thump(tmp_path):
    wave = 0.9 * np.cos(2 * np.pi * 200 * np.arange(44100) / 44100)
    assert np.abs(resampled(tmp_path, wave, 44100)).max() < 1.0


def test_a_highpass_of_0_keeps_the_offset(tmp_path):
    wave = resampled(tmp_path, 0.25 + 0.1 * sine(440, 44100), 44100, highpass_hz=0)
    assert middle(wave).mean() == pytest.approx(0.25, abs=1e-3)


# Blocks and memory


@pytest.mark.parametrize("frames", [1, 77, 4096])
@pytest.mark.parametrize("rate", [8000, 44100])
def test_blocks_of_any_size_give_the_wave_of_the_whole(frames, rate, tmp_path, monkeypatch):
    sf.write(tmp_path / "a.wav", 0.3 + noise(1, 10_000, 2), rate)
    whole = np.concatenate(list(resampling.resample_blocks(tmp_path / "a.wav", RATE)))
    monkeypatch.setattr(waves, "BLOCK_SAMPLES", 2 * frames)
    blocks = list(resampling.resample_blocks(tmp_path / "a.wav", RATE))
    assert len(blocks) >= 10_000 // frames
    assert np.abs(np.concatenate(blocks) - whole).max() < 1e-12


def test_blocks_hold_no_more_samples_than_they_should_however_many_channels(tmp_path, monkeypatch):
    monkeypatch.setattr(waves, "BLOCK_SAMPLES", 100)
    wave = noise(0, 1000, 7)
    sf.write(tmp_path / "a.wav", wave, RATE, subtype="FLOAT")
    blocks = list(waves.read_blocks(tmp_path / "a.wav"))
    assert max(block.size for block in blocks) <= 100
    assert np.allclose(np.concatenate(blocks), wave, rtol=0, atol=1e-7)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak memory from /proc")
def test_memory_does_not_grow_with_the_length_of_a_recording(tmp_path):
    """8 minutes of stereo take 169 MB as float32, 2 minutes 42 MB."""
    second = (noise(0, 44100, 2) * 10_000).astype(np.int16)

    def peak_mb(minutes: int) -> float:
        with sf.SoundFile(tmp_path / "long.wav", "w", 44100, 2, "PCM_16") as file:
            for _ in range(minutes * 60):
                file.write(second)
        # VmHWM and not ru_maxrss: the latter begins with the memory of the process that started this one.
        script = (
            "import re; from pathlib import Path; from audiornn import audio\n"
            "audio.resample_file('long.wav', 'short.wav', 8000)\n"
            "print(re.search(r'VmHWM:\\s+(\\d+) kB', Path('/proc/self/status').read_text())[1])"
        )
        run = subprocess.run(
            [sys.executable, "-c", script],
            cwd=tmp_path,
            env={"PYTHONPATH": str(Path(waves.__file__).parents[1])},
            capture_output=True,
            text=True,
            check=True,
        )
        assert sf.info(tmp_path / "short.wav").frames == pytest.approx(minutes * 60 * RATE, abs=1)
        return int(run.stdout) / 1000

    short, long = peak_mb(2), peak_mb(8)
    assert long < 300
    assert long < short + 10


# Writing


@pytest.mark.parametrize(("subtype", "bits"), [("PCM_16", 16), ("PCM_24", 24)])
@settings(max_examples=40, deadline=None)
@given(wave=arrays(np.float64, st.integers(0, 50), elements=st.floats(-1e6, 1e6) | st.floats(-1.1, 1.1)))
def test_what_is_too_loud_is_clipped_and_counted_and_never_wraps_around(subtype, bits, wave):
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


def test_all_channels_are_written_and_counted(tmp_path):
    wave = np.array([[0.5, -2.0, 0.25], [1.5, 0.0, -0.5]])
    with waves.WaveWriter(tmp_path / "a.wav", RATE, channels=3) as writer:
        writer.write(wave)
    assert np.allclose(sf.read(tmp_path / "a.wav")[0], np.clip(wave, -1, 1), atol=2**-22)
    assert (writer.samples, writer.clipped, writer.peak) == (6, 2, 2.0)


def test_the_same_recording_gives_the_same_bytes_at_any_time(tmp_path):
    sf.write(tmp_path / "a.wav", noise(0, 5000, 2), 44100)
    resampling.resample_file(tmp_path / "a.wav", tmp_path / "first.wav", RATE)
    time.sleep(1.1)  # some chunks of wav files hold the second of their making
    resampling.resample_file(tmp_path / "a.wav", tmp_path / "second.wav", RATE)
    assert (tmp_path / "first.wav").read_bytes() == (tmp_path / "second.wav").read_bytes()


def test_a_recording_longer_than_wav_can_hold_is_written_as_rf64(tmp_path):
    for frames, container in ((RATE, "WAV"), (1 << 31, "RF64")):
        with waves.WaveWriter(tmp_path / "a.wav", RATE, frames=frames) as writer:
            writer.write(noise(0, 100))
        assert sf.info(tmp_path / "a.wav").format == container
        assert np.allclose(sf.read(tmp_path / "a.wav")[0], noise(0, 100), atol=2**-22)


# Safe to play


@settings(max_examples=60, deadline=None)
@given(arrays(np.float64, st.integers(0, 300), elements=st.floats(-30, 30)), st.sampled_from([0.0, 20.0, 100.0]))
def test_no_generated_wave_is_louder_than_it_should_be(wave, highpass_hz):
    safe, gain = levels.make_playable(wave, RATE, highpass_hz)
    assert len(safe) == len(wave)
    assert np.abs(safe).max(initial=0) <= 0.98 * (1 + 1e-12)
    assert 0 < gain <= 1


def test_a_loud_wave_is_scaled_as_a_whole():
    safe, gain = levels.make_playable(5 * sine(440, RATE), RATE)
    assert gain == pytest.approx(0.98 / 5, rel=0.05)  # the high-pass overshoots a little at the start
    assert np.abs(safe).max() == pytest.approx(0.98)
    assert np.allclose(safe[RATE // 2 :], 5 * gain * sine(440, RATE)[RATE // 2 :], atol=0.1)  # its shape is kept


def test_a_quiet_wave_keeps_its_level():
    safe, gain = levels.make_playable(0.01 * sine(440, RATE), RATE)
    assert gain == 1
    assert level_db(middle(safe)) == pytest.approx(-40, abs=0.05)


def test_silence_stays_silence():
    safe, gain = levels.make_playable(np.zeros(100), RATE)
    assert gain == 1
    assert not safe.any()


def test_a_generated_wave_loses_its_offset():
    safe, _ = levels.make_playable(3 + 0.5 * sine(440, RATE), RATE)
    assert abs(middle(safe).mean()) < 1e-4
    assert level_db(middle(safe)) == pytest.approx(20 * np.log10(0.5), abs=0.1)


def test_skipped_samples_lead_the_filter_in_but_leave_no_other_trace():
    wave = 0.3 * sine(440, RATE)
    wave[100] = 20  # a click in what is skipped
    wave[100:] += 0.2
    safe, gain = levels.make_playable(wave, RATE, skip=4000)
    assert len(safe) == RATE - 4000
    assert gain == 1
    assert np.abs(safe).max() == pytest.approx(0.3, abs=0.01)
    assert not len(levels.make_playable(wave, RATE, skip=RATE)[0])


# Errors


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
def test_a_file_that_cannot_be_used_is_named_in_one_line(make: Callable[[Path], Path], says, tmp_path):
    path = make(tmp_path)
    with pytest.raises(AudioRNNError, match=f"^{re.escape(str(path))}: {says}") as error:
        resampling.resample_file(path, tmp_path / "target.wav", RATE)
    assert "\n" not in str(error.value)
