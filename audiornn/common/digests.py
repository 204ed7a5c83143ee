"""Digests and stamps: whether a file is the one that was written, and whether it was changed or replaced since."""

import hashlib
import json
from pathlib import Path
from typing import NamedTuple

from audiornn.common.errors import AudioRNNError


def sha256(path: str | Path) -> str:
    """The SHA-256 digest of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_file(path: str | Path, expected: str, remedy: str, size: int | None = None) -> None:
    """Make sure that a file is the one that was written.

    Parameters
    ----------
    path
        The file.
    expected
        Its SHA-256 digest in hexadecimal.
    remedy
        What its owner should do if it is not.
    size
        Its length in bytes, where that is known; looked at first.

    Raises
    ------
    AudioRNNError
        If it is missing, not readable or another.
    """
    try:
        held = Path(path).stat().st_size
        if size is not None and held != size:
            raise AudioRNNError(f"{path}: damaged: has {held:,} bytes, but had {size:,} when it was written; {remedy}")
        found = sha256(path)
    except OSError as error:
        raise AudioRNNError(f"{path}: cannot be read: {error.strerror}; {remedy}") from None
    if found != expected:
        raise AudioRNNError(f"{path}: damaged: its SHA-256 is not the one it was written with; {remedy}")


def digest(content: object) -> str:
    """The SHA-256 digest of `content` as JSON, in hexadecimal."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


class FileStamp(NamedTuple):
    """Size in bytes, time of modification in nanoseconds, and inode of a file."""

    size: int
    modified_ns: int
    inode: int

    @property
    def without_inode(self) -> tuple[int, int]:
        """Size and time: some network file systems number a file that is the same anew."""
        return self.size, self.modified_ns


def file_stamp(path: str | Path) -> FileStamp:
    """The stamp of a file, or of what a link leads to.

    Raises
    ------
    OSError
        If there is no such file, or it cannot be reached.
    """
    state = Path(path).stat()
    return FileStamp(size=state.st_size, modified_ns=state.st_mtime_ns, inode=state.st_ino)
