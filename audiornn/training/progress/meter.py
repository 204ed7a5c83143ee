"""Metrics of updates, fetched from the device several updates at a time, and the progress that they show."""

from typing import NamedTuple

from audiornn.common.array_types import Tensor
from audiornn.params import Train
from audiornn.training.budget import Budget
from audiornn.training.progress.bar import ProgressBar, Stopwatch
from audiornn.training.progress.curves import StepCurves
from audiornn.training.progress.divergence import divergence_message
from audiornn.training.progress.state import TrainingState

FETCH_EVERY = 10  # updates whose metrics are fetched from the device at a time


class PendingMetrics(NamedTuple):
    """Metrics of an update that are still on the device."""

    learning_rate: float
    sums: Tensor  # nats, hits, targets
    gradient_norm: Tensor


class ProgressMeter:
    """Counts updates in the state of a training, adds them to its curves, and shows them on the bar.

    Metrics stay on the device until there are those of ten updates, as the host waits for the device in each fetch.

    Parameters
    ----------
    params
        The `train` section.
    budget
        How long to train.
    bar
        Where progress is shown.
    validation_targets
        Number of targets in the validation split.

    Attributes
    ----------
    curves
        Learning curves by step.
    stopwatch
        Time of learning.
    validation_seconds
        What the last validation took; set from outside.
    """

    def __init__(self, params: Train, budget: Budget, bar: ProgressBar, validation_targets: int) -> None:
        self.params, self.budget, self.bar = params, budget, bar
        self.validation_targets = validation_targets
        self.curves = StepCurves(report=lambda points: None)
        self.stopwatch = Stopwatch()
        self.validation_seconds = 0.0
        self._pending: list[PendingMetrics] = []

    def add(self, state: TrainingState, update: PendingMetrics) -> None:
        """Take the metrics of an update, the last one of `state.steps`; fetch them if there are enough."""
        self._pending.append(update)
        if len(self._pending) == FETCH_EVERY:
            self.fetch(state)

    def fetch(self, state: TrainingState) -> None:
        """Fetch all metrics that are still on the device and count them; stops the training if its loss diverged."""
        if not self._pending:
            return
        updates, self._pending = self._pending, []
        seconds = self.stopwatch.lap()
        state.seconds += seconds
        for step, update in enumerate(updates, state.steps - len(updates) + 1):
            nats, hits, targets = update.sums.numpy().tolist()
            self.bar.recent.add(nats, hits, targets)
            state.targets += int(targets)
            state.since_validation.add(nats, hits, targets)
            point = state.curve_sums.add(
                step, nats, targets, update.learning_rate, float(update.gradient_norm), seconds / len(updates)
            )
            if point:
                self.curves.add(point)
            if cause := state.monitor.observe(nats / targets, self.params.divergence_bits):
                state.diverged = True
                state.stop_reason = divergence_message(cause, state.epochs + 1, step, state.best_epoch, self.params)
                break
        used = self.budget.compute_fraction(state.steps, state.count_batches(self.budget.batches_per_epoch))
        self.bar.recent.mark(state.seconds, used, state.targets)
        self.bar.update(state, used, self.estimate_seconds_left(state))
        self.curves.flush_if_due()

    def estimate_seconds_left(self, state: TrainingState) -> float | None:
        """Expected seconds to the end of the training, validations included; None while it is too early to tell."""
        budget, recent = self.budget, self.bar.recent
        batches = state.count_batches(budget.batches_per_epoch)
        if self.params.minutes:
            learning: float | None = budget.seconds_left
        else:
            learning = recent.estimate_seconds_left(budget.compute_fraction(state.steps, batches))
        if learning is None:
            return None
        return learning + budget.count_validations_left(state.steps, batches) * self._expected_validation_seconds()

    def _expected_validation_seconds(self) -> float:
        """As many as the last one took; before the first, an estimate from the speed of the updates."""
        if self.validation_seconds:
            return self.validation_seconds
        speed = self.bar.recent.targets_per_second
        # A forward pass is about a third of an update.
        return self.validation_targets / speed / 3 if speed else 0.0
