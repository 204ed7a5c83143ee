"""The state and the records of a training."""

import csv
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from audiornn.files import atomic_file
from audiornn.models.base import AudioModel

BITS = 1 / math.log(2)

ModelOnDemand = Callable[[], AbstractContextManager[AudioModel]]
BAR = "{percentage:3.0f}%|{bar}| {elapsed}<{remaining} {desc}"


@dataclass
class Epoch:
    """What a validation found. Losses in bits per sample, accuracies as shares, training's while it learned."""

    epoch: float  # passes over the training part so far
    step: int
    train_loss: float
    validation_loss: float
    train_accuracy: float
    validation_accuracy: float
    learning_rate: float
    targets_per_second: float


@dataclass(frozen=True)
class Progress:
    """Where a training stands after a batch.

    Attributes
    ----------
    epoch, step
        Passes over the training part, and updates, so far.
    spent
        Share of the budget that is used up; 1 where the training ends.
    scored
        What was found, where a validation came right after the batch.
    """

    epoch: float
    step: int
    spent: float
    scored: Epoch | None = None


@dataclass
class Point:
    """Means over the last updates up to `step`: loss in bits per sample, norm of the gradients before clipping."""

    step: int
    loss: float
    learning_rate: float
    gradient_norm: float
    targets_per_second: float


@dataclass
class Result:
    """How a training goes, or went. `stopped` says why in a sentence; `diverged` whether the loss ran away."""

    history: list[Epoch] = field(default_factory=list)
    best_epoch: float = 0
    best_validation: float = math.inf
    steps: int = 0  # updates
    targets: int = 0
    seconds: float = 0.0  # of learning, without validation
    stopped: str = ""
    diverged: bool = False
    # Where it stands: whole passes, batches of the next pass, time as the clock tells it.
    epochs: int = 0
    batches: int = 0
    elapsed: float = 0.0
    # Sums of nats, hits and targets since the last validation, which was made after so many updates.
    sums: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    evaluated: int = 0
    waited: int = 0  # validations since the best
    # What the next point is made of: sums of nats, targets, norms, seconds.
    point: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0, 0.0])
    running: float = math.nan  # mean loss of late, and the lowest that it has been, in nats
    lowest: float = math.inf

    @property
    def targets_per_second(self) -> float:
        """Targets learned from a second of training, validation not included."""
        return self.targets / self.seconds if self.seconds else 0.0


def write_log(path: str | Path, history: list[Epoch]) -> None:
    """The history as csv, a line a validation, written as a whole. How fast it went is left out: it never repeats."""
    columns = [name for name in Epoch.__dataclass_fields__ if name != "targets_per_second"]
    with atomic_file(path) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(asdict(epoch) for epoch in history)
