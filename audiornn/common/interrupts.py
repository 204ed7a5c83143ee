"""Signals that end a process: work in hand is saved or marked as killed, and nothing works on alone."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = [number for name in ("SIGINT", "SIGTERM", "SIGHUP") if (number := getattr(signal, name, None))]
PARENT_SECONDS = 1.0  # between looks at the parent


@contextmanager
def interrupted_by_signals() -> Iterator[None]:
    """Let SIGTERM, and SIGHUP from a closed terminal, raise KeyboardInterrupt within the block, as Ctrl-C does.

    Signals that the process was told to ignore, as `nohup` does, stay ignored. In a stage that DVC runs, the end of DVC
    itself counts as a signal: a training must not continue without it.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # signals can only be handled there
        yield
        return
    if "DVC_STAGE" in os.environ:
        threading.Thread(target=end_with_parent, args=(os.getppid(),), name="parent", daemon=True).start()
    before = {n: signal.signal(n, interrupt) for n in SIGNALS if signal.getsignal(n) == signal.SIG_DFL}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def end_with_parent(parent: int) -> None:
    """Send this process SIGTERM when the process that started it is gone."""
    while os.getppid() == parent:
        time.sleep(PARENT_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def deferred_signals() -> Iterator[Callable[[], bool]]:
    """Defer signals within the block, so that work can be saved; a second one raises KeyboardInterrupt at once.

    Yields a function that tells whether there was one.
    """
    received: list[int] = []

    def record(number: int, frame: FrameType | None) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)
        message = "\nstopping after this update or validation, and saving; again to stop now\n"
        os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, message.encode())  # print() may be under way

    if threading.current_thread() is not threading.main_thread():  # signals can only be handled there
        yield lambda: False
        return
    before = {n: signal.signal(n, record) for n in SIGNALS if signal.getsignal(n) != signal.SIG_IGN}
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
