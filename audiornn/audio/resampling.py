"""Conversion to mono at one sample rate: DC offset, high-pass filter, resampling."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import scipy
import soxr
from pydantic import Field

from audiornn.audio.decoders import open_audio
from audiornn.audio.waves import Reading, WaveWriter, read_mono
from audiornn.common.array_types import Samples, Wave
from audiornn.common.validation import AnyText, FileName, Sha256, Size

HIGHPASS_ORDER = 2
CEILING = 0.98  # the highest peak of a recording that is scaled as a whole, and of generated audio
OFFSET_FRAMES = 1 << 14  # frames at the start of a recording from which its DC offset is estimated


@dataclass(frozen=True)
class ResampledRecording:
    """A recording as the resample stage leaves it.

    Its `name`; `file` in the folder, which several share, and the sample there at which it begins; `source`, the
    recording's path; length, peak, and gain when read; SHA-256 of the samples as 32-bit integers.
    """

    name: FileName
    file: FileName
    start: Size
    source: AnyText
    samples: Size
    peak: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    gain: Annotated[float, Field(gt=0, le=1)]
    sha256: Sha256


@dataclass(frozen=True)
class ResampledManifest:
    """What the folder of the resample stage holds; rate and corner of the high-pass filter in Hz."""

    sample_rate: Annotated[int, Field(ge=1000, le=384_000)]
    highpass_hz: Annotated[float, Field(ge=0)]
    recordings: Sequence[ResampledRecording]


class Resampler:
    """Convert blocks at `rate_in` to mono at `rate_out`, high-passed at `highpass_hz`.

    Resampling by soxr at its highest quality (VHQ); then a Butterworth high-pass of second order. Filters start at
    rest: a constant offset would be a step at the start of the recording unless it is subtracted first.

    Parameters
    ----------
    rate_in, rate_out
        In Hz.
    highpass_hz
        Cutoff (-3 dB) in Hz; 0: no high-pass.
    offset
        DC offset to subtract before the high-pass, to avoid a transient at the start; see `estimate_dc_offset`.
    """

    def __init__(self, rate_in: int, rate_out: int, highpass_hz: float = 20.0, offset: float = 0.0) -> None:
        # At equal rates soxr would only add round-off.
        self._soxr = soxr.ResampleStream(rate_in, rate_out, 1, "float32", "VHQ") if rate_in != rate_out else None
        self._sos = None
        if highpass_hz:
            self._sos = scipy.signal.butter(HIGHPASS_ORDER, highpass_hz, "highpass", fs=rate_out, output="sos")
        self._state = np.zeros((0 if self._sos is None else len(self._sos), 2))
        self._offset = np.float32(offset if highpass_hz else 0)

    def process(self, block: Samples, last: bool = False) -> Wave:
        """The wave float [m] that is ready after the next block, [n] or [n, channels]; `last` flushes soxr."""
        mono = block.mean(axis=1, dtype=np.float32) if block.ndim == 2 else block
        mono = mono - self._offset
        resampled = self._soxr.resample_chunk(mono, last=last) if self._soxr else mono
        wave = resampled.astype(np.float64)
        if self._sos is None or not wave.size:
            return wave
        wave, self._state = scipy.signal.sosfilt(self._sos, wave, zi=self._state)
        return wave


def estimate_dc_offset(path: str | Path, reading: Reading | None = None) -> float:
    """The constant offset that a recording begins with: the mean of its first 16,384 frames.

    A single sample would not do: in a recording cut out of a louder one it is far from the mean, and subtracting it
    would add a thump.
    """
    start = next(read_mono(path, OFFSET_FRAMES, reading), None)
    return 0.0 if start is None else float(start.mean(dtype=np.float64))


def resample_blocks(
    path: str | Path, sample_rate: int, highpass_hz: float = 20.0, reading: Reading | None = None
) -> Iterator[Wave]:
    """Blocks float [n] of a recording as mono at `sample_rate`; memory use does not depend on its length."""
    with open_audio(path, reading.decoder if reading else None) as file:
        rate = file.samplerate
    resampler = Resampler(rate, sample_rate, highpass_hz, estimate_dc_offset(path, reading))
    for block in read_mono(path, reading=reading):
        yield resampler.process(block)
    yield resampler.process(np.zeros(0, np.float32), last=True)


def with_headroom(
    path: str | Path, sample_rate: int, highpass_hz: float = 20.0, reading: Reading | None = None
) -> Reading:
    """The reading, with a gain at which no peak of the resampled wave lies beyond full scale.

    Resampling and the high-pass filter overshoot: a square wave can leave them with twice its peak.
    """
    reading = reading or Reading()
    peak = max(float(np.abs(b).max(initial=0)) for b in resample_blocks(path, sample_rate, highpass_hz, reading))
    return replace(reading, gain=reading.gain * CEILING / peak) if peak > 1 else reading


@dataclass(frozen=True)
class Resampled:
    """A resampled recording: its length in samples, its peak, and the gain with which the original was read."""

    samples: int
    peak: float
    gain: float


def resample_file(
    source: str | Path, target: str | Path, sample_rate: int, highpass_hz: float = 20.0, reading: Reading | None = None
) -> Resampled:
    """Write `source` as 24-bit mono wav at `sample_rate` Hz to `target`, scaled as a whole where it would clip."""
    reading = reading or Reading()
    with open_audio(source, reading.decoder) as file:
        frames = int(file.frames * sample_rate / file.samplerate)
    while True:
        with WaveWriter(target, sample_rate, frames=frames) as writer:
            for block in resample_blocks(source, sample_rate, highpass_hz, reading):
                writer.write(block)
        if not writer.clipped:
            return Resampled(writer.samples, writer.peak, reading.gain)
        reading = replace(reading, gain=reading.gain * CEILING / writer.peak)
