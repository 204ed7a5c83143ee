"""Stamps of files, which tell whether a file was changed or replaced, without reading it."""

from pathlib import Path
from typing import NamedTuple


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
