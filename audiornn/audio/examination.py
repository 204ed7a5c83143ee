"""What a recording holds, decoded to its end: how to read all of it, at its level, or why not to use it."""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile as sf
from numpy.typing import NDArray

from audiornn.audio.decoders import FFMPEG, LIBSNDFILE, open_audio
from audiornn.audio.levels import dbfs
from audiornn.audio.waves import BLOCK_SAMPLES, Reading
from audiornn.common.errors import AudioRNNError

INAUDIBLE_DBFS = -80.0  # peak, or level of the mix below the loudest channel
CANCELLED_DB = -20.0  # power of the mix relative to the loudest channel, below which the channels cancel each other
SHORT, SHORT_SECONDS = 0.98, 0.1  # share, and seconds, of what the header promises below which a file is damaged
INTEGER_PEAK = 16.0  # a float file with larger samples holds integers
INTEGERS = {16: 2.0**15, 24: 2.0**23, 32: 2.0**31}  # bits and full scale


@dataclass(frozen=True)
class Examination:
    """What was found out about a recording.

    Attributes
    ----------
    rate, channels, frames
        In Hz; of the file; samples per channel that were decoded.
    reading
        How it is to be read.
    notes
        What the owner should know of it, a sentence each: damage, cancelling channels, integers in a float file.
    """

    rate: int
    channels: int
    frames: int
    reading: Reading
    notes: tuple[str, ...] = ()


def examine(path: str | Path, max_seconds: float = math.inf) -> Examination:
    """Decode a recording to its end.

    What can be decoded of a damaged file is used, by FFmpeg where libsndfile gives up.

    Parameters
    ----------
    path
        The recording.
    max_seconds
        How long it may be: a few bytes can stand for hours of silence.

    Raises
    ------
    AudioRNNError
        If no decoder reads it, or it is empty, inaudible, longer than it may be or holds samples that are not finite.
    """
    try:
        statistics = _Statistics(path, None, max_seconds)
    except (sf.SoundFileError, RuntimeError) as error:
        try:
            statistics = _Statistics(path, FFMPEG, max_seconds)
        except AudioRNNError:
            raise AudioRNNError(f"{path}: cannot be decoded to its end: {error}") from None
        statistics.damage = statistics.damage or f"damaged: {error}"
    if not statistics.frames:
        raise AudioRNNError(f"{path}: empty")
    return statistics.judge()


class _Statistics:
    """Levels of all channels and of their mean, in one pass."""

    def __init__(self, path: str | Path, decoder: str | None, max_seconds: float) -> None:
        self.path, self.frames = path, 0
        with open_audio(path, decoder) as file:
            self.decoder, self.rate, self.channels, self.promised = (
                file.name,
                file.samplerate,
                file.channels,
                file.frames,
            )
            n = file.channels + 1  # the mean comes last
            self.low, self.high = np.full(n, np.inf), np.full(n, -np.inf)
            sums, squares = np.zeros(n), np.zeros(n)
            for block in file.blocks(max(1, BLOCK_SAMPLES // file.channels)):
                if not np.isfinite(block).all():
                    raise AudioRNNError(f"{path}: holds samples that are not finite")
                # A row per channel: sums along rows are several times faster than down columns of a few.
                channels = np.ascontiguousarray(block.T)
                both = np.vstack([channels, channels.mean(axis=0, dtype=np.float32)])
                self.low, self.high = np.minimum(self.low, both.min(axis=1)), np.maximum(self.high, both.max(axis=1))
                exact = both.astype(np.float64)
                sums, squares = sums + exact.sum(axis=1), squares + np.einsum("ij,ij->i", exact, exact)
                self.frames += len(block)
                if self.frames > max_seconds * self.rate:
                    raise AudioRNNError(f"{path}: is longer than {max_seconds:g} s")
            self.damage = file.damage
        # FFmpeg only estimates the length of some formats, from their bit rate.
        short = self.frames < SHORT * self.promised - SHORT_SECONDS * self.rate
        if not self.damage and short and self.decoder == LIBSNDFILE:
            self.damage = "damaged or cut off"
        frames = max(1, self.frames)
        self.power: NDArray[np.float64] = squares / frames - np.square(sums / frames)

    def judge(self) -> Examination:
        """What follows from the levels."""
        low, high = float(self.low[:-1].min()), float(self.high[:-1].max())
        if low == high:
            raise AudioRNNError(f"{self.path}: silent: all samples are {low:g}")
        notes = []
        if self.damage:
            seconds, promised = self.frames / self.rate, self.promised / self.rate
            of = f" of {promised:.1f}" if promised > seconds else ""
            notes.append(f"{self.damage}; {seconds:.1f}{of} s are used")
        reading = Reading(self.decoder)
        loudest = int(np.argmax(self.power[:-1]))
        if self.power[-1] < self.power[loudest] * 10 ** (CANCELLED_DB / 10):
            notes.append(f"the channels cancel each other when they are mixed: channel {loudest + 1} alone is used")
            reading = replace(reading, channel=loudest)
        used = -1 if reading.channel is None else loudest
        peak = max(-float(self.low[used]), float(self.high[used]))
        if peak > INTEGER_PEAK:
            bits = next((bits for bits, scale in INTEGERS.items() if peak <= scale), 32)
            notes.append(f"samples reach {peak:,.0f}: taken for integers of {bits} bits")
            reading = replace(reading, gain=1 / INTEGERS[bits])
        swing = float(self.high[used] - self.low[used]) / 2 * reading.gain
        if (level := dbfs(swing)) < INAUDIBLE_DBFS:
            raise AudioRNNError(f"{self.path}: silent: its peak is at {level:.0f} dBFS")
        return Examination(self.rate, self.channels, self.frames, reading, tuple(notes))
