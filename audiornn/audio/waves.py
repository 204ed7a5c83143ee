"""Waves, block by block: recordings of any kind, and wav files."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import soundfile as sf
from numpy.typing import NDArray
from pydantic import Field

from audiornn.audio.decoders import open_audio
from audiornn.audio.sndfile_decoders import native
from audiornn.common.array_types import Samples
from audiornn.common.errors import AudioRNNError

BLOCK_SAMPLES = 1 << 18  # frames x channels per block: 1 MB as float32


@dataclass(frozen=True)
class Reading:
    """How a recording is read.

    Attributes
    ----------
    decoder
        `libsndfile` or `FFmpeg`; None: the one that reads all of it.
    channel
        The only one that is used, counted from 0; None: the mean of all.
    gain
        Factor for all samples.
    """

    decoder: Annotated[str, Field(pattern="^(libsndfile|FFmpeg)$")] | None = None
    channel: Annotated[int, Field(ge=0, lt=1024)] | None = None
    gain: Annotated[float, Field(gt=0, le=1)] = 1.0

    def mono(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """Float32 [n] of a block [n, channels]."""
        mono = block.mean(axis=1, dtype=np.float32) if self.channel is None else block[:, self.channel]
        return mono if self.gain == 1 else mono * np.float32(self.gain)


def read_blocks(
    path: str | Path, frames: int | None = None, decoder: str | None = None
) -> Iterator[NDArray[np.float32]]:
    """Blocks float32 [n, channels] of a recording, full scale at ±1; n is `frames`, by default about 1 MB.

    Raises
    ------
    AudioRNNError
        If it cannot be opened or decoded, or holds samples that are not finite.
    """
    with open_audio(path, decoder) as file:
        try:
            for block in file.blocks(frames or max(1, BLOCK_SAMPLES // file.channels)):
                if not np.isfinite(block).all():
                    raise AudioRNNError(f"{path}: holds samples that are not finite")
                yield block
        except (sf.SoundFileError, RuntimeError) as error:
            raise AudioRNNError(f"{path}: cannot be decoded to its end: {error}") from None


def read_mono(path: str | Path, frames: int | None = None, reading: Reading | None = None) -> Iterator[Samples]:
    """Blocks float32 [n] of a recording as one channel; see `read_blocks` and `Reading`."""
    reading = reading or Reading()
    for block in read_blocks(path, frames, reading.decoder):
        if reading.channel is not None and reading.channel >= block.shape[1]:
            raise AudioRNNError(
                f"{path}: has {block.shape[1]} channels, but channel {reading.channel + 1} is asked for"
            )
        yield reading.mono(block)


def container(samples: int) -> str:
    """The form of a wav file by its samples, of all channels together: RF64 beyond the 4 GiB that WAV can hold."""
    return "RF64" if samples * 4 > (1 << 32) - (1 << 20) else "WAV"


class WaveWriter:
    """Write PCM to a wav file block by block; samples beyond full scale are clipped and counted.

    If `frames`, an estimate of the length, exceeds the 4 GiB that WAV can hold, the file is RF64. It and `write` raise
    an AudioRNNError if the file cannot be written.

    Attributes
    ----------
    samples, clipped, peak
        Number of samples written (of all channels) and of those clipped; largest magnitude before clipping.
    """

    def __init__(
        self, path: str | Path, sample_rate: int, subtype: str = "PCM_24", frames: int = 0, channels: int = 1
    ) -> None:
        form = container(frames * channels)
        self._path = path
        with self._errors_named():
            self._file = sf.SoundFile(native(path), "w", sample_rate, channels, subtype, format=form)
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
        with self._errors_named():
            self._file.write(np.clip(wave, -1, 1))

    @contextmanager
    def _errors_named(self) -> Iterator[None]:
        try:
            yield
        except sf.SoundFileError as error:
            raise AudioRNNError(f"{self._path}: cannot be written: {error}") from None

    def __enter__(self) -> "WaveWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
