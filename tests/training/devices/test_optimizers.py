"""Optimisers learn, at the learning rate of the schedule."""

import numpy as np
import pytest

from audiornn.backend import GPUS, tf
from audiornn.common.errors import AudioRNNError
from audiornn.training import trainer
from audiornn.training.devices import optimizers
from tests.helpers.training import device_steps, quick


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_the_learning_rate_warms_up_and_follows_its_schedule(schedule):
    params = quick(schedule=schedule, warmup_steps=10, learning_rate=0.01)
    values = [optimizers.learning_rate(params, step, step / 1000) for step in range(1001)]
    assert values[0] == pytest.approx(0.001)
    assert values[10] == pytest.approx(0.01, rel=1e-3)
    assert values[:10] == sorted(values[:10])
    assert values[500] == pytest.approx(0.005 if schedule == "cosine" else 0.01)
    assert values[1000] == pytest.approx(0 if schedule == "cosine" else 0.01, abs=1e-9)
    assert optimizers.learning_rate(params, 50, 1.01) == pytest.approx(values[1000], abs=1e-9)


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "rmsprop"])
@pytest.mark.slow
def test_every_optimiser_learns(make_shards, tmp_path, tiny, sine_codes, optimizer):
    folder = make_shards({"a": sine_codes}, 16, 100)
    _, result = trainer.train(folder, tmp_path / "m", quick(model=tiny, optimizer=optimizer), progress=False)
    assert result.history[-1].validation_loss < result.history[0].validation_loss - 0.1


def test_only_matrices_have_weight_decay(make_shards, tiny, sine_codes):
    folder = make_shards({"a": sine_codes[:200]}, 16, 100)
    devices = device_steps(folder, quick(model=tiny, optimizer="adamw", weight_decay=0.5))
    before = [w.numpy() for w in devices.model.trainable_variables]
    devices.apply_gradients([tf.zeros_like(w) for w in before], tf.constant(1.0), learning_rate=0.1)
    for old, new in zip(before, devices.model.trainable_variables, strict=True):
        np.testing.assert_allclose(new, old * 0.95 if new.path.endswith("kernel") else old, rtol=1e-5)


@pytest.mark.skipif(bool(GPUS), reason="there is a GPU")
def test_mixed_precision_needs_a_gpu():
    with pytest.raises(AudioRNNError, match="train.mixed_precision is true, but no GPU was found"):
        optimizers.mixed_precision(True)
    assert [optimizers.mixed_precision(wanted) for wanted in ("auto", False)] == [False, False]
