"""Layout of windows in a recording."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from audiornn.common.validation import Count


@dataclass(frozen=True)
class WindowLayout:
    """How recordings are cut into windows.

    Attributes
    ----------
    context
        Codes at the start of a window that are not targets.
    targets_per_window
        Targets per window, at most.
    stride
        Codes between the starts of successive windows.
    """

    context: Count
    targets_per_window: Count
    stride: Count

    @classmethod
    def with_defaults(cls, context: int, targets_per_window: int | None = None, stride: int | None = None) -> Self:
        """A layout in which None is, for the targets, four times the context and at least 512; for the stride, as many
        codes as targets per window.
        """
        targets = targets_per_window or max(4 * context, 512)
        return cls(context, targets, stride or targets)

    @property
    def length(self) -> int:
        """Codes per window, at most."""
        return self.context + self.targets_per_window

    def windows(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """First and last-plus-one code of every window in codes `start` to `stop`, each with at least one target."""
        for first in range(start, stop - self.context, self.stride):
            yield first, min(first + self.length, stop)
