"""A training step has the losses and gradients of its targets, and updates the weights with them."""

import math

import numpy as np
import pytest

from audiornn.backend import keras, tf
from audiornn.dataset import shards
from audiornn.models import storage
from audiornn.params import ModelParams
from audiornn.training import scores as scores_module
from audiornn.training import trainer
from audiornn.training.devices.steps import DeviceSteps
from tests.helpers.training import SMALL_MODEL, device_steps, quick


@pytest.mark.parametrize("objective", ["sequence", "window"])
def test_a_step_learns_from_exactly_the_targets_of_its_objective(make_shards, objective):
    random = np.random.default_rng(0)
    recordings = {"a": random.integers(0, 256, 100, dtype=np.uint8), "b": random.integers(0, 256, 35, dtype=np.uint8)}
    folder = make_shards(recordings, 20, 50)  # windows of 50, 30 and 15 targets
    devices = device_steps(folder, quick(objective=objective))
    codes, targets = next(iter(shards.read(folder, "train", 4)))
    assert sorted(targets.numpy()) == [0, 15, 30, 50]  # the last fills the batch up
    _, sums, _ = devices.compute_gradients(codes, targets, 0, devices.burn_in(codes))
    model = storage.build("audiornn", **SMALL_MODEL.sizes)
    model.set_weights(devices.model.get_weights())
    real = targets.numpy() > 0
    codes, targets = codes.numpy()[real], targets.numpy()[real]
    nats = []
    if objective == "sequence":
        mask = np.arange(69)[None] < 19 + targets[:, None]
        logits = model(codes[:, :-1], training=True, padding_mask=mask, num_last=50)
        for row, n in enumerate(targets):
            log_p = tf.nn.log_softmax(logits[row, :n]).numpy()
            nats += [-log_p[i, codes[row, 20 + i]] for i in range(n)]
    else:  # the last target of each window, from the 20 codes before it
        last = np.stack([codes[row, n - 1 : n + 20] for row, n in enumerate(targets)])
        log_p = tf.nn.log_softmax(model(last[:, :-1], training=True, num_last=1)[:, 0]).numpy()
        nats = [-log_p[row, last[row, -1]] for row in range(3)]
    assert sums[2] == len(nats) == (95 if objective == "sequence" else 3)
    assert float(sums[0]) == pytest.approx(np.sum(nats), rel=1e-4)


@pytest.mark.slow
def test_a_window_in_chunks_has_the_losses_of_the_whole_and_gradients_within_chunks(make_shards, tiny):
    codes = np.random.default_rng(0).integers(0, 256, 99, dtype=np.uint8)
    folder = make_shards({"a": codes[:60], "b": codes}, 10, 80)  # windows of 50, 80 and 9 targets
    model = ModelParams(name="tiny", hop=4)
    batch = next(iter(shards.read(folder, "train", 3)))
    steps = [device_steps(folder, quick(model=model, chunk=chunk)) for chunk in (1000, 16)]
    whole, chunked = steps
    assert (chunked.plan.burn_in, chunked.plan.chunk_targets) == (12, 16)
    chunked.model.set_weights(whole.model.get_weights())
    _, expected, _ = whole.compute_gradients(*batch, 0, whole.burn_in(batch[0]))
    state, found, gradients = chunked.burn_in(batch[0]), 0, []
    for start in chunked.plan.chunk_starts(80):
        g, sums, state = chunked.compute_gradients(*batch, start, state)
        found, gradients = found + sums, [*gradients, g]
    assert list(state["codes"][:, 0]) == [12 + 5 * 16] * 3
    # Three targets of each window lie before the first whole hop after the context.
    assert expected[2] == 50 + 80 + 9
    assert found[2] == 50 + 80 + 9 - 3 * 3
    window = batch[0].numpy()
    logits = whole.model(window[:, :-1]).numpy()
    log_p = tf.nn.log_softmax(logits).numpy()
    nats = -np.take_along_axis(log_p, window[:, 1:, None].astype(int), 2)[..., 0]
    of = [(row, at) for row, n in enumerate(batch[1].numpy()) for at in range(12, 9 + n)]
    assert float(found[0]) == pytest.approx(sum(nats[at] for at in of), rel=1e-4)
    # The bias has no memory: its gradients over the chunks are those over all these targets.
    p = tf.nn.softmax(logits).numpy() - np.eye(256)[window[:, 1:]]
    np.testing.assert_allclose(sum(g[-1].numpy() for g in gradients), sum(p[at] for at in of), atol=1e-4)
    # The embedding has: what codes before a chunk would have changed is left out.
    assert all(
        not np.any(gradients[0][0].numpy()[code])
        for code in set(window[:, :12].ravel()) - set(window[:, 12:28].ravel())
    )


