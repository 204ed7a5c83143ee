"""Windows of a recording."""

from collections.abc import Iterator


def windows(start: int, stop: int, context: int, span: int, shift: int) -> Iterator[tuple[int, int]]:
    """First and last-plus-one code of every window in the codes `start` to `stop`, each with at least one target."""
    for first in range(start, stop - context, shift):
        yield first, min(first + context + span, stop)
