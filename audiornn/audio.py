"""Recordings of any kind to mono PCM at one rate, in bounded memory."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf
import soxr
from numpy.typing import NDArray
from scipy import signal

from audiornn.errors import AudioRNNError

BLOCK_SAMPLES = 1 << 18  # frames x channels a block: 1 MB as float32, whatever the number of channels
HIGHPASS_ORDER = 2


def open_audio(path: str | Path) -> sf.SoundFile:
    """Open a recording for reading with libsndfile.

    Raises
    ------
    AudioRNNError
        If it does not exist or libsndfile cannot read it.
    """
    if not Path(path).is_file():
        raise AudioRNNError(f"{path}: no such file")
    try:
        return sf.SoundFile(path)
    except (sf.SoundFileError, TypeError, ValueError, OSError) as error:
        # soundfile asks for the rate of headerless files (.raw, .gsm, .vox) with a TypeError.
        reason = getattr(error, "error_string", None) or str(error)
        raise AudioRNNError(f"{path}: not readable as audio: {reason}") from None


def read_blocks(path: str | Path, start: int = 0) -> Iterator[NDArray[np.float32]]:
    """Blocks float32 [n, channels] of a recording from frame `start` on, full scale at ±1.

    Raises
    ------
    AudioRNNError
        If it cannot be opened, or decoding fails on the way.
    """
    with open_audio(path) as file:
        frames = max(1, BLOCK_SAMPLES // file.channels)
        try:
            if start:
                file.seek(start)
            while len(block := file.read(frames, dtype="float32", always_2d=True)):
                yield block
        except (sf.SoundFileError, RuntimeError) as error:
            raise AudioRNNError(f"{path}: cannot be decoded to its end: {error}") from None


class Resampler:
    """Mono at `rate_out` from blocks at `rate_in`, without what lies below `highpass_hz`.

    Resampling by soxr at its highest quality (VHQ); then a Butterworth high-pass of second order, whose state starts
    as if the first sample had always been there, so that a constant offset does not begin with a step.

    Parameters
    ----------
    rate_in, rate_out
        In Hz.
    highpass_hz
        Corner (-3 dB) in Hz; 0 leaves DC and rumble in.
    """

    def __init__(self, rate_in: int, rate_out: int, highpass_hz: float = 20.0) -> None:
        # soxr needs no filter where the rates are equal, and would only add its round-off.
        self._soxr = soxr.ResampleStream(rate_in, rate_out, 1, "float32", "VHQ") if rate_in != rate_out else None
        self._sos = (
            signal.butter(HIGHPASS_ORDER, highpass_hz, "highpass", fs=rate_out, output="sos") if highpass_hz else None
        )
        self._state: NDArray[np.float64] | None = None

    def __call__(self, block: NDArray[np.float32], last: bool = False) -> NDArray[np.float64]:
        """The wave float [m] that the next block [n] or [n, channels] adds; `last` flushes what soxr holds back."""
        mono = block.mean(axis=1, dtype=np.float32) if block.ndim == 2 else block
        wave = self._soxr.resample_chunk(mono, last=last) if self._soxr else mono
        wave = wave.astype(np.float64)
        if self._sos is None or not wave.size:
            return wave
        if self._state is None:
            self._state = signal.sosfilt_zi(self._sos) * wave[0]
        wave, self._state = signal.sosfilt(self._sos, wave, zi=self._state)
        return wave


def resample_blocks(path: str | Path, sample_rate: int, highpass_hz: float = 20.0) -> Iterator[NDArray[np.float64]]:
    """Blocks float [n] of a recording as mono at `sample_rate`, in memory that does not grow with its length."""
    with open_audio(path) as file:
        rate = file.samplerate
    resampler = Resampler(rate, sample_rate, highpass_hz)
    for block in read_blocks(path):
        yield resampler(block)
    yield resampler(np.zeros(0, np.float32), last=True)


class WaveWriter:
    """Write PCM to a wav file block by block; what lies beyond full scale is clipped and counted.

    Files beyond 4 GiB, which WAV cannot hold, become RF64 where `frames`, an estimate of the length, says so.

    Attributes
    ----------
    samples, clipped, peak
        Samples written (of all channels), how many of them were clipped, the largest magnitude before clipping.
    """

    def __init__(
        self, path: str | Path, sample_rate: int, subtype: str = "PCM_24", frames: int = 0, channels: int = 1
    ) -> None:
        container = "RF64" if frames * channels * 4 > (1 << 32) - (1 << 20) else "WAV"
        self._file = sf.SoundFile(path, "w", sample_rate, channels, subtype, format=container)
        self.samples = 0
        self.clipped = 0
        self.peak = 0.0

    def __call__(self, wave: NDArray[Any]) -> None:
        """Append float [n] or [n, channels]."""
        if not wave.size:
            return
        magnitude = np.abs(wave)
        self.samples += wave.size
        self.clipped += int(np.count_nonzero(magnitude > 1))
        self.peak = max(self.peak, float(magnitude.max()))
        self._file.write(np.clip(wave, -1, 1))

    def __enter__(self) -> "WaveWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def resample_file(source: str | Path, target: str | Path, sample_rate: int, highpass_hz: float = 20.0) -> WaveWriter:
    """Write `source` as 24-bit mono wav at `sample_rate` Hz to `target`; return the closed writer with its counts."""
    with open_audio(source) as file:
        frames = int(file.frames * sample_rate / file.samplerate)
    with WaveWriter(target, sample_rate, frames=frames) as writer:
        for block in resample_blocks(source, sample_rate, highpass_hz):
            writer(block)
    return writer


def peak_safe(
    wave: NDArray[Any], sample_rate: int, highpass_hz: float = 20.0, ceiling: float = 0.98, skip: int = 0
) -> tuple[NDArray[np.float64], float]:
    """Make a generated wave safe to play.

    DC and rumble are removed, and a wave whose peak exceeds `ceiling` is scaled down to it as a whole; a quieter one
    keeps its level.

    Parameters
    ----------
    wave
        Float [n], of any level.
    sample_rate, highpass_hz
        In Hz; the filter is that of `Resampler`.
    ceiling
        The highest peak that is left as it is, as a share of full scale.
    skip
        So many samples at the start only lead the filter in and are dropped.

    Returns
    -------
    The wave float [n - skip], and the gain that was applied (1 where none was).
    """
    wave = Resampler(sample_rate, sample_rate, highpass_hz)(np.asarray(wave, np.float64))[skip:]
    peak = float(np.abs(wave).max(initial=0.0))
    gain = min(1.0, ceiling / peak) if peak else 1.0
    return wave * gain, gain
