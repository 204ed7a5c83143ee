"""Progress of a training: as callers get it after each batch, on a bar, and the time that learning takes."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import NamedTuple, TypeVar

from tqdm import tqdm

from audiornn.codec_metrics import BITS_PER_NAT
from audiornn.models.base import AudioModel
from audiornn.training.progress.curves import ValidationRecord
from audiornn.training.progress.state import TrainingState

RECENT_UPDATES = 100  # updates that loss and accuracy are averaged over
RECENT_MARKS = 50  # fetches of metrics that the rate is measured over
MEASURED_SECONDS = 5.0  # of learning, after compilation, from which on the rate is known

Batch = TypeVar("Batch")
# A context with the model as a validation would score it, or with None if its weights are not finite.
ModelOnDemand = Callable[[], AbstractContextManager[AudioModel | None]]


@dataclass(frozen=True)
class Progress:
    """Progress of a training after a batch.

    Attributes
    ----------
    epoch, step
        Passes over the training split, and updates, so far.
    budget_used
        Fraction of the budget that is used up; 1 when training ends.
    validation
        The record of the validation that followed the batch, if there was one.
    """

    epoch: float
    step: int
    budget_used: float
    validation: ValidationRecord | None = None


class ProgressBar:
    """A bar on stderr that shows the used share of the budget, how well the model learns, and the time left."""

    def __init__(self, visible: bool) -> None:
        self.visible = visible
        bar_format = "{percentage:3.0f}%|{bar}| {elapsed}{desc}"
        self._bar = tqdm(total=1.0, bar_format=bar_format, disable=not visible, dynamic_ncols=True)
        self._bar.set_description_str(", compiling the training step", refresh=True)
        self.recent = RecentUpdates()

    def __enter__(self) -> "ProgressBar":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.close()

    def update(self, state: TrainingState, budget_used: float, time_left: float | None) -> None:
        """Show loss and accuracy of the last updates, and the seconds left, if they are known."""
        recent = self.recent
        left = "" if time_left is None else f"<{tqdm.format_interval(round(time_left))}"
        self._bar.set_description_str(
            f"{left} epoch {state.epochs + 1}, step {state.steps}: {recent.bits_per_sample:.3f} bits, "
            f"{recent.accuracy:.1%} correct, {recent.targets_per_second or state.targets_per_second:,.0f} targets/s",
            refresh=False,
        )
        self._bar.update(min(1.0, budget_used) - self._bar.n)

    def track_validation(self, batches: Iterable[Batch], count: int) -> Iterable[Batch]:
        """Iterate over the batches of a validation, with a bar of its own if it takes more than a second."""
        return tqdm(batches, "validation", count, unit="batch", leave=False, delay=1, disable=not self.visible)

    def write(self, text: str) -> None:
        """Print a line above the bar, to stdout."""
        self._bar.write(text)


class RecentUpdates:
    """Means over the last updates, and the rate at which they use up the budget.

    Single updates differ: one may consist of a pause, the next of speech. The first updates are slow, as they are
    compiled, and do not count in the rate.
    """

    def __init__(self) -> None:
        self._sums: deque[tuple[float, float, float]] = deque(maxlen=RECENT_UPDATES)  # nats, hits, targets
        self._marks: deque[tuple[float, float, float]] = deque(maxlen=RECENT_MARKS)  # seconds, budget used, targets

    def add(self, nats: float, hits: float, targets: float) -> None:
        """Count an update."""
        self._sums.append((nats, hits, targets))

    def mark(self, seconds: float, budget_used: float, targets: float) -> None:
        """Record the used share of the budget and the targets learned from after so many seconds of learning."""
        self._marks.append((seconds, budget_used, targets))

    @property
    def bits_per_sample(self) -> float:
        """Mean loss per target."""
        nats, _, targets = map(sum, zip(*self._sums, strict=True))
        return nats / targets * BITS_PER_NAT

    @property
    def accuracy(self) -> float:
        """Share of targets whose code was the likeliest, 0 to 1."""
        _, hits, targets = map(sum, zip(*self._sums, strict=True))
        return hits / targets

    @property
    def targets_per_second(self) -> float | None:
        """Speed of the last updates; None while it is too early to tell."""
        rates = self._rates()
        return rates.targets if rates else None

    def estimate_seconds_left(self, budget_used: float) -> float | None:
        """Seconds of learning until the budget is used up; None while it is too early to tell."""
        rates = self._rates()
        return max(0.0, 1 - budget_used) / rates.budget if rates and rates.budget > 0 else None

    def _rates(self) -> "_Rates | None":
        if not self._marks:
            return None
        (first, used_before, targets_before), (last, used, targets) = self._marks[0], self._marks[-1]
        if last - first < MEASURED_SECONDS:
            return None
        return _Rates((used - used_before) / (last - first), (targets - targets_before) / (last - first))


class _Rates(NamedTuple):
    """Per second: share of the budget that is used up, and targets."""

    budget: float
    targets: float


class Stopwatch:
    """Measures the time of learning; it is paused during validations and callbacks."""

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
