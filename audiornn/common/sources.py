"""The library's own sources, and digests of them: what was made by other code is not reused."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

PACKAGE = Path(__file__).parents[1]


def source_files(names: Iterable[str]) -> list[Path]:
    """Files of modules ("codec.py") and packages ("audio") of this library, sorted."""
    paths = [PACKAGE / name for name in names]
    return sorted(file for path in paths for file in (path.rglob("*.py") if path.is_dir() else [path]))


def source_digest(names: Iterable[str]) -> str:
    """SHA-256 of names and contents of all files of modules and packages; see `source_files`."""
    digest = hashlib.sha256()
    for file in source_files(names):
        digest.update(f"{file.relative_to(PACKAGE)}\n".encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()
