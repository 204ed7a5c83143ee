"""The exception for errors that the user can fix, and how it shows input: on one line, however much was given."""

import reprlib

MAX_LENGTH = 300  # characters of a reason


class AudioRNNError(Exception):
    """Invalid input or an impossible request, explained in one line for the user.

    It names the file or parameter, the value it had, and what would be right. Command-line entry points print it
    without a traceback and exit with a non-zero code.
    """


class _Repr(reprlib.Repr):
    """`repr` of what a file holds, in bounded time: values may be nested, shared, or of a million digits."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother = 3, 80, 80

    def repr_int(self, x: int, level: int) -> str:
        return repr(x) if x.bit_length() < 100 else f"an integer of {x.bit_length()} bits"


_REPR = _Repr()


def shown(value: object, length: int = 60) -> str:
    """A value as an error shows it: its `repr`, at most about `length` characters of it."""
    text = _REPR.repr(value)
    return text if len(text) <= length else f"{text[:length]}..."


def one_line(text: object, length: int = MAX_LENGTH) -> str:
    """A text as one printable line: at most about `length` characters of it."""
    words = " ".join(str(text)[: 4 * length].split())
    line = "".join(char if char.isprintable() else repr(char)[1:-1] for char in words)
    return line if len(line) <= length else f"{line[:length]}..."
