"""Waits: on a terminal, what takes longer than a second says what is going on."""

import gc
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

AFTER_SECONDS = 1.0
STDERR = 2
CLEAR = "\r\033[K"  # the line


@contextmanager
def announced(what: str, terminal: int = STDERR) -> Iterator[None]:
    """Say on the terminal what a block is doing while it takes longer than a moment; the line goes when it ends.

    Parameters
    ----------
    what
        Such as `importing TensorFlow`.
    terminal
        File descriptor; nothing is written if it is not a terminal, so that logs and errors stay as they are.
    """
    if not os.isatty(terminal):
        yield
        return
    said = threading.Event()

    def say() -> None:
        said.set()
        os.write(terminal, f"{CLEAR}{what} ...".encode())

    timer = threading.Timer(AFTER_SECONDS, say)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        if said.is_set():
            os.write(terminal, CLEAR.encode())


@contextmanager
def importing(package: str, terminal: int = STDERR) -> Iterator[None]:
    """Announce the import of a large package, without the garbage collections that take a sixth of its time.

    What it makes stays: there is nothing to collect.

    Parameters
    ----------
    package
        Its name.
    terminal
        As for `announced`.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        with announced(f"importing {package}", terminal):
            yield
    finally:
        if collecting:
            gc.enable()
