"""Metrics of updates: fetched together, counted in order; the time left, validations included."""

import math

import numpy as np
import pytest

from audiornn.codec_metrics import BITS_PER_NAT
from audiornn.params import Train
from audiornn.training.budget import Budget
from audiornn.training.progress.bar import ProgressBar
from audiornn.training.progress.meter import FETCH_EVERY, PendingMetrics, ProgressMeter
from audiornn.training.progress.state import TrainingState

TARGETS = 100  # of an update


class OnDevice:
    """An array on a device, whose fetches are noted."""

    def __init__(self, values, fetched):
        self.values, self.fetched = np.float32(values), fetched

    def numpy(self):
        self.fetched.append(self)
        return self.values


@pytest.fixture
def fetched():
    return []


@pytest.fixture
def make_meter():
    bars = []

    def make(**params):
        params = Train(**params)
        budget = Budget(params, batches_per_epoch=10, clock=lambda: 0.0, start=0.0)
        bars.append(ProgressBar(visible=False))
        return ProgressMeter(params, budget, bars[-1], validation_targets=600)

    yield make
    for bar in bars:
        bar.__exit__(None, None, None)


def update(meter, state, fetched, bits=4.0, hits=25):
    state.steps += 1
    state.add_batch(meter.budget.batches_per_epoch)
    sums = OnDevice([bits / BITS_PER_NAT * TARGETS, hits, TARGETS], fetched)
    meter.add(state, PendingMetrics(learning_rate=0.1 * state.steps, sums=sums, gradient_norm=np.float32(2.0)))


def test_metrics_stay_on_the_device_until_there_are_ten_or_they_are_needed(make_meter, fetched):
    meter, state = make_meter(epochs=9), TrainingState()
    for _ in range(FETCH_EVERY - 1):
        update(meter, state, fetched)
    assert not fetched and state.targets == 0
    update(meter, state, fetched)
    assert len(fetched) == FETCH_EVERY and state.targets == FETCH_EVERY * TARGETS
    update(meter, state, fetched)
    assert len(fetched) == FETCH_EVERY
    for _ in range(2):  # nothing is left for the second time
        meter.fetch(state)
        assert len(fetched) == FETCH_EVERY + 1 and state.targets == (FETCH_EVERY + 1) * TARGETS


def test_every_update_counts_in_the_state_the_curves_and_the_bar(make_meter, fetched):
    meter, state = make_meter(epochs=9), TrainingState()
    for number in range(45):
        update(meter, state, fetched, bits=3.0 if number < 20 else 5.0)
    meter.fetch(state)
    assert state.since_validation.targets == state.targets == 45 * TARGETS
    assert state.since_validation.bits_per_sample == pytest.approx((20 * 3 + 25 * 5) / 45)
    assert state.since_validation.accuracy == pytest.approx(0.25)
    assert meter.bar.recent.bits_per_sample == pytest.approx((20 * 3 + 25 * 5) / 45)
    points = [(point.step, point.loss, point.learning_rate, point.gradient_norm) for point in meter.curves.points]
    np.testing.assert_allclose(points, [(20, 3.0, 2.0, 2.0), (40, 5.0, 4.0, 2.0)], rtol=1e-6)
    assert state.seconds > 0 and all(point.targets_per_second > 0 for point in meter.curves.points)


def test_training_stops_at_the_update_that_diverges_and_later_ones_do_not_count(make_meter, fetched):
    meter, state = make_meter(epochs=9), TrainingState()
    for bits in (4.0, 4.0, math.nan, 4.0):
        update(meter, state, fetched, bits)
    assert not state.stop_reason
    meter.fetch(state)
    assert state.diverged
    assert "in epoch 1, step 3: the loss is nan" in state.stop_reason
    assert state.targets == 3 * TARGETS


def test_the_time_left_is_that_of_learning_and_of_the_validations_to_come(make_meter):
    meter, state = make_meter(epochs=4), TrainingState(epochs=1)
    assert meter.estimate_seconds_left(state) is None, "too early to tell"
    meter.bar.recent.mark(0.0, 0.0, 0)
    meter.bar.recent.mark(50.0, 0.25, 2000)
    # Before the first validation: 600 targets at three times the speed of learning, 40 targets per second.
    assert meter.estimate_seconds_left(state) == pytest.approx(150 + 3 * 5)
    meter.validation_seconds = 8.0
    assert meter.estimate_seconds_left(state) == pytest.approx(150 + 3 * 8)


def test_a_budget_of_minutes_ends_with_the_minutes_and_one_validation(make_meter):
    meter, state = make_meter(minutes=2), TrainingState(epochs=1)
    meter.budget.elapsed = 30.0
    assert meter.estimate_seconds_left(state) == 90, "the validation takes unknown time"
    meter.validation_seconds = 8.0
    assert meter.estimate_seconds_left(state) == 98
