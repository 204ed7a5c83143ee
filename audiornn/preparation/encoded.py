"""Recordings as codes on disk, as the encode stage leaves them: arrays of several, and `manifest.json`."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from audiornn.codec import CodecSettings
from audiornn.codec_metrics import CodecMetrics
from audiornn.common.array_types import Codes
from audiornn.common.digests import FileStamp, file_stamp
from audiornn.common.errors import AudioRNNError, one_line
from audiornn.common.serialization import read_json, write_json
from audiornn.common.validation import AnyText, FileName, Sha256, Size, parse

MANIFEST = "manifest.json"
REMEDY = "run dvc repro encode"
BLOCK = 1 << 20  # bytes


@dataclass(frozen=True)
class EncodedRecording:
    """One recording.

    Attributes
    ----------
    name
        Of the recording.
    file, start
        The file in the folder, which several recordings share, and the position of the first code in it.
    source
        Path of the recording.
    codes, sha256
        Number of codes, and the SHA-256 of their bytes.
    clipped_share
        Share of samples that left [-1, 1] after pre-emphasis.
    """

    name: FileName
    file: FileName
    source: AnyText
    codes: Size
    sha256: Sha256 | None = None
    clipped_share: float = 0.0
    start: Size = 0


@dataclass(frozen=True)
class _Content:
    """What the manifest holds."""

    codec: CodecSettings
    metrics: CodecMetrics
    recordings: Sequence[EncodedRecording]


@dataclass(frozen=True)
class StoredCodes:
    """Where the codes of a recording are, for any process to map them.

    Attributes
    ----------
    path, size
        The file, which several recordings share, and the number of codes in it.
    start, codes
        Position of the recording's first code, and its number of codes.
    sha256
        SHA-256 of their bytes; None if it need not be checked.
    """

    path: str
    size: int
    start: int
    codes: int
    sha256: str | None

    def open(self) -> Codes:
        """Codes uint8 [n], memory-mapped; when first opened they are read once, to check their digest.

        Raises
        ------
        AudioRNNError
            If the file is missing or damaged, or holds something else.
        """
        return self._open()[self.start : self.start + self.codes]

    def open_range(self, start: int, stop: int) -> Codes:
        """Codes `start` to `stop`, in a mapping of their own, whose memory is freed together with the array.

        Raises
        ------
        AudioRNNError
            As for `open`.
        """
        offset = self._open().offset + self.start + start
        try:
            return np.memmap(self.path, np.uint8, "r", offset, (stop - start,))
        except (OSError, ValueError) as error:
            raise AudioRNNError(f"{self.path}: cannot be read: {error}; {REMEDY}") from None

    def _open(self) -> "np.memmap":
        """The whole file, memory-mapped, after the digest of this recording's codes has been checked."""
        try:
            stamp = file_stamp(self.path)
            mapped = _open_codes(self.path, self.size, stamp)
            intact = _verified(self, mapped.offset, stamp)
        except OSError as error:
            raise AudioRNNError(f"{self.path}: cannot be read: {error.strerror or error}; {REMEDY}") from None
        except Exception as error:  # whatever numpy makes of a file that is something else
            raise AudioRNNError(f"{self.path}: not readable as codes: {one_line(error)}; {REMEDY}") from None
        if not intact:
            raise AudioRNNError(f"{self.path}: damaged: its SHA-256 is not the one it was written with; {REMEDY}")
        return mapped


@lru_cache(1 << 13)  # more than there are packs; each is mapped once, as a process may have 65,530 mappings
def _open_codes(path: str, size: int, stamp: FileStamp) -> "np.memmap":
    codes = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(codes, np.memmap) or codes.dtype != np.uint8 or codes.shape != (size,):
        raise ValueError(f"it does not hold {size} codes")
    return codes


@lru_cache(1 << 16)
def _verified(stored: StoredCodes, offset: int, stamp: FileStamp) -> bool:
    if not stored.sha256:
        return True
    digest = hashlib.sha256()
    with open(stored.path, "rb") as file:
        file.seek(offset + stored.start)
        left = stored.codes
        while block := file.read(min(left, BLOCK)):
            digest.update(block)
            left -= len(block)
    return digest.hexdigest() == stored.sha256


class EncodedCorpus:
    """All recordings as codes.

    Parameters
    ----------
    folder
        The output of the encode stage.

    Attributes
    ----------
    codec, metrics
        Settings of the codec, and its quantisation loss.
    recordings
        By name.

    Raises
    ------
    AudioRNNError
        If the manifest, or an entry of it, is missing or impossible.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        path = self.folder / MANIFEST
        content = parse(_Content, read_json(path), path)
        self.codec, self.metrics = content.codec, content.metrics
        self.recordings = {recording.name: recording for recording in content.recordings}
        self._sizes: dict[str, int] = {}  # codes of a file
        for recording in content.recordings:
            end = recording.start + recording.codes
            self._sizes[recording.file] = max(end, self._sizes.get(recording.file, 0))

    def locate(self, name: str) -> StoredCodes:
        """Where the codes of a recording are.

        Raises
        ------
        AudioRNNError
            If there is no recording of that name.
        """
        if not (recording := self.recordings.get(name)):
            raise AudioRNNError(f"{self.folder / MANIFEST}: has no recording {one_line(name)}; {REMEDY}")
        path = str(self.folder / recording.file)
        return StoredCodes(
            path,
            size=self._sizes[recording.file],
            start=recording.start,
            codes=recording.codes,
            sha256=recording.sha256,
        )

    def open(self, name: str) -> Codes:
        """Codes uint8 [n] of a recording, memory-mapped; see `StoredCodes.open`.

        Raises
        ------
        AudioRNNError
            If there is no recording of that name, or its file is missing, damaged or not the manifest's.
        """
        return self.locate(name).open()


def write_manifest(
    folder: str | Path, codec: CodecSettings, metrics: CodecMetrics, recordings: Sequence[EncodedRecording]
) -> None:
    """Write the manifest of a folder of codes."""
    write_json(Path(folder) / MANIFEST, asdict(_Content(codec, metrics, recordings)))
