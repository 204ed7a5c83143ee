"""Recordings as codes on disk, as the encode stage leaves them: an array for each, and `manifest.json`."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from audiornn.array_types import Codes
from audiornn.codec import CodecMetrics, CodecSettings
from audiornn.files import read_json, write_json
from audiornn.validation import AnyText, parse

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class EncodedRecording:
    """One recording: `name`; `file` in the folder; `source`, its path; number of `codes`; share of clipped samples."""

    name: str
    file: str
    source: AnyText
    codes: int
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

    def codes(self, name: str) -> Codes:
        """Codes uint8 [n] of a recording; mapped, not read."""
        return np.load(self.folder / self.recordings[name].file, mmap_mode="r")


def write_manifest(
    folder: str | Path, codec: CodecSettings, metrics: CodecMetrics, recordings: Sequence[EncodedRecording]
) -> None:
    """Write the manifest of a folder of codes."""
    write_json(Path(folder) / MANIFEST, asdict(_Content(codec, metrics, recordings)))
