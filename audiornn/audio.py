"""Recordings of any kind to mono PCM at one rate, in bounded memory."""

import os
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
OFFSET_FRAMES = 1 << 14  # at the start of a recording, that its constant offset is estimated from


def open_audio(path: str | Path) -> sf.SoundFile:
    """Open a recording for reading with libsndfile.

    Raises
    ------
    AudioRNNError
        If it does not exist or libsndfile cannot read it.
    """
    try:
        if not Path(path).is_file():
            raise AudioRNNError(f"{path}: {'not a file' if Path(path).exists() else 'no such file'}")
        return sf.SoundFile(_native(path))
    except (sf.SoundFileError, TypeError, ValueError, OSError) as error:
        # soundfile asks for the rate of headerless files (.raw, .gsm, .vox) with a TypeError.
        reason = getattr(error, "error_string", None) or getattr(error, "strerror", None) or str(error)
        raise AudioRNNError(f"{path}: not readable as audio: {reason}") from None


def _native(path: str | Path) -> str | bytes:
    """The name as the system has it: soundfile encodes a str strictly, but POSIX file names may be any bytes."""
    return os.fsencode(path) if os.name == "posix" else str(path)


def read_blocks(path: str | Path, frames: int | None = None) -> Iterator[NDArray[np.float32]]:
    """Blocks float32 [n, channels] of a recording, full scale at ±1; n is `frames`, by default what 1 MB holds.

    Raises
    ------
    AudioRNNError
        If it cannot be opened, decoding fails on the way, or samples are not finite.
    """
    with open_audio(path) as file:
        frames = frames or max(1, BLOCK_SAMPLES // file.channels)
        try:
            while len(block := file.read(frames, dtype="float32", always_2d=True)):
                if not np.isfinite(block).all():
                    raise AudioRNNError(f"{path}: holds samples that are not finite")
                yield block
        except (sf.SoundFileError, RuntimeError) as error:
            raise AudioRNNError(f"{path}: cannot be decoded to its end: {error}") from None


class Resampler:
    """Mono at `rate_out` from blocks at `rate_in`, without what lies below `highpass_hz`.

    Resampling by soxr at its highest quality (VHQ); then a Butterworth high-pass of second order. Filters start from
    rest: with a constant offset a recording would begin with a step, unless it is known and subtracted first.

    Parameters
    ----------
    rate_in, rate_out
        In Hz.
    highpass_hz
        Corner (-3 dB) in Hz; 0 leaves DC and rumble in.
    offset
        A constant to subtract before the high-pass, which would take it away in the end; see `offset`.
    """

    def __init__(self, rate_in: int, rate_out: int, highpass_hz: float = 20.0, offset: float = 0.0) -> None:
        # soxr needs no filter where the rates are equal, and would only add its round-off.
        self._soxr = soxr.ResampleStream(rate_in, rate_out, 1, "float32", "VHQ") if rate_in != rate_out else None
        self._sos = (
            signal.butter(HIGHPASS_ORDER, highpass_hz, "highpass", fs=rate_out, output="sos") if highpass_hz else None
        )
        self._state = np.zeros((0 if self._sos is None else len(self._sos), 2))
        self._offset = np.float32(offset if highpass_hz else 0)

    def __call__(self, block: NDArray[Any], last: bool = False) -> NDArray[np.float64]:
        """The wave float [m] that the next block [n] or [n, channels] adds; `last` flushes what soxr holds back."""
        mono = block.mean(axis=1, dtype=np.float32) if block.ndim == 2 else block
        mono = mono - self._offset
        resampled = self._soxr.resample_chunk(mono, last=last) if self._soxr else mono
        wave = resampled.astype(np.float64)
        if self._sos is None or not wave.size:
            return wave
        wave, self._state = signal.sosfilt(self._sos, wave, zi=self._state)
        return wave


def offset(path: str | Path) -> float:
    """The constant offset that a recording begins with: the mean of its first 16,384 frames over all channels.

    The first sample alone would do for an offset, but add a thump to a recording that is cut out of a wave.
    """
    start = next(read_blocks(path, OFFSET_FRAMES), None)
    return 0.0 if start is None else float(start.mean(dtype=np.float64))


def resample_blocks(path: str | Path, sample_rate: int, highpass_hz: float = 20.0) -> Iterator[NDArray[np.float64]]:
    """Blocks float [n] of a recording as mono at `sample_rate`, in memory that does not grow with its length."""
    with open_audio(path) as file:
        rate = file.samplerate
    resampler = Resampler(rate, sample_rate, highpass_hz, offset(path))
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
        self._file = sf.SoundFile(_native(path), "w", sample_rate, channels, subtype, format=container)
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


CEILING = 0.98  # the highest peak of generated audio, as a share of full scale


class Limiter:
    """Keep a wave below a ceiling, block by block, with a gain that moves smoothly.

    The gain that each sample needs is taken as the lowest of the `lookahead` that follows, and averaged over as long:
    it has fallen to what a peak needs by the time that the peak arrives, and no sample exceeds the ceiling. What comes
    out lags `lookahead` behind.

    Parameters
    ----------
    sample_rate
        In Hz.
    ceiling
        As a share of full scale.
    lookahead
        In seconds.

    Attributes
    ----------
    lowest_gain
        The lowest gain so far; 1 if nothing had to be limited.
    """

    def __init__(self, sample_rate: int, ceiling: float = CEILING, lookahead: float = 0.005) -> None:
        self.ceiling = ceiling
        self.delay = max(1, round(lookahead * sample_rate))
        self.lowest_gain = 1.0
        # The averages reach back one lookahead, over samples that came before the first.
        self._wave = np.zeros(self.delay - 1)

    def __call__(self, wave: NDArray[np.float64], last: bool = False) -> NDArray[np.float64]:
        """What the next block float [n] adds to the output; `last` flushes what is held back."""
        ahead = np.zeros(self.delay - 1) if last else np.zeros(0)
        held = np.concatenate([self._wave, wave, ahead])
        n = self.delay
        if len(held) < 2 * n - 1:
            self._wave = held
            return np.zeros(0)
        needed = np.minimum(1.0, self.ceiling / np.maximum(np.abs(held), 1e-12))
        lowest = np.lib.stride_tricks.sliding_window_view(needed, n).min(axis=1)  # [i]: of samples i to i + n - 1
        gain = np.lib.stride_tricks.sliding_window_view(lowest, n).mean(axis=1)  # [i]: for sample i + n - 1
        out = held[n - 1 : n - 1 + len(gain)] * gain
        self.lowest_gain = min(self.lowest_gain, float(gain.min()))
        self._wave = held[len(gain) :]
        return out


def peak_safe(
    wave: NDArray[Any],
    sample_rate: int,
    highpass_hz: float = 20.0,
    level: str = "safe",
    skip: int = 0,
) -> tuple[NDArray[np.float64], float]:
    """Make a generated wave safe to play.

    DC and rumble are removed, and no peak is left above 0.98 of full scale.

    Parameters
    ----------
    wave
        Float [n], of any level.
    sample_rate, highpass_hz
        In Hz; the filter is that of `Resampler`.
    level
        `safe`: a wave with higher peaks is scaled down as a whole, others keep their level. `normalise`: every wave is
        scaled to that peak. `limit`: only the peaks are lowered, by `Limiter`.
    skip
        So many samples at the start only lead the filter in and are dropped.

    Returns
    -------
    The wave float [n - skip], and the gain that was applied: 1 where none was, the lowest of a limiter.
    """
    wave = np.asarray(wave, np.float64)
    constant = float(wave[:OFFSET_FRAMES].mean()) if wave.size else 0.0
    wave = Resampler(sample_rate, sample_rate, highpass_hz, constant)(wave)[skip:]
    if level == "limit":
        limiter = Limiter(sample_rate)
        return limiter(wave, last=True), limiter.lowest_gain
    peak = float(np.abs(wave).max(initial=0.0))
    gain = CEILING / peak if peak else 1.0
    gain = gain if level == "normalise" else min(1.0, gain)
    return wave * gain, gain
