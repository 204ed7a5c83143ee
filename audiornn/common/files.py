"""Atomic writes: a file or folder gets its name only when it is complete."""

import errno
import fcntl
import glob
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from audiornn.common.errors import AudioRNNError

MIN_FREE = 65_536  # bytes; a disk with less left is full


@contextmanager
def atomic_file(path: str | Path, size: int | None = None) -> Iterator[Path]:
    """Yield a temporary path; rename it to `path` if the block succeeds, remove it if it fails.

    Leftovers of killed processes are removed. `size` is how many bytes will be written, where that is
    known.

    Raises
    ------
    AudioRNNError
        If the disk is full.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path, path.stem)
    # The suffix stays last, as Keras and soundfile choose the format by it.
    partial = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        with _full_disk_named(path, size):
            yield partial
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def unique_file(path: str | Path) -> Iterator[Path]:
    """As `atomic_file`, where several machines may write the same path at once; what is killed leaves a hidden file.

    Raises
    ------
    AudioRNNError
        If the disk is full.
    """
    path = Path(path)
    partial = path.with_name(f".{path.stem}.{uuid.uuid4().hex}.partial{path.suffix}")
    try:
        with _full_disk_named(path):
            yield partial
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Yield an empty temporary folder; it replaces `path` if the block succeeds.

    If the block fails, `path` is unchanged and the temporary folder is removed. What killed processes left of earlier
    attempts is removed, too.

    Raises
    ------
    AudioRNNError
        If the disk is full.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path, path.name)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    old: Path | None = None
    try:
        with _full_disk_named(path):
            yield partial
        if path.is_symlink() or path.is_file():
            path.unlink()  # a folder cannot be renamed over it
        elif path.exists():
            old = path.with_name(f".{path.name}.{os.getpid()}.old.partial")
            path.replace(old)
        try:
            partial.replace(path)
        except OSError:
            if old:
                old.replace(path)
            raise
        if old:
            shutil.rmtree(old)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def _full_disk_named(path: Path, size: int | None = None) -> Iterator[None]:
    """Say what could not be written where a disk is full, whatever a library makes of that."""
    try:
        yield
    except Exception as error:
        number = error.errno if isinstance(error, OSError) else None
        try:
            free = shutil.disk_usage(path.parent).free
        except OSError:
            raise error from None
        if number in (errno.ENOSPC, errno.EDQUOT) or "No space left on device" in str(error) or free < MIN_FREE:
            needed = f"{size:,} bytes are needed, " if size else ""
            raise AudioRNNError(
                f"{path}: the disk is full: {needed}{free:,} bytes are free; make room and run again"
            ) from None
        raise


def _remove_leftovers(path: Path, stem: str) -> None:
    """Remove temporary files and folders for `path` that processes on this machine left when they were killed."""
    for leftover in path.parent.glob(f".{glob.escape(stem)}.*.partial*"):
        found = re.fullmatch(r"\.(\d+)(\.old)?\.partial.*", leftover.name[len(stem) + 1 :])
        if not found or _is_running(int(found[1])):
            continue
        if found[2] and not path.exists():
            leftover.replace(path)  # killed between two renames: it is what stood at `path` before
        elif leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        pass
    return True


@contextmanager
def locked(path: str | Path, seconds: float = 120.0) -> Iterator[None]:
    """Hold the lock file `path` during the block; other processes wait. The system releases it if the process dies.

    Raises
    ------
    AudioRNNError
        If another process holds it for that long.
    """
    path, deadline = Path(path), time.monotonic() + seconds
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise AudioRNNError(f"{path}: held by another process for {seconds:.0f} s") from None
                time.sleep(0.02)
        yield