def test_noise_moves_a_share_of_the_codes_a_little(make_shards, tiny, sine_codes):
    devices = device_steps(make_shards({"a": sine_codes[:200]}, 16, 100), quick(model=tiny, input_noise=0.1))
    codes = np.random.default_rng(0).integers(0, 256, [8, 20_000], dtype=np.uint8)

    def noisy(*seed):
        return devices.add_input_noise(tf.constant(codes), tf.constant(seed)).numpy()

    off = noisy(3, 5).astype(int) - codes
    inner = (codes >= 16) & (codes < 240)
    assert np.mean(off[inner] != 0) == pytest.approx(0.1 * 32 / 33, abs=0.003)
    sizes, counts = np.unique(off[inner & (off != 0)], return_counts=True)
    assert list(sizes) == [*range(-16, 0), *range(1, 17)]
    np.testing.assert_allclose(counts / counts.sum(), 1 / 32, atol=0.006)
    assert np.abs(off).max() == 16, "at the ends nothing wraps around"
    np.testing.assert_array_equal(noisy(3, 5), noisy(3, 5))
    for other in (noisy(4, 5), noisy(3, 6)):
        both = np.mean((other != codes) & (off != 0))
        assert both == pytest.approx(0.1**2, abs=0.002), "independent of each other"


def test_what_the_model_sees_has_noise_and_what_it_shall_predict_has_none(make_shards, tiny, sine_codes):
    folder = make_shards({"a": sine_codes[:400]}, 16, 100)
    devices = device_steps(folder, quick(model=tiny, input_noise=0.3))
    codes, targets = next(iter(shards.read(folder, "train", 4)))
    inputs = devices.add_input_noise(codes, tf.constant([0, 0]))
    _, sums, _ = devices.compute_gradients(codes, targets, 0, devices.burn_in(inputs), inputs)
    log_p = tf.nn.log_softmax(devices.model(inputs[:, :-1])).numpy()
    nats = -np.take_along_axis(log_p, codes.numpy()[:, 1:, None].astype(int), 2)[..., 0]
    real = np.arange(115)[None] - 15 < targets.numpy()[:, None]
    assert sums[2] == targets.numpy().sum()
    assert float(sums[0]) == pytest.approx(nats[:, 15:][real[:, 15:]].sum(), rel=1e-4)


def test_every_batch_has_noise_of_its_own(make_shards, tmp_path, tiny, sine_codes, monkeypatch):
    folder = make_shards({"a": sine_codes[:1616]}, 16, 100)  # 16 windows
    seeds, add = [], DeviceSteps.add_input_noise

    def noted(self, codes, seed):
        seeds.append(seed.numpy())
        return add(self, codes, seed)

    monkeypatch.setattr(DeviceSteps, "add_input_noise", noted)
    params = quick(model=tiny, batch_size=4, epochs=2, seed=7, input_noise=0.1)
    trainer.train(folder, tmp_path / "m", params, progress=False)
    assert np.array_equal(seeds, [[7, batch] for batch in range(8)])
    seeds.clear()
    trainer.train(folder, tmp_path / "other", quick(model=tiny, batch_size=4, epochs=1), progress=False)
    assert not seeds


