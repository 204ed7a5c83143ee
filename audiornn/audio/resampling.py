"""To mono at one rate: DC offset, high-pass filter, resampling."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr
from scipy import signal

from audiornn.array_types import Samples, Wave
from audiornn.audio.waves import WaveWriter, open_audio, read_blocks
from audiornn.validation import AnyText

HIGHPASS_ORDER = 2
OFFSET_FRAMES = 1 << 14  # at the start of a recording, that its constant offset is estimated from


@dataclass(frozen=True)
class ResampledRecording:
    """A recording as the resample stage leaves it: `file` in its folder, `source`, length, peak before clipping."""

    file: str
    source: AnyText
    samples: int
    peak: float


@dataclass(frozen=True)
class ResampledManifest:
    """What the folder of the resample stage holds; rate and corner of the high-pass filter in Hz."""

    sample_rate: int
    highpass_hz: float
    recordings: Sequence[ResampledRecording]


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
        A constant to subtract before the high-pass, which would take it away in the end; see `estimate_dc_offset`.
    """

    def __init__(self, rate_in: int, rate_out: int, highpass_hz: float = 20.0, offset: float = 0.0) -> None:
        # soxr needs no filter where the rates are equal, and would only add its round-off.
        self._soxr = soxr.ResampleStream(rate_in, rate_out, 1, "float32", "VHQ") if rate_in != rate_out else None
        self._sos = (
            signal.butter(HIGHPASS_ORDER, highpass_hz, "highpass", fs=rate_out, output="sos") if highpass_hz else None
        )
        self._state = np.zeros((0 if self._sos is None else len(self._sos), 2))
        self._offset = np.float32(offset if highpass_hz else 0)

    def process(self, block: Samples, last: bool = False) -> Wave:
        """The wave float [m] that the next block [n] or [n, channels] adds; `last` flushes what soxr holds back."""
        mono = block.mean(axis=1, dtype=np.float32) if block.ndim == 2 else block
        mono = mono - self._offset
        resampled = self._soxr.resample_chunk(mono, last=last) if self._soxr else mono
        wave = resampled.astype(np.float64)
        if self._sos is None or not wave.size:
            return wave
        wave, self._state = signal.sosfilt(self._sos, wave, zi=self._state)
        return wave


def estimate_dc_offset(path: str | Path) -> float:
    """The constant offset that a recording begins with: the mean of its first 16,384 frames over all channels.

    The first sample alone would do for an offset, but add a thump to a recording that is cut out of a wave.
    """
    start = next(read_blocks(path, OFFSET_FRAMES), None)
    return 0.0 if start is None else float(start.mean(dtype=np.float64))


def resample_blocks(path: str | Path, sample_rate: int, highpass_hz: float = 20.0) -> Iterator[Wave]:
    """Blocks float [n] of a recording as mono at `sample_rate`, in memory that does not grow with its length."""
    with open_audio(path) as file:
        rate = file.samplerate
    resampler = Resampler(rate, sample_rate, highpass_hz, estimate_dc_offset(path))
    for block in read_blocks(path):
        yield resampler.process(block)
    yield resampler.process(np.zeros(0, np.float32), last=True)


def resample_file(source: str | Path, target: str | Path, sample_rate: int, highpass_hz: float = 20.0) -> WaveWriter:
    """Write `source` as 24-bit mono wav at `sample_rate` Hz to `target`; return the closed writer with its counts."""
    with open_audio(source) as file:
        frames = int(file.frames * sample_rate / file.samplerate)
    with WaveWriter(target, sample_rate, frames=frames) as writer:
        for block in resample_blocks(source, sample_rate, highpass_hz):
            writer.write(block)
    return writer
