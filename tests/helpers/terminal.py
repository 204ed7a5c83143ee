"""A program in a terminal of its own: what people see of it."""

import os
import pty
import subprocess


def in_terminal(command, **options):
    """All that a program writes to the terminal it runs in, and its exit code."""
    ours, its = pty.openpty()
    with subprocess.Popen(command, stdin=its, stdout=its, stderr=its, **options) as process:
        os.close(its)
        said = b""
        while block := _read(ours):
            said += block
    os.close(ours)
    return said.decode(errors="replace"), process.returncode


def _read(terminal):
    try:
        return os.read(terminal, 65536)
    except OSError:  # as Linux says that the other end is closed
        return b""