@pytest.mark.slow
def test_accumulated_gradients_are_those_of_the_larger_batch(make_shards, tmp_path, tiny, sine_codes):
    folder = make_shards({"a": sine_codes[:3200]}, 16, 100)  # the last window has fewer targets
    runs = [
        quick(model=tiny, batch_size=8, accumulation_steps=1),
        quick(model=tiny, batch_size=2, accumulation_steps=4),
    ]
    weights = []
    for i, params in enumerate(runs):
        model, result = trainer.train(folder, tmp_path / f"m{i}", params, progress=False)
        weights.append(model.get_weights())
        assert result.steps == 3 * 4  # 32 windows: 4 updates per epoch
    for one, other in zip(*weights, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_gradients_are_clipped_by_their_global_norm(make_shards, tiny, sine_codes):
    folder = make_shards({"a": sine_codes[:200]}, 16, 100)
    devices = device_steps(folder, quick(model=tiny, clip_norm=0.5))
    applied = []
    devices.optimizer.apply = lambda gradients, variables: applied.extend(gradients)
    gradients = [tf.ones_like(w) for w in devices.model.trainable_variables]
    size = sum(w.numpy().size for w in devices.model.trainable_variables)
    with tf.init_scope():
        tf.config.run_functions_eagerly(True)
    try:
        norm = devices.apply_gradients(gradients, tf.constant(4.0), learning_rate=0.1)
    finally:
        tf.config.run_functions_eagerly(False)
    assert float(norm) == pytest.approx(size**0.5 / 4)
    assert float(tf.linalg.global_norm(applied)) == pytest.approx(0.5)


@pytest.mark.slow
def test_averaged_weights_are_validated_and_kept(make_shards, tmp_path, tiny, sine_codes):
    folder = make_shards({"a": sine_codes}, 16, 100)
    devices = device_steps(folder, quick(model=tiny, ema=0.8))
    averages = [w.numpy() for w in devices.model.variables]
    batch = next(iter(shards.read(folder, "train", 4)))
    for step in range(1, 30):
        gradients, sums, _ = devices.compute_gradients(*batch, 0, devices.burn_in(batch[0]))
        devices.apply_gradients(gradients, sums[2], learning_rate=0.01)
        keep = min(0.8, (1 + step) / (10 + step))
        averages = [keep * a + (1 - keep) * w.numpy() for a, w in zip(averages, devices.model.variables, strict=True)]
    raw = devices.model.get_weights()
    with devices.ema_weights() as model:
        for expected, found in zip(averages, model.get_weights(), strict=True):
            np.testing.assert_allclose(found, expected, atol=1e-5)
    for before, after in zip(raw, devices.model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    params = quick(model=tiny, ema=0.9, epochs=2)
    _, result = trainer.train(folder, tmp_path / "m", params, progress=False)
    scores = scores_module.evaluate(storage.load(tmp_path / "m"), folder)["validation"]
    assert scores["bits_per_sample"] == pytest.approx(result.best_validation, abs=1e-5)


@pytest.mark.slow
def test_scaled_losses_change_nothing_and_an_overflow_skips_the_update(make_shards, tiny, sine_codes):
    folder = make_shards({"a": sine_codes[:400]}, 16, 100)
    batch = next(iter(shards.read(folder, "train", 4)))
    weights, norms = [], []
    for scaled in (False, True):
        keras.utils.set_random_seed(0)
        devices = device_steps(folder, quick(model=tiny, clip_norm=0.01), scaled)
        for _ in range(3):
            gradients, sums, _ = devices.compute_gradients(*batch, 0, devices.burn_in(batch[0]))
            norms.append(float(devices.apply_gradients(gradients, sums[2], learning_rate=0.01)))
        weights.append(devices.model.get_weights())
    assert norms[0] > 0.01  # so that they are clipped
    np.testing.assert_allclose(norms[:3], norms[3:], rtol=1e-5)
    for one, other in zip(*weights, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    scale = float(devices.optimizer.dynamic_scale.numpy())
    gradients[0] = gradients[0] * math.inf
    devices.apply_gradients(gradients, sums[2], learning_rate=0.01)
    assert float(devices.optimizer.dynamic_scale.numpy()) == scale / 2
    for before, after in zip(weights[1], devices.model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
