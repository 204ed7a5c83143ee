"""Atomic writes: a file or folder gets its name only when it is complete. JSON and digests."""

import errno
import fcntl
import glob
import hashlib
import json
import os
import re
import shutil
import time
import unicodedata
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from audiornn.common.errors import AudioRNNError, one_line, shown

MIN_FREE = 65_536  # bytes; a disk with less left is full
MAX_VALUES = 10_000  # values and keys of a YAML file, those of aliases each time they are used


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


def write_json(path: str | Path, content: object) -> None:
    """Write `content` as indented JSON, atomically. NaN and infinities are refused, as JSON has none."""
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    with atomic_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def read_json(path: str | Path) -> Any:  # noqa: ANN401 - JSON of any form; `validation.parse` gives it a type
    """Read a JSON file that the pipeline wrote.

    Raises
    ------
    AudioRNNError
        If the file does not exist or is not JSON.
    """
    if not Path(path).exists():
        raise AudioRNNError(f"{path}: no such file: run dvc repro first")
    try:
        return json.loads(_text(path, "JSON"), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise AudioRNNError(f"{path}: not readable as JSON: {one_line(error)}") from None


def read_yaml(path: str | Path, holds: str) -> dict[str, Any]:
    """Read a YAML file of keys and values; empty, if the file is.

    Parameters
    ----------
    path
        The file.
    holds
        What it must hold, as an error says it.

    Raises
    ------
    AudioRNNError
        If it does not exist, is not YAML, or holds something else.
    """
    content = parse_yaml(_text(path, "YAML"), path)
    if not isinstance(content, dict | None):
        raise AudioRNNError(f"{path}: holds {shown(content)}, but must hold {holds}")
    return {} if content is None else content


def parse_yaml(text: str, where: str | Path) -> object:
    """What a YAML text holds; errors name `where` it came from.

    Raises
    ------
    AudioRNNError
        If it is not YAML, or holds more than 10,000 values.
    """
    try:
        return yaml.load(text, _BoundedLoader)
    except Exception as error:  # PyYAML lets through what conversions raise, such as KeyError of `!!bool perhaps`
        reason = "nested too deep" if isinstance(error, RecursionError) else error
        raise AudioRNNError(f"{where}: not readable as YAML: {one_line(reason)}") from None


class _BoundedLoader(yaml.SafeLoader):
    """A loader that looks at the size of a document before it makes objects: aliases of aliases grow exponentially."""

    def get_single_node(self) -> yaml.Node | None:
        node = super().get_single_node()
        if node is not None and (count := _values(node, {})) > MAX_VALUES:
            held = f"{count:,}" if count < 10**9 else "billions of"
            raise yaml.YAMLError(f"holds {held} values, but at most {MAX_VALUES:,} are allowed")
        return node


def _values(node: yaml.Node, known: dict[yaml.Node, int]) -> int:
    """How many values a node holds; those of an alias count each time it is used."""
    if node not in known:
        known[node] = MAX_VALUES + 1  # of a node within itself
        parts = node.value if isinstance(node, yaml.CollectionNode) else ()
        nodes = (each for part in parts for each in (part if isinstance(part, tuple) else (part,)))
        known[node] = 1 + sum(_values(each, known) for each in nodes)
    return known[node]


def _no_number(name: str) -> None:
    raise ValueError(f"it has no {name}")


def _text(path: str | Path, form: str) -> str:
    """The text of a file of a form."""
    try:
        if Path(path).exists() and not Path(path).is_file():  # a device or a pipe might never end
            raise AudioRNNError(f"{path}: not readable as {form}: not a file")
        return Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise AudioRNNError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise AudioRNNError(f"{path}: not readable as {form}: {one_line(error)}") from None


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


def slug(text: str, length: int = 40) -> str:
    """A plain file name from any text: ASCII letters, digits, dots and dashes, at most `length` characters."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9.]+", "-", plain).strip("-.")[:length] or "recording"
