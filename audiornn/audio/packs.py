"""Resampled recordings in packs: wav files in which several follow each other."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import numpy as np
import soundfile as sf
from numpy.typing import NDArray
from pydantic import Field

from audiornn.audio.resampling import resample_file
from audiornn.audio.sndfile_decoders import native
from audiornn.audio.waves import BLOCK_SAMPLES, Reading, container
from audiornn.common.digests import file_stamp, sha256
from audiornn.common.errors import AudioRNNError
from audiornn.common.files import unique_file
from audiornn.common.validation import Sha256, Size
from audiornn.reuse.packs import Held, Pack, PackJob

CODE = ("audio",)  # what determines the samples
SUFFIX = ".wav"
PACK_DIGITS = 2  # hexadecimal digits that name a pack: DVC needs half a millisecond per file of an output
REMEDY = "run dvc repro resample"


@dataclass(frozen=True)
class Source:
    """A recording to resample: path, SHA-256 when it was scanned, how it is read; rate and high-pass cutoff in Hz."""

    path: str
    sha256: str
    reading: Reading
    sample_rate: int
    highpass_hz: float


@dataclass(frozen=True)
class ResampledSamples:
    """What a recording gave: its samples, their peak, the gain when it was read, SHA-256 of the 32-bit integers."""

    samples: Size
    peak: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    gain: Annotated[float, Field(gt=0, le=1)]
    sha256: Sha256

    @property
    def length(self) -> int:
        """Samples."""
        return self.samples


ResampleJob = PackJob[Source, ResampledSamples]


def read_samples(path: str | Path, start: int, count: int) -> Iterator[NDArray[np.int32]]:
    """Blocks int32 [n] of a stretch of a wav file.

    Raises
    ------
    AudioRNNError
        If it cannot be read, or ends before the stretch does.
    """
    try:
        with sf.SoundFile(native(path)) as file:
            file.seek(min(start, file.frames))
            while count:
                block = file.read(min(count, BLOCK_SAMPLES), dtype="int32")
                if not len(block):
                    raise AudioRNNError(f"{path}: has {count} samples less than when it was written; {REMEDY}")
                count -= len(block)
                yield block
    except (sf.SoundFileError, RuntimeError, OSError, TypeError) as error:
        raise AudioRNNError(f"{path}: cannot be read: {error}; {REMEDY}") from None


def intact(held: Held) -> bool:
    """Whether samples are those that were written."""
    whole = hashlib.sha256()
    try:
        for block in read_samples(held.path, held.start, held.length):
            whole.update(block.tobytes())
    except AudioRNNError:
        return False
    return whole.hexdigest() == held.sha256


def resample_pack(job: ResampleJob) -> Pack[ResampledSamples]:
    """Write a pack of resampled recordings, 24-bit mono; what an earlier pack holds undamaged is copied.

    Raises
    ------
    AudioRNNError
        If a recording cannot be read, or has changed since it was scanned.
    """
    if job.unchanged(intact):
        return Pack(str(job.whole), [piece.earlier for piece in job.pieces if piece.earlier])
    rate = job.pieces[0].source.sample_rate
    expected = round(sum(piece.seconds for piece in job.pieces) * rate)
    results = []
    with (
        unique_file(job.target) as partial,
        sf.SoundFile(native(partial), "w", rate, 1, "PCM_24", format=container(expected)) as pack,
        TemporaryDirectory(prefix=".", suffix=".partial", dir=Path(job.target).parent) as folder,
    ):
        for piece in job.pieces:
            if piece.held and piece.earlier and intact(piece.held):
                for block in read_samples(piece.held.path, piece.held.start, piece.held.length):
                    pack.write(block)
                results.append(piece.earlier)
            else:
                results.append(_append(pack, piece.source, Path(folder) / "one.wav"))
    return Pack(job.target, results)


def _append(pack: sf.SoundFile, source: Source, single: Path) -> ResampledSamples:
    if sha256(source.path) != source.sha256:
        raise AudioRNNError(f"{source.path}: changed while the pipeline ran; run dvc repro again")
    before = file_stamp(source.path)
    wav = resample_file(source.path, single, source.sample_rate, source.highpass_hz, source.reading)
    if file_stamp(source.path).without_inode != before.without_inode:
        raise AudioRNNError(f"{source.path}: changed while it was read; run dvc repro again")
    whole = hashlib.sha256()
    for block in read_samples(single, 0, wav.samples):
        pack.write(block)
        whole.update(block.tobytes())
    return ResampledSamples(wav.samples, wav.peak, wav.gain, whole.hexdigest())
