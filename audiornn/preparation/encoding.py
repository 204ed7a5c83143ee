"""Recordings as codes in packs: arrays in which several recordings follow each other."""

import base64
import hashlib
import zlib
from dataclasses import dataclass

import numpy as np

from audiornn.audio.packs import read_samples
from audiornn.codec import CODES, CodecSettings
from audiornn.codec_metrics import Measurement, MeasuringEncoder
from audiornn.common.array_types import Codes, Counts
from audiornn.common.errors import AudioRNNError
from audiornn.common.files import unique_file
from audiornn.common.validation import Sha256, Size
from audiornn.reuse.packs import Held, Pack, PackJob

CODE = ("audio", "codec.py", "codec_metrics.py", "preparation")  # what determines the codes
SUFFIX = ".npy"


@dataclass(frozen=True)
class Source:
    """A resampled recording to encode: the pack it is in, where it begins there and its samples; the codec."""

    path: str
    start: int
    samples: int
    sha256: str
    codec: CodecSettings


@dataclass(frozen=True)
class EncodedCodes:
    """An encoded recording: number of codes, SHA-256 of their bytes, and a `Measurement` with compressed counts."""

    codes: Size
    sha256: Sha256
    energies: list[list[list[float]]]
    clipped: Size
    counts: str

    @property
    def length(self) -> int:
        """Number of codes."""
        return self.codes

    def measured(self) -> Measurement:
        """The `Measurement`, its counts decompressed."""
        raw = zlib.decompress(base64.b64decode(self.counts))
        counts: Counts = np.frombuffer(raw, "<i8").astype(np.int64).reshape(CODES)
        return Measurement(self.energies, self.clipped, counts)


EncodeJob = PackJob[Source, EncodedCodes]


def read_codes(held: Held) -> Codes:
    """Codes uint8 [n] of an earlier pack, mapped.

    Raises
    ------
    ValueError, OSError
        If it is not a pack, or is too short.
    """
    codes = np.load(held.path, mmap_mode="r", allow_pickle=False)
    if not isinstance(codes, np.memmap) or codes.dtype != np.uint8 or codes.ndim != 1:
        raise ValueError(f"{held.path}: is not a pack")
    return codes[held.start : held.start + held.length]


def intact(held: Held) -> bool:
    """Whether the codes are still those that were written."""
    try:
        return hashlib.sha256(read_codes(held).data).hexdigest() == held.sha256
    except Exception:  # whatever numpy makes of a file that is something else
        return False


def encode_pack(job: EncodeJob) -> Pack[EncodedCodes]:
    """Write a pack of encoded recordings; those that an earlier pack holds undamaged are copied from it.

    Raises
    ------
    AudioRNNError
        If a resampled recording is missing or damaged.
    """
    if job.unchanged(intact):
        return Pack(str(job.whole), [piece.earlier for piece in job.pieces if piece.earlier])
    results = []
    with unique_file(job.target) as partial, open(partial, "wb") as pack:
        total = sum(piece.source.samples for piece in job.pieces)
        header = {"descr": "|u1", "fortran_order": False, "shape": (total,)}
        np.lib.format.write_array_header_1_0(pack, header)
        for piece in job.pieces:
            if piece.held and piece.earlier and intact(piece.held):
                pack.write(read_codes(piece.held).data)
                results.append(piece.earlier)
                continue
            source, encoder = piece.source, MeasuringEncoder(piece.source.codec)
            digest, read = hashlib.sha256(), hashlib.sha256()
            for block in read_samples(source.path, source.start, source.samples):
                read.update(block.tobytes())
                codes = encoder.encode(block / 2**31).codes
                digest.update(codes.data)
                pack.write(codes.data)
            if read.hexdigest() != source.sha256:
                raise AudioRNNError(
                    f"{source.path}: damaged: its samples are not those that were written; run dvc repro resample"
                )
            measured = encoder.measured()
            counts = base64.b64encode(zlib.compress(measured.counts.astype("<i8").tobytes())).decode()
            energies = [[list(pair) for pair in block] for block in measured.energies]
            results.append(
                EncodedCodes(
                    codes=source.samples,
                    sha256=digest.hexdigest(),
                    energies=energies,
                    clipped=measured.clipped,
                    counts=counts,
                )
            )
    return Pack(job.target, results)
