"""Which recordings there are: paths, sizes and hashes. DVC compares the list, as it cannot see all recordings."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from tqdm import tqdm

from audiornn.common import parallel
from audiornn.common.digests import file_stamp, sha256
from audiornn.common.errors import AudioRNNError
from audiornn.common.validation import AnyText, Sha256, Size

DROP_FOLDER = "recordings"  # ships empty, which counts as unset
AT_A_TIME = 10_000  # files that wait for a thread
Known = dict[AnyText, tuple[list[int], Sha256]]  # by path: size, time of change and inode; SHA-256


def own_recordings(path: str | None, workspace: Path) -> Path | None:
    """The user's folder, `corpus.path`, in the workspace or from here; None if it is unset.

    Experiments run in copies of the workspace that lack what is tracked by neither Git nor DVC, such as the recordings.

    Raises
    ------
    AudioRNNError
        If it is missing or empty.
    """
    if path is None:
        return None
    for folder in (workspace / path, Path(path)):
        if folder.is_dir() and any(not file.name.startswith(".") for file in folder.iterdir()):
            return folder
    if is_drop_folder(path):
        return None
    raise AudioRNNError(f"corpus.path is {path!r}, but must be a folder with recordings: it is missing or empty")


def is_drop_folder(path: str) -> bool:
    """Whether `corpus.path` is the folder that counts as unset while it is empty or missing."""
    return path.rstrip("/") == DROP_FOLDER


@dataclass(frozen=True)
class ListedFile:
    """A file below the corpus folder: its path from there, its size in bytes, and its SHA-256; None: not readable."""

    path: AnyText
    size: Size
    sha256: Sha256 | None


def files_below(root: Path, unreadable: list[OSError]) -> Iterator[str]:
    """Paths of all files below a folder, through links, without hidden ones.

    Parameters
    ----------
    root
        The folder.
    unreadable
        Takes the errors of folders that may not be read.
    """
    visited = set()
    for folder, folders, files in os.walk(root, onerror=unreadable.append, followlinks=True):
        if (real := os.path.realpath(folder)) in visited:  # links may form a cycle
            folders.clear()
            continue
        visited.add(real)
        # Sorted, as files are named by the first of several paths to their folder.
        folders[:] = sorted((name for name in folders if not name.startswith(".")), key=os.fsencode)
        yield from (os.path.join(folder, name) for name in files if not name.startswith("."))


def list_files(folder: str | Path, known: Known | None = None) -> tuple[list[ListedFile], Known]:
    """All files below a folder that a scan would look at, sorted by path.

    Parameters
    ----------
    folder
        The corpus folder.
    known
        What an earlier call returned: files of which size and time of change are the same are not hashed again.

    Returns
    -------
    The files, and what the next call may be given as `known`.
    """
    known = known or {}
    listed: list[ListedFile] = []
    remembered: Known = {}
    unreadable: list[OSError] = []
    stamps: dict[str, list[int] | None] = {}
    for path in sorted(files_below(Path(folder), unreadable), key=os.fsencode):
        try:
            stamps[path] = list(file_stamp(path))  # as it comes back from JSON
        except OSError:
            stamps[path] = None
    same = {path: held[1] for path, stamp in stamps.items() if (held := known.get(path)) and held[0] == stamp}
    digests = same | _hash([path for path, stamp in stamps.items() if stamp and path not in same])
    for path, stamp in stamps.items():
        relative = _printable(Path(path).relative_to(folder).as_posix())
        digest = digests.get(path)
        listed.append(ListedFile(relative, stamp[0] if stamp and path in digests else 0, digest))
        if stamp and digest:
            remembered[path] = (stamp, digest)
    listed += [ListedFile(str(error.filename), 0, None) for error in unreadable]
    return listed, remembered


def _hash(paths: Sequence[str]) -> dict[str, str | None]:
    """SHA-256 of files, by a thread per core; None: not a file. Those that cannot be read are missing."""

    def digest(path: str) -> tuple[str, str | None] | None:
        try:
            return path, sha256(path) if Path(path).is_file() else None
        except OSError:
            return None

    pool = ThreadPoolExecutor(parallel.cores())
    try:
        slices = (paths[start : start + AT_A_TIME] for start in range(0, len(paths), AT_A_TIME))
        found = chain.from_iterable(pool.map(digest, some) for some in slices)
        told = tqdm(found, "list recordings", len(paths), unit="file", delay=1, disable=None)
        return dict(pair for pair in told if pair)
    finally:
        pool.shutdown(cancel_futures=True)


@dataclass(frozen=True)
class Listing:
    """All files below the corpus folder `path`, which is `corpus.path`; None, where that is unset."""

    path: AnyText | None
    files: Sequence[ListedFile]


def check_unchanged(listed: Sequence[ListedFile], digests: Mapping[str, str], left_out: Iterable[str] = ()) -> None:
    """Make sure that scanned recordings are those of the list.

    Parameters
    ----------
    listed
        The list.
    digests
        SHA-256 of the recordings that were scanned, by path.
    left_out
        Paths of the other files that were scanned.

    Raises
    ------
    AudioRNNError
        If a recording has changed, been added or gone since.
    """
    held = {file.path: file.sha256 for file in listed}
    for path, digest in digests.items():
        name = _printable(path)
        if held.get(name) != digest:
            how = "changed" if name in held else "was added"
            raise AudioRNNError(f"{path}: {how} while the pipeline ran; run dvc repro again")
    scanned = {_printable(path) for path in chain(digests, left_out)}
    for name, listed_digest in held.items():
        if listed_digest and name not in scanned:
            raise AudioRNNError(f"{name}: went while the pipeline ran; run dvc repro again")


def _printable(path: str) -> str:
    """A path whose bytes may be of any encoding, as lists have it."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
