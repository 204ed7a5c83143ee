"""Find readable recordings, and explain which files are skipped."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import Field
from tqdm import tqdm

from audiornn.audio.decoders import MAX_RATE, MIN_RATE
from audiornn.audio.examination import examine
from audiornn.audio.waves import Reading
from audiornn.corpus.listing import files_below
from audiornn.errors import AudioRNNError
from audiornn.files import sha256, slug
from audiornn.validation import AnyText, RelativePath, Sha256, Size


@dataclass(frozen=True)
class Recording:
    """A readable recording.

    `path` is relative to the corpus folder, with forward slashes; `frames` are samples a channel; `reading` says how it
    is read; `notes` what its owner should know, such as that it is damaged.
    """

    path: RelativePath
    rate: Annotated[int, Field(ge=MIN_RATE, le=MAX_RATE)]
    channels: Annotated[int, Field(ge=1, le=1024)]
    frames: Size
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    sha256: Sha256
    reading: Reading = field(default_factory=Reading)
    notes: tuple[AnyText, ...] = ()

    @property
    def name(self) -> str:
        """A short plain name for files derived from the recording, unique in a corpus without duplicates."""
        return f"{slug(Path(self.path).stem)}-{self.sha256[:8]}"


@dataclass(frozen=True)
class SkippedFile:
    """A file that was skipped, and why."""

    path: AnyText
    reason: AnyText


def scan(folder: str | Path) -> tuple[list[Recording], list[SkippedFile]]:
    """Find all readable recordings below a folder, sorted by path.

    Every file is decoded completely, as headers may be wrong. Files that no decoder can read, that are empty, silent (a
    peak below -80 dBFS), not finite or the same as an earlier file are left out, and so are folders that may not be
    read. What can be decoded of a damaged file is used, and noted. Hidden files and folders are skipped without a
    word.

    Raises
    ------
    AudioRNNError
        If the folder does not exist or is not a folder.
    """
    root = Path(folder)
    if not root.is_dir():
        raise AudioRNNError(f"{folder}: {'not a folder' if root.exists() else 'no such folder'}")
    recordings: list[Recording] = []
    left_out: list[SkippedFile] = []
    seen: dict[str, str] = {}
    unreadable: list[OSError] = []
    paths = sorted(files_below(root, unreadable), key=os.fsencode)
    for path in tqdm(paths, "examine recordings", unit="file", disable=None):
        relative = Path(path).relative_to(root).as_posix()
        try:
            recording = _examine(root, relative)
            if (first := seen.setdefault(recording.sha256, relative)) != relative:
                raise AudioRNNError(f"the same as {first}")
            recordings.append(recording)
        except AudioRNNError as error:
            left_out.append(SkippedFile(relative, str(error).removeprefix(f"{root / relative}: ")))
        except OSError as error:
            left_out.append(SkippedFile(relative, f"cannot be read: {error.strerror}"))
    for refused in unreadable:
        relative = Path(refused.filename).relative_to(root).as_posix()
        left_out.append(SkippedFile(relative, f"folder cannot be read: {refused.strerror}"))
    return recordings, left_out


def _examine(root: Path, relative: str) -> Recording:
    path = root / relative
    found = examine(path)
    seconds = found.frames / found.rate
    return Recording(
        relative, found.rate, found.channels, found.frames, seconds, sha256(path), found.reading, found.notes
    )


def report(recordings: Sequence[Recording], left_out: Sequence[SkippedFile], source: str) -> str:
    """Report of a scan as Markdown."""
    seconds = sum(r.seconds for r in recordings)
    lines = [
        f"# Recordings in {source}",
        "",
        f"{len(recordings)} recordings, {seconds / 60:.1f} minutes; {len(left_out)} files left out.",
        "",
    ]
    kinds: dict[tuple[int, int], list[float]] = {}
    for r in recordings:
        kinds.setdefault((r.rate, r.channels), []).append(r.seconds)
    lines += ["| sample rate (Hz) | channels | recordings | minutes |", "|---|---|---|---|"]
    lines += [f"| {rate} | {ch} | {len(s)} | {sum(s) / 60:.2f} |" for (rate, ch), s in sorted(kinds.items())]
    if noted := [(_printable(r.path), _printable("; ".join(r.notes))) for r in recordings if r.notes]:
        lines += ["", "| used, but | what to know |", "|---|---|"]
        lines += [f"| {path} | {notes} |" for path, notes in noted]
    if left_out:
        lines += ["", "| left out | why |", "|---|---|"]
        cells = [(_printable(item.path), _printable(item.reason)) for item in left_out]
        lines += [f"| {path} | {reason} |" for path, reason in cells]
    return "\n".join(lines) + "\n"


def _printable(text: str) -> str:
    """Text that is safe in a Markdown table and in UTF-8 (file names may be any bytes)."""
    return " ".join(text.encode("utf-8", "backslashreplace").decode().splitlines()).replace("|", "\\|")


@dataclass(frozen=True)
class CorpusManifest:
    """What a scan found, as it is kept on disk: paths are relative to the folder `root`."""

    root: AnyText
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    recordings: Sequence[Recording]
    left_out: Sequence[SkippedFile]
