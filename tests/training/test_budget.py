"""The budget of a training: epochs, steps or minutes."""

import pytest

from audiornn.params import Train
from audiornn.training.budget import Budget


@pytest.mark.parametrize(
    ("limit", "steps", "batches", "elapsed", "fraction"),
    [({"epochs": 4}, 9, 10.0, 9.0, 0.25), ({"steps": 50}, 10, 99.0, 9.0, 0.2), ({"minutes": 2}, 9, 99.0, 30.0, 0.25)],
)
def test_the_budget_used_follows_from_what_workers_agree_on_and_not_from_the_clock(
    limit, steps, batches, elapsed, fraction
):
    def clock():
        raise AssertionError("the clock was read")

    budget = Budget(Train(**limit), batches_per_epoch=10, clock=clock, start=0.0)
    budget.elapsed = elapsed
    assert budget.compute_fraction(steps, batches) == fraction


def test_a_budget_of_minutes_includes_the_time_before_an_interruption():
    budget = Budget(Train(minutes=2), batches_per_epoch=10, clock=lambda: 130.0, start=100.0)
    budget.elapsed_before_resume = 60.0
    assert budget.read_clock() == 90.0


@pytest.mark.parametrize(
    ("budget", "steps", "batches", "left"),
    [
        ({"epochs": 2}, 1, 1, 2),
        ({"epochs": 2}, 15, 15, 1),
        ({"steps": 25}, 5, 5, 3),  # after 10, 20 and 25 batches
        ({"steps": 50, "validate_every_steps": 20}, 10, 5, 3),
        ({"steps": 50, "validate_every_steps": 20}, 45, 22, 1),
        ({"minutes": 1}, 45, 22, 1),  # the final one alone: others are within the minutes
    ],
)
def test_the_remaining_validations_are_counted(budget, steps, batches, left):
    found = Budget(Train(**budget), batches_per_epoch=10, clock=lambda: 0.0, start=0.0)
    assert found.count_validations_left(steps, batches) == left
