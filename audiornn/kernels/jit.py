"""Numba's compiler, with a cache folder for each version of the sources.

A compiled function holds copies of the functions and constants that it uses. Numba compiles it again when its own file
has changed, but not when another file has, from which it took some: after an update it would keep using old copies.
"""

import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numba import config, njit
from numba.core import event
from tqdm import tqdm

from audiornn.common.sources import PACKAGE, source_digest

__all__ = ["njit"]

SOURCES = ("codec.py", "generation/fused", "kernels", "models")  # sources of compiled functions


def use_versioned_cache() -> None:
    """Let Numba use the folder of this state of the code, in NUMBA_CACHE_DIR or beside Python's own compiled files.

    If that is not writable, Numba uses a folder of the user.
    """
    folder = f"numba-{source_digest(SOURCES)[:12]}"
    chosen: str = config.CACHE_DIR  # type: ignore[attr-defined]
    if not chosen.endswith(folder):
        config.CACHE_DIR = str(Path(chosen or PACKAGE / "__pycache__") / folder)  # type: ignore[attr-defined]


use_versioned_cache()


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
