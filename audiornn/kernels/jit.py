"""Numba's compiler, with a cache for each version of the sources that all copies of the package share.

A compiled function holds copies of the functions and constants that it uses. Numba compiles it again when its own file
has changed, but not when another file has, from which it took some: after an update it would keep using old copies.
And it looks for what was compiled by the path of the source: each queued experiment, which runs in a copy of the
workspace, would compile all kernels again.
"""

import atexit
import os
import shutil
import sys
import tempfile
import time
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numba import config, njit
from numba.core import event
from numba.core.caching import CacheImpl, InTreeCacheLocator
from numba.misc.appdirs import AppDirs
from tqdm import tqdm

from audiornn.common.sources import PACKAGE, source_digest

__all__ = ["njit"]

SOURCES = ("codec.py", "generation/fused", "kernels", "models")  # sources of compiled functions
UNUSED_DAYS = 30  # after which compiled functions of other versions are removed


@cache
def cache_folder() -> Path:
    """The folder of what was compiled from these sources: in NUMBA_CACHE_DIR, or in the user's folder of caches.

    If that is not writable, it is a temporary one that later processes do not find.
    """
    parent = Path(os.environ.get("NUMBA_CACHE_DIR") or AppDirs("audiornn", appauthor=False).user_cache_dir)
    folder = parent / f"kernels-{source_digest(SOURCES)[:12]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        os.utime(folder)
        for other in parent.glob("kernels-*"):
            if time.time() - other.stat().st_mtime > UNUSED_DAYS * 86_400:
                shutil.rmtree(other, ignore_errors=True)
    except OSError:
        temporary = tempfile.mkdtemp(prefix="kernels-")
        atexit.register(shutil.rmtree, temporary, ignore_errors=True)
        return Path(temporary)
    return folder


class CacheLocator(InTreeCacheLocator):
    """Where Numba caches functions of this package: by the names of their modules, wherever the package is."""

    def __init__(self, py_func: Any, py_file: str) -> None:
        self._py_file = py_file
        self._lineno = py_func.__code__.co_firstlineno
        self._cache_path = str(cache_folder() / Path(py_file).relative_to(PACKAGE).parent)

    @classmethod
    def from_function(cls, py_func: Any, py_file: str) -> "CacheLocator | None":
        """A locator of a function in a file; None for other packages, which Numba caches as usual."""
        return super().from_function(py_func, py_file) if Path(py_file).is_relative_to(PACKAGE) else None


LOCATORS = os.environ.get("NUMBA_CACHE_LOCATOR_CLASSES") or ",".join(
    locator.__name__ for locator in CacheImpl._locator_classes
)
config.CACHE_LOCATOR_CLASSES = f"{__name__}.CacheLocator,{LOCATORS}"  # type: ignore[attr-defined]


class _CompilerListener(event.Listener):
    """Says, once in a process, that kernels are being compiled: those in the cache are not."""

    told = False

    def on_start(self, event: event.Event) -> None:
        if not self.told and sys.stderr.isatty():
            tqdm.write("compiling kernels for this processor, once: 10 to 30 s on 2 cores", file=sys.stderr)
        self.told = True

    def on_end(self, event: event.Event) -> None:
        """Nothing: results say that it is over."""


event.register("numba:compile", _CompilerListener())

f32 = np.float32

# Streams run in threads. Loops over arrays may be reordered, and divide by zero, so that they become vector code.
kernel: Any = partial(njit, nogil=True, cache=True, fastmath=True, error_model="numpy")
scalar_kernel: Any = partial(njit, nogil=True, fastmath=True, error_model="numpy")
