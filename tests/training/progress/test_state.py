"""The state of a training counts batches, epochs and validations."""

import dataclasses
import math

from audiornn.training.progress.curves import ValidationRecord
from audiornn.training.progress.state import TrainingState

RECORD = ValidationRecord(
    epoch=1,
    step=10,
    train_loss=3.0,
    validation_loss=3.0,
    train_accuracy=0.1,
    validation_accuracy=0.1,
    learning_rate=0.01,
    targets_per_second=100.0,
)


def test_batches_add_up_to_epochs():
    state, seen = TrainingState(), []
    for _ in range(5):
        state.add_batch(batches_per_epoch=3)
        seen.append((state.epochs, state.batches, state.count_batches(3), state.count_epochs(3)))
    assert seen == [(0, 1, 1, 0.3333), (0, 2, 2, 0.6667), (1, 0, 3, 1), (1, 1, 4, 1.3333), (1, 2, 5, 1.6667)]
    assert isinstance(TrainingState(epochs=2).count_epochs(3), int)


def test_validations_since_the_best_are_counted():
    state = TrainingState()
    losses = [3.0, 2.0, math.nan, 2.0, 1.0]
    best = [state.add_validation(dataclasses.replace(RECORD, step=i, validation_loss=x)) for i, x in enumerate(losses)]
    assert best == [True, True, False, False, True]
    assert (state.best_validation, state.best_step, state.validations_since_best) == (1.0, 4, 0)
    assert len(state.history) == 5
