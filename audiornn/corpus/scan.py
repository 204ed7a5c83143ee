"""Find readable recordings, and explain which files are left out."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import Field

from audiornn.audio.decoders import MAX_RATE, MIN_RATE
from audiornn.audio.examination import Examination, examine
from audiornn.audio.waves import Reading
from audiornn.common import parallel
from audiornn.common.digests import file_stamp, sha256
from audiornn.common.errors import AudioRNNError
from audiornn.common.validation import AnyText, RelativePath, Sha256, Size
from audiornn.corpus.listing import files_below
from audiornn.naming import slug
from audiornn.reuse.index import Index, with_same_code

CODE = ("audio", "corpus")  # what determines the examination of a file
PAYS_FROM = 64e6  # bytes from which on more than one core pays


@dataclass(frozen=True)
class Recording:
    """A readable recording.

    `path` is relative to the corpus folder, with forward slashes; `frames` are samples per channel; `reading` says how
    it is read; `notes` what its owner should know, such as that it is damaged.
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
class LeftOutFile:
    """A file that was left out, and why."""

    path: AnyText
    reason: AnyText


@dataclass(frozen=True)
class Examined:
    """What the examination of a file gave: its SHA-256; how it is read, or why it is left out.

    `lasting`: the file itself is why, not the system; the same content gives the same again.
    """

    sha256: AnyText
    found: Examination | None
    reason: AnyText = ""
    lasting: bool = True


def examine_file(path: str) -> Examined:
    """Examine a file."""
    digest = ""
    try:
        if is_file := Path(path).is_file():
            before = file_stamp(path)
            digest = sha256(path)
        found = examine(path)
        after = file_stamp(path)
        if is_file and after.without_inode != before.without_inode:
            return Examined(digest, None, "changed while it was read; run dvc repro again", False)
        return Examined(digest, found)
    except AudioRNNError as error:
        reason = str(error).removeprefix(f"{path}: ")
        return Examined(digest, None, reason, not isinstance(error.__context__, OSError) and path not in reason)
    except OSError as error:
        return Examined(digest, None, f"cannot be read: {error.strerror}", False)


def scan(
    folder: str | Path, listed: Mapping[str, str | None] | None = None, known: Index[Examined] | None = None
) -> tuple[list[Recording], list[LeftOutFile]]:
    """Find all readable recordings below a folder, sorted by path.

    Every file is decoded completely, as headers may be wrong. Files that no decoder can read, that are empty, silent (a
    peak below -80 dBFS), not finite or the same as an earlier file are left out, and so are folders that may not be
    read. What can be decoded of a damaged file is used, and noted. Hidden files and folders are left out without a
    word.

    Parameters
    ----------
    folder
        The folder.
    listed
        SHA-256 of files, by their paths from there.
    known
        What files of a SHA-256 gave before: they are not examined again.

    Raises
    ------
    AudioRNNError
        If the folder does not exist or is not a folder.
    """
    root = Path(folder)
    if not root.is_dir():
        raise AudioRNNError(f"{folder}: {'not a folder' if root.exists() else 'no such folder'}")
    unreadable: list[OSError] = []
    paths = {path: _below(path, root) for path in sorted(files_below(root, unreadable), key=os.fsencode)}
    recordings: list[Recording] = []
    left_out: list[LeftOutFile] = []
    seen: dict[str, str] = {}
    for path, examined in _examine(paths, listed or {}, known).items():
        relative, found = paths[path], examined.found
        if not found:
            left_out.append(LeftOutFile(relative, examined.reason))
        elif (first := seen.setdefault(examined.sha256, relative)) != relative:
            left_out.append(LeftOutFile(relative, f"the same as {first}"))
        else:
            recordings.append(
                Recording(
                    relative,
                    found.rate,
                    found.channels,
                    found.frames,
                    found.frames / found.rate,
                    examined.sha256,
                    found.reading,
                    found.notes,
                )
            )
    left_out += [
        LeftOutFile(_below(refused.filename, root), f"folder cannot be read: {refused.strerror}")
        for refused in unreadable
    ]
    return recordings, left_out


def _below(path: str, root: Path) -> str:
    return Path(path).relative_to(root).as_posix()


def _examine(
    paths: Mapping[str, str], listed: Mapping[str, str | None], known: Index[Examined] | None
) -> dict[str, Examined]:
    """What the examination of files gives; those of which that is known are not read."""
    examined: dict[str, Examined] = {}
    keys: dict[str, str] = {}
    for path, relative in paths.items():
        digest = listed.get(os.fsencode(relative).decode("utf-8", "backslashreplace"))
        if known and digest:
            keys[path] = known.key(digest, Path(path).suffix)  # decoders look at the suffix, too
            if found := known.get(keys[path]):
                examined[path] = found
    new = [path for path in paths if path not in examined]
    hours = 0.0

    def take(number: int, result: Examined) -> str:
        nonlocal hours
        path = new[number]
        examined[path] = result
        if known and path in keys and result.lasting and keys[path] == known.key(result.sha256, Path(path).suffix):
            known.add(keys[path], result)
            known.save_regularly()
        hours += result.found.frames / result.found.rate / 3600 if result.found else 0
        return f"{len(examined)}/{len(paths)} files, {hours:.2f} h"

    parallel.run(
        with_same_code(examine_file, known.code) if known else examine_file,
        [str(Path(path).absolute()) if known else path for path in new],
        take,
        what="examine recordings",
        weights=[_size(path) for path in new],
        names=[paths[path] for path in new],
        unit="B",
        pays_from=PAYS_FROM if known else math.inf,
    )
    return {path: examined[path] for path in paths}


def _size(path: str) -> float:
    try:
        return float(Path(path).stat().st_size)
    except OSError:
        return 0.0


def report(recordings: Sequence[Recording], left_out: Sequence[LeftOutFile], source: str) -> str:
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
    left_out: Sequence[LeftOutFile]
