"""Learning curves: one record per validation, kept as csv, and means over every 20 updates."""

import csv
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from audiornn.codec_metrics import BITS_PER_NAT
from audiornn.common.files import atomic_file

STEPS_PER_POINT = 20
FLUSH_SECONDS = 5.0  # between two reports of points


@dataclass
class ValidationRecord:
    """Results of a validation, and means of training since the one before: bits per sample, accuracies in 0 to 1."""

    epoch: int | float  # passes over the training split so far
    step: int
    train_loss: float
    validation_loss: float
    train_accuracy: float
    validation_accuracy: float
    learning_rate: float
    targets_per_second: float

    def __str__(self) -> str:
        return (
            f"epoch {self.epoch:3g}: {self.train_loss:.3f} bits, {self.train_accuracy:.1%} correct in training; "
            f"{self.validation_loss:.3f} bits, {self.validation_accuracy:.1%} correct in validation"
        )


def write_history(path: str | Path, history: list[ValidationRecord]) -> None:
    """Write the history as csv, a line per validation. The speed is left out: it is never the same twice."""
    columns = [name for name in ValidationRecord.__dataclass_fields__ if name != "targets_per_second"]
    with atomic_file(path) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(asdict(record) for record in history)


@dataclass
class StepMetrics:
    """Means over the last 20 updates up to `step`: loss in bits per sample, norm of the gradients before clipping."""

    step: int
    loss: float
    learning_rate: float
    gradient_norm: float
    targets_per_second: float


@dataclass
class CurveSums:
    """Sums over the updates since the last point of the curves."""

    nats: float = 0.0
    targets: float = 0.0
    gradient_norms: float = 0.0
    seconds: float = 0.0

    def add(
        self, step: int, nats: float, targets: float, learning_rate: float, gradient_norm: float, seconds: float
    ) -> StepMetrics | None:
        """Count an update; every 20th returns a point and resets the sums."""
        self.nats += nats
        self.targets += targets
        self.gradient_norms += gradient_norm
        self.seconds += seconds
        if step % STEPS_PER_POINT:
            return None
        loss = self.nats / self.targets * BITS_PER_NAT
        norm, speed = self.gradient_norms / STEPS_PER_POINT, self.targets / self.seconds
        self.nats = self.targets = self.gradient_norms = self.seconds = 0.0
        return StepMetrics(
            step=step, loss=loss, learning_rate=learning_rate, gradient_norm=norm, targets_per_second=speed
        )


class StepCurves:
    """Curves by step, whose points are reported together every few seconds.

    Parameters
    ----------
    report
        Called with the new points.
    """

    def __init__(self, report: Callable[[list[StepMetrics]], None]) -> None:
        self.report = report
        self.points: list[StepMetrics] = []
        self.flushed_at = time.perf_counter()

    def add(self, point: StepMetrics) -> None:
        """Keep a point for the next report."""
        self.points.append(point)

    def flush_if_due(self) -> None:
        """Report the points if the last report was more than a few seconds ago."""
        if time.perf_counter() - self.flushed_at > FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Report the points now."""
        if self.points:
            self.report(self.points)
        self.points, self.flushed_at = [], time.perf_counter()
