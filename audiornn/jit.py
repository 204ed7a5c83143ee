"""Numba's compiler for this package; compiled functions are kept in a folder for each state of the code.

A compiled function holds copies of the functions and constants that it uses. Numba compiles it again when its own file
has changed, but not when another file has, from which it took some: after an update it would go on with old copies.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from numba import config, njit

__all__ = ["njit"]

PACKAGE = Path(__file__).parent
SOURCES = ("codec.py", "fused*.py", "kernels.py", "models/*.py", "prediction.py")


def stamp(files: Iterable[Path]) -> str:
    """A short hash of files' contents."""
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:12]


def keep_apart() -> None:
    """Let Numba use the folder of this state of the code, in NUMBA_CACHE_DIR or beside Python's own compiled files.

    Where that cannot be written, Numba uses a folder of the user.
    """
    folder = f"numba-{stamp(file for pattern in SOURCES for file in PACKAGE.glob(pattern))}"
    chosen: str = config.CACHE_DIR  # type: ignore[attr-defined]
    if not chosen.endswith(folder):
        config.CACHE_DIR = str(Path(chosen or PACKAGE / "__pycache__") / folder)  # type: ignore[attr-defined]


keep_apart()
