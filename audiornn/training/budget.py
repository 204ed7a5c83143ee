"""How long to train: epochs, updates or minutes."""

import math
from collections.abc import Callable

from audiornn.params import Train


class Budget:
    """The budget of a training: `train.minutes` or `train.steps` where one is set, else `train.epochs`.

    `compute_fraction` depends on its arguments and on `elapsed` alone, so that workers that train together, although
    their clocks differ, decide alike once they have agreed on `elapsed`.

    Parameters
    ----------
    params
        The `train` section.
    batches_per_epoch
        How many batches the training split has.
    clock
        Seconds.
    start
        Time on the clock when the training began.

    Attributes
    ----------
    elapsed
        Seconds of training that a budget of minutes is judged by; set from outside.
    elapsed_before_resume
        Seconds of training before it was interrupted.
    """

    def __init__(self, params: Train, batches_per_epoch: int, clock: Callable[[], float], start: float) -> None:
        self.params, self.batches_per_epoch, self.clock, self.start = params, batches_per_epoch, clock, start
        self.elapsed = self.elapsed_before_resume = 0.0

    def read_clock(self) -> float:
        """Seconds of training by this process's own clock, those before it was interrupted included."""
        return self.elapsed_before_resume + self.clock() - self.start

    def compute_fraction(self, steps: int, batches: float) -> float:
        """The fraction of the budget that is used up after so many updates and batches; from 1 on it is over."""
        params = self.params
        if params.minutes:
            return self.elapsed / (60 * params.minutes)
        if params.steps:
            return steps / params.steps
        assert params.epochs
        return batches / (params.epochs * self.batches_per_epoch)

    @property
    def seconds_left(self) -> float:
        """Seconds left of a budget of minutes."""
        assert self.params.minutes
        return max(0.0, 60 * self.params.minutes - self.elapsed)

    def count_validations_left(self, steps: int, batches: float) -> int:
        """Validations still to come after so many updates and batches; of a budget of minutes, only the final one."""
        if self.params.minutes:
            return 1
        interval = self.params.validate_every_steps
        done = steps / interval if interval else batches / self.batches_per_epoch
        used = self.compute_fraction(steps, batches)
        # The last one may come before the end of the interval.
        return math.ceil(done / used - 1e-6) - math.floor(done) if used else 1

    def __str__(self) -> str:
        """In words: `all 10 epochs`, `500 steps`, `30 minutes`."""
        if self.params.minutes:
            return f"{self.params.minutes:g} minutes"
        return f"{self.params.steps} steps" if self.params.steps else f"all {self.params.epochs} epochs"
