"""The manifest of a folder of shards: their contents, how they were made, and their sizes and digests."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import Field

from audiornn.codec import CODES, CodecSettings
from audiornn.codec_metrics import CodecMetrics
from audiornn.common.digests import check_file, digest, file_stamp
from audiornn.common.errors import AudioRNNError, one_line
from audiornn.common.serialization import read_json
from audiornn.common.validation import FileName, Sha256, Size, parse
from audiornn.dataset.split import SPLITS, CodeRange
from audiornn.dataset.windows import WindowLayout

MANIFEST = "manifest.json"
RECORD_BYTES = 16  # of a record's length and two checksums
REMEDY = "run dvc repro shard"


@dataclass(frozen=True)
class Shard:
    """A TFRecord file: number of windows and of targets, size in bytes, SHA-256 in hexadecimal."""

    file: FileName
    windows: Size
    targets: Size
    bytes: Size
    sha256: Sha256


@dataclass(frozen=True)
class SplitManifest:
    """One split: totals, shards, ranges of recordings, and how often each of the 256 codes occurs in them."""

    windows: Size
    targets: Size
    bytes: Size
    shards: list[Shard]
    ranges: list[CodeRange]
    code_counts: Annotated[list[Size], Field(min_length=CODES, max_length=CODES)]


@dataclass(frozen=True)
class Manifest:
    """Manifest of a folder of shards.

    Attributes
    ----------
    folder
        Where the shards are.
    layout
        Of the windows.
    digest
        SHA-256 over all shards, in hexadecimal.
    codec, encode_metrics
        Settings of the codec, and its quantisation loss.
    too_short
        Names of recordings without a target.
    splits
        By `train`, `validation` and `test`.
    """

    folder: Path
    layout: WindowLayout
    digest: Sha256
    codec: CodecSettings
    encode_metrics: CodecMetrics
    too_short: list[str]
    splits: dict[str, SplitManifest]

    @property
    def validation_digest(self) -> str:
        """Digest of the validation split: models with the same digest can be compared, whatever their context."""
        split = self.splits["validation"]
        return digest([asdict(self.codec), [asdict(piece) for piece in split.ranges], split.code_counts])

    def summary(self) -> dict[str, int | dict[str, int]]:
        """Context, targets per window and, by split, windows, targets and bytes."""
        totals = {
            name: {"windows": split.windows, "targets": split.targets, "bytes": split.bytes}
            for name, split in self.splits.items()
        }
        return {"context": self.layout.context, "targets_per_window": self.layout.targets_per_window, **totals}


def read_manifest(folder: str | Path) -> Manifest:
    """The manifest of a folder of shards.

    Raises
    ------
    AudioRNNError
        If it is missing, is not JSON, or has a missing or impossible entry.
    """
    path = Path(folder) / MANIFEST
    content = read_json(path)
    layout = parse(WindowLayout, content, path)
    manifest = parse(Manifest, {**content, "folder": Path(folder), "layout": layout}, path)
    if problem := next(_contradictions(manifest), None):
        raise AudioRNNError(f"{path}: damaged: {problem}; {REMEDY}")
    return manifest


def _contradictions(manifest: Manifest) -> Iterator[str]:
    """Contradictions in a manifest, because of which a training would wait for windows that do not exist."""
    if manifest.splits.keys() != set(SPLITS):
        yield f"its splits are not {', '.join(SPLITS)}"
    for name, split in manifest.splits.items():
        for total in ("windows", "targets", "bytes"):
            if getattr(split, total) != sum(getattr(shard, total) for shard in split.shards):
                yield f"the {total} of {one_line(name, 40)} are not the sum over its shards"
        for shard in split.shards:
            if shard.bytes != shard.windows * (manifest.layout.context + RECORD_BYTES) + shard.targets:
                yield f"{one_line(shard.file, 40)} cannot have {shard.windows} windows in {shard.bytes} bytes"


def verify(folder: Path, shard: Shard) -> None:
    """Compare a shard with its digest, once per process as long as the file does not change."""
    path = folder / shard.file
    try:
        stamp = file_stamp(path)
    except OSError as error:
        raise AudioRNNError(f"{path}: cannot be read: {error.strerror}; {REMEDY}") from None
    _verify_once(path, shard, stamp.without_inode)


@cache
def _verify_once(path: Path, shard: Shard, size_and_time: tuple[int, int]) -> None:
    check_file(path, shard.sha256, REMEDY, shard.bytes)
