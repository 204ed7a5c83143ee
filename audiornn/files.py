"""Atomic writes: a file or folder gets its name only when it is complete. JSON and digests."""

import fcntl
import hashlib
import json
import os
import re
import shutil
import time
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from audiornn.errors import AudioRNNError


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path; rename it to `path` if the block succeeds, remove it if it fails."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays last, as Keras and soundfile choose the format by it.
    partial = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Yield an empty temporary folder; it replaces `path` if the block succeeds.

    If the block fails, `path` is unchanged and the temporary folder is removed.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    old: Path | None = None
    try:
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
def locked(path: str | Path, seconds: float = 120.0) -> Iterator[None]:
    """Hold the lock file `path` during the block; other processes wait. The system releases it if the process dies.

    Raises
    ------
    AudioRNNError
        If another process holds it for so many seconds.
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
    """Read a JSON file.

    Raises
    ------
    AudioRNNError
        If the file does not exist or is not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise AudioRNNError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise AudioRNNError(f"{path}: not readable as JSON: {error}") from None


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
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise AudioRNNError(f"{path}: no such file") from None
    # ValueError: not UTF-8, or an invalid date such as 2020-13-01
    except (yaml.YAMLError, ValueError, OSError) as error:
        raise AudioRNNError(f"{path}: not readable as YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict | None):
        raise AudioRNNError(f"{path}: holds {content!r}, but must hold {holds}")
    return {} if content is None else content


def sha256(path: str | Path) -> str:
    """The SHA-256 digest of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(content: object) -> str:
    """The SHA-256 digest of `content` as JSON, in hexadecimal."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def slug(text: str, length: int = 40) -> str:
    """A plain file name from any text: ASCII letters, digits, dots and dashes, at most `length` characters."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9.]+", "-", plain).strip("-.")[:length] or "recording"
