"""What resampling promises: any recording, unspoilt, in bounded memory."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from numpy.typing import NDArray

import audiornn
from audiornn.audio import resampling, waves
from tests.helpers.signals import RATE, level_db, middle, noise, sine, strongest_frequency

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


def resampled(folder: Path, wave: NDArray[np.float64], rate: int, **options: float) -> NDArray[np.float64]:
    """What `resample_file` makes of a wave."""
    sf.write(folder / "source.wav", wave, rate, subtype="FLOAT")
    resampling.resample_file(folder / "source.wav", folder / "target.wav", RATE, **options)
    return sf.read(folder / "target.wav")[0]


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
    assert writer.gain == 1


def test_channels_are_averaged(tmp_path):
    wave = sine(440, 44100)[:, None] * [0.9, 0.2, 0.1]
    assert np.abs(middle(resampled(tmp_path, wave, 44100))).max() == pytest.approx(0.4, abs=1e-3)


def test_a_recording_at_the_target_rate_keeps_every_sample(tmp_path):
    wave = noise(0, 5000)
    assert np.abs(resampled(tmp_path, wave, RATE, highpass_hz=0) - wave).max() < 2**-23


@pytest.mark.parametrize("rate", [11025, 22050, 44100, 48000])
def test_resampling_does_not_delay_the_wave(rate, tmp_path):
    """A resampler that delayed the wave would show here."""
    wave = resampled(tmp_path, 0.5 * sine(440, rate), rate, highpass_hz=0)
    expected = 0.5 * sine(440, RATE)
    size = min(len(wave), len(expected))
    assert np.abs(middle(wave[:size] - expected[:size])).max() < 1e-4


# Nothing is added and nothing that matters is lost


@pytest.mark.parametrize("frequency", [4100, 6000, 15000])
def test_frequencies_above_half_the_target_rate_do_not_alias(frequency, tmp_path):
    wave = resampled(tmp_path, 0.5 * sine(frequency, 44100), 44100)
    assert level_db(middle(wave)) < level_db(np.array([0.5 / 2**0.5])) - 80


@pytest.mark.parametrize("frequency", [200, 1000, 3400])
def test_frequencies_of_speech_keep_their_level(frequency, tmp_path):
    wave = resampled(tmp_path, sine(frequency, 44100) / 2, 44100)
    assert level_db(middle(wave)) == pytest.approx(20 * np.log10(0.5), abs=0.1)


def test_rumble_is_attenuated_as_by_a_second_order_filter(tmp_path):
    """A Butterworth filter of second order at 20 Hz has -3 dB there and 10 log 17 = -12.3 dB an octave below."""
    for frequency, decibels in ((20, -3.0), (10, -12.3)):
        wave = resampled(tmp_path, sine(frequency, 44100, 4) / 2, 44100)
        assert level_db(middle(wave)) == pytest.approx(20 * np.log10(0.5) + decibels, abs=0.3)


@pytest.mark.parametrize("rate", [4000, 8000, 22050, 44100])
def test_an_offset_is_removed_without_a_click_at_either_end(rate, tmp_path):
    wave = resampled(tmp_path, 0.5 + 0.1 * sine(440, rate), rate)
    assert abs(middle(wave).mean()) < 1e-4
    assert np.abs(wave).max() < 0.11


def test_an_offset_alone_becomes_silence(tmp_path):
    assert np.abs(resampled(tmp_path, np.full(44100, 0.7), 44100)).max() < 1e-6


def test_a_recording_that_begins_mid_wave_has_no_thump(tmp_path):
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


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak memory from /proc")
@pytest.mark.slow
def test_memory_does_not_grow_with_the_length_of_a_recording(tmp_path):
    """8 minutes of stereo take 169 MB as float32, 2 minutes 42 MB."""
    second = (noise(0, 44100, 2) * 10_000).astype(np.int16)

    def peak_mb(minutes: int) -> float:
        with sf.SoundFile(tmp_path / "long.wav", "w", 44100, 2, "PCM_16") as file:
            for _ in range(minutes * 60):
                file.write(second)
        # VmHWM and not ru_maxrss: the latter begins with the memory of the process that started this one.
        script = (
            "import re; from pathlib import Path; from audiornn.audio import resampling\n"
            "resampling.resample_file('long.wav', 'short.wav', 8000)\n"
            "print(re.search(r'VmHWM:\\s+(\\d+) kB', Path('/proc/self/status').read_text())[1])"
        )
        run = subprocess.run(
            [sys.executable, "-c", script],
            cwd=tmp_path,
            env={"PYTHONPATH": str(Path(audiornn.__file__).parents[1])},
            capture_output=True,
            text=True,
            check=True,
        )
        assert sf.info(tmp_path / "short.wav").frames == pytest.approx(minutes * 60 * RATE, abs=1)
        return int(run.stdout) / 1000

    short, long = peak_mb(2), peak_mb(8)
    assert long < 300
    assert long < short + 10


def test_the_same_recording_gives_the_same_bytes_every_time(tmp_path):
    sf.write(tmp_path / "a.wav", noise(0, 5000, 2), 44100)
    resampling.resample_file(tmp_path / "a.wav", tmp_path / "first.wav", RATE)
    time.sleep(1.1)  # some chunks of wav files hold the second of their making
    resampling.resample_file(tmp_path / "a.wav", tmp_path / "second.wav", RATE)
    assert (tmp_path / "first.wav").read_bytes() == (tmp_path / "second.wav").read_bytes()
