"""The state of a training: returned to its caller in the end, and stored in checkpoints."""

import math
from dataclasses import dataclass, field

from audiornn.codec_metrics import BITS_PER_NAT
from audiornn.training.progress.curves import CurveSums, ValidationRecord
from audiornn.training.progress.divergence import DivergenceMonitor


@dataclass
class TargetSums:
    """Sums over targets: loss in nats, top-1 hits, number of targets."""

    nats: float = 0.0
    hits: float = 0.0
    targets: float = 0.0

    def add(self, nats: float, hits: float, targets: float) -> None:
        """Count an update."""
        self.nats += nats
        self.hits += hits
        self.targets += targets

    @property
    def bits_per_sample(self) -> float:
        """Mean loss per target."""
        return self.nats / self.targets * BITS_PER_NAT

    @property
    def accuracy(self) -> float:
        """Share of targets whose code was the likeliest, 0 to 1."""
        return self.hits / self.targets


@dataclass
class TrainingState:
    """Progress and outcome of a training run.

    Attributes
    ----------
    history
        A record per validation.
    best_epoch, best_validation
        Epoch and loss, in bits per sample, of the best one.
    best_step
        Updates before it.
    steps, targets
        Updates, and targets that were learned from, so far.
    seconds
        Time of learning, validation not included.
    elapsed
        Seconds since the training began by the clock that a budget of minutes is counted in.
    stop_reason
        Why it stopped, in words; empty while it runs.
    diverged
        Whether it stopped because the loss diverged.
    epochs, batches
        Position: whole passes over the training split, batches of the next pass.
    since_validation
        Sums since the last validation.
    validated_steps
        Number of updates before the last validation.
    validations_since_best
        Validations since the best one.
    curve_sums
        Sums for the next point of the curves.
    monitor
        The running loss.
    """

    history: list[ValidationRecord] = field(default_factory=list)
    best_epoch: int | float = 0
    best_validation: float = math.inf
    best_step: int = 0
    steps: int = 0
    targets: int = 0
    seconds: float = 0.0
    elapsed: float = 0.0
    stop_reason: str = ""
    diverged: bool = False
    epochs: int = 0
    batches: int = 0
    since_validation: TargetSums = field(default_factory=TargetSums)
    validated_steps: int = 0
    validations_since_best: int = 0
    curve_sums: CurveSums = field(default_factory=CurveSums)
    monitor: DivergenceMonitor = field(default_factory=DivergenceMonitor)

    @property
    def targets_per_second(self) -> float:
        """Targets learned from per second of training, validation not included."""
        return self.targets / self.seconds if self.seconds else 0.0

    def count_batches(self, batches_per_epoch: int) -> int:
        """Batches of all epochs so far."""
        return self.epochs * batches_per_epoch + self.batches

    def count_epochs(self, batches_per_epoch: int) -> int | float:
        """Passes over the training split so far, whole ones as whole numbers."""
        passes = self.epochs + self.batches / batches_per_epoch
        return int(passes) if passes == int(passes) else round(passes, 4)

    def add_batch(self, batches_per_epoch: int) -> None:
        """Count a batch, and an epoch where it was its last one."""
        self.batches += 1
        if self.batches == batches_per_epoch:
            self.epochs, self.batches = self.epochs + 1, 0

    def add_validation(self, record: ValidationRecord) -> bool:
        """Count a validation; returns whether it is the best so far."""
        self.history.append(record)
        best = record.validation_loss < self.best_validation  # never true of NaN
        if best:
            self.best_epoch, self.best_validation = record.epoch, record.validation_loss
            self.best_step = record.step
        self.validations_since_best = 0 if best else self.validations_since_best + 1
        return best
