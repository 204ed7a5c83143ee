"""Recordings as codes on disk, as the encode stage leaves them: an array for each, and `manifest.json`."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from audiornn.array_types import Codes
from audiornn.codec import CodecMetrics, CodecSettings
from audiornn.errors import AudioRNNError, one_line
from audiornn.files import check_file, read_json, write_json
from audiornn.validation import AnyText, FileName, Sha256, Size, parse

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class EncodedRecording:
    """One recording.

    Its `name`; `file` in the folder; `source`, the recording's path; how many `codes` it has; the file's SHA-256, which
    manifests of earlier versions lack.
    """

    name: FileName
    file: FileName
    source: AnyText
    codes: Size
    sha256: Sha256 | None = None
    clipped_share: float = 0.0


@dataclass(frozen=True)
class _Content:
    """What the manifest holds."""

    codec: CodecSettings
    metrics: CodecMetrics
    recordings: Sequence[EncodedRecording]


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

    def codes(self, name: str) -> Codes:
        """Codes uint8 [n] of a recording, mapped; the file is read once, to compare it with its digest.

        Raises
        ------
        AudioRNNError
            If there is none of that name, or its file is missing, damaged or not the manifest's.
        """
        mend = "run dvc repro encode"
        if not (recording := self.recordings.get(name)):
            raise AudioRNNError(f"{self.folder / MANIFEST}: has no recording {one_line(name)}; {mend}")
        path = self.folder / recording.file
        if recording.sha256 and name not in self._verified:
            check_file(path, recording.sha256, mend)
            self._verified.add(name)
        try:
            codes = np.load(path, mmap_mode="r", allow_pickle=False)
        except Exception as error:  # whatever numpy makes of a file that is something else
            raise AudioRNNError(f"{path}: not readable as codes: {one_line(error)}; {mend}") from None
        if not isinstance(codes, np.memmap) or codes.dtype != np.uint8 or codes.shape != (recording.codes,):
            raise AudioRNNError(f"{path}: does not hold the {recording.codes} codes of {MANIFEST}; {mend}")
        return codes


def write_manifest(
    folder: str | Path, codec: CodecSettings, metrics: CodecMetrics, recordings: Sequence[EncodedRecording]
) -> None:
    """Write the manifest of a folder of codes."""
    write_json(Path(folder) / MANIFEST, asdict(_Content(codec, metrics, recordings)))
