"""Recordings of any kind to mono PCM at one rate, in bounded memory."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile as sf
from numpy.typing import NDArray

from audiornn.array_types import Samples
from audiornn.errors import AudioRNNError

BLOCK_SAMPLES = 1 << 18  # frames x channels a block: 1 MB as float32, whatever the number of channels


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

    def write(self, wave: Samples) -> None:
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
