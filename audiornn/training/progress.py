"""Progress of a training: for its callers after each batch, on a bar for its user, and the time that learning takes."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from types import TracebackType

from tqdm import tqdm

from audiornn.models.base import AudioModel
from audiornn.training.curves import ValidationRecord
from audiornn.training.divergence import BITS_PER_NAT
from audiornn.training.state import TrainingState

# A context with the model as a validation would score it, or with None, where its weights are not finite.
ModelOnDemand = Callable[[], AbstractContextManager[AudioModel | None]]


@dataclass(frozen=True)
class Progress:
    """Progress of a training after a batch.

    Attributes
    ----------
    epoch, step
        Passes over the training split, and updates, so far.
    spent
        Fraction of the budget that is used up; 1 where the training ends.
    scored
        The record of the validation, where one came right after the batch.
    """

    epoch: float
    step: int
    spent: float
    scored: ValidationRecord | None = None


class ProgressBar:
    """A bar on stderr that shows how much of the budget is used up, and how well the model learns."""

    def __init__(self, visible: bool) -> None:
        bar_format = "{percentage:3.0f}%|{bar}| {elapsed}<{remaining} {desc}"
        self._bar = tqdm(total=1.0, bar_format=bar_format, disable=not visible, dynamic_ncols=True)

    def __enter__(self) -> "ProgressBar":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.close()

    def update(self, state: TrainingState, accuracy: float, budget_used: float) -> None:
        """Show the running loss, and the accuracy of the last update."""
        self._bar.set_description_str(
            f"epoch {state.epochs + 1}, step {state.steps}: {state.monitor.running_loss * BITS_PER_NAT:.3f} bits, "
            f"{accuracy:.1%} correct, {state.targets_per_second:,.0f} targets/s",
            refresh=False,
        )
        self._bar.update(min(1.0, budget_used) - self._bar.n)

    def write(self, text: str) -> None:
        """Print a line above the bar, to stdout."""
        self._bar.write(text)


class Stopwatch:
    """Measures the time of learning; the time of validations and callbacks, during which it is paused, is left out."""

    def __init__(self) -> None:
        self._seconds, self._since = 0.0, time.perf_counter()

    def lap(self) -> float:
        """Seconds of learning since the last lap; not to be called in a pause."""
        now = time.perf_counter()
        seconds = self._seconds + now - self._since
        self._seconds, self._since = 0.0, now
        return seconds

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Time within the block does not count."""
        self._seconds += time.perf_counter() - self._since
        try:
            yield
        finally:
            self._since = time.perf_counter()
