"""Recordings as codes on disk, as the encode stage leaves them: arrays of several, and `manifest.json`."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from audiornn.array_types import Codes
from audiornn.codec import CodecMetrics, CodecSettings
from audiornn.errors import AudioRNNError, one_line
from audiornn.files import read_json, write_json
from audiornn.validation import AnyText, FileName, Sha256, Size, parse

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class EncodedRecording:
    """One recording.

    Its `name`; `file` in the folder, which several share, and the code there at which it begins; `source`, the
    recording's path; how many `codes` it has; their SHA-256 as bytes.
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


def open_codes(path: str | Path, size: int) -> Codes:
    """Codes uint8 [size] of a file, mapped.

    Raises
    ------
    ValueError, OSError
        If it holds something else, or less or more.
    """
    codes = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(codes, np.memmap) or codes.dtype != np.uint8 or codes.shape != (size,):
        raise ValueError(f"it does not hold {size} codes")
    return codes


class EncodedCorpus:
    """All recordings as codes.

    Parameters
    ----------
    folder
        That the encode stage wrote.

    Attributes
    ----------
    codec, metrics
        The codec, and what it loses.
    recordings
        By name.

    Raises
    ------
    AudioRNNError
        If the manifest is missing, or an entry of it.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        path = self.folder / MANIFEST
        content = parse(_Content, read_json(path), path)
        self.codec, self.metrics = content.codec, content.metrics
        self.recordings = {recording.name: recording for recording in content.recordings}
        self._verified: set[str] = set()
        self._open: dict[str, Codes] = {}  # mapped once, as a process may have 65,530 mappings
        self._sizes: dict[str, int] = {}  # codes of a file
        for recording in content.recordings:
            end = recording.start + recording.codes
            self._sizes[recording.file] = max(end, self._sizes.get(recording.file, 0))

    def codes(self, name: str) -> Codes:
        """Codes uint8 [n] of a recording, mapped; they are read once, to compare them with their digest.

        Raises
        ------
        AudioRNNError
            If there is none of that name, or its file is missing, damaged or not the manifest's.
        """
        mend = "run dvc repro encode"
        if not (recording := self.recordings.get(name)):
            raise AudioRNNError(f"{self.folder / MANIFEST}: has no recording {one_line(name)}; {mend}")
        path = self.folder / recording.file
        try:
            if recording.file not in self._open:
                self._open[recording.file] = open_codes(path, self._sizes[recording.file])
        except OSError as error:
            raise AudioRNNError(f"{path}: cannot be read: {error.strerror or error}; {mend}") from None
        except Exception as error:  # whatever numpy makes of a file that is something else
            raise AudioRNNError(f"{path}: not readable as codes: {one_line(error)}; {mend}") from None
        codes = self._open[recording.file][recording.start : recording.start + recording.codes]
        if recording.sha256 and name not in self._verified:
            if hashlib.sha256(codes.data).hexdigest() != recording.sha256:
                raise AudioRNNError(f"{path}: damaged: its SHA-256 is not the one it was written with; {mend}")
            self._verified.add(name)
        return codes


def write_manifest(
    folder: str | Path, codec: CodecSettings, metrics: CodecMetrics, recordings: Sequence[EncodedRecording]
) -> None:
    """Write the manifest of a folder of codes."""
    write_json(Path(folder) / MANIFEST, asdict(_Content(codec, metrics, recordings)))
