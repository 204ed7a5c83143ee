"""Training learns, keeps the best weights, and says when something is wrong."""

import csv
import dataclasses
import math
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audiornn.backend import GPUS, keras, tf
from audiornn.dataset import shards
from audiornn.errors import AudioRNNError
from audiornn.evaluation import scores as scores_module
from audiornn.files import sha256
from audiornn.models import registry, storage
from audiornn.models.base import TrainingWindow
from audiornn.params import ModelParams, Train
from audiornn.training import trainer
from audiornn.training.budget import Budget
from audiornn.training.checkpoints import Store, training_fingerprint
from audiornn.training.devices import optimizers
from audiornn.training.devices.batch_plan import BatchPlan
from audiornn.training.devices.steps import DeviceSteps
from tests.conftest import CODEC

TINY = ModelParams(name="audiornn", dense=16, units=16, layers=1)


def quick(**changes):
    return Train(**{"model": TINY, "epochs": 3, "batch_size": 4, "learning_rate": 0.01, "warmup_steps": 2, **changes})


@pytest.fixture
def little(monkeypatch):
    """Let parameters name the model of tests/helpers/tiny_model.py."""
    monkeypatch.setitem(registry.REGISTRY, "little", "tests.helpers.tiny_model:Little")
    return ModelParams(name="little")


def test_training_learns_a_sine_and_reports_it(make_shards, tmp_path, sine_codes):
    folder = make_shards({"a": sine_codes}, 64, 256)
    seen = []
    model, result = trainer.train(
        folder,
        tmp_path / "model",
        quick(epochs=6),
        log=tmp_path / "log.csv",
        on_validation=lambda record, model: seen.append(record),
        progress=False,
    )
    losses = [record.train_loss for record in seen]
    assert losses[-1] < losses[0] - 1
    assert result.best_validation == min(record.validation_loss for record in seen)
    assert result.stop_reason == "after all 6 epochs"
    assert result.targets == 6 * (16_000 - 64)
    assert result.targets_per_second > 0
    with open(tmp_path / "log.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3, 4, 5, 6]
    assert float(rows[-1]["train_loss"]) == losses[-1]
    scores = scores_module.evaluate(storage.load(tmp_path / "model"), folder)
    assert scores["validation"]["bits_per_sample"] == pytest.approx(result.best_validation, abs=1e-4)
    assert (model.codec, model.window) == (CODEC, TrainingWindow(64, 256))


def test_same_seed_same_weights_other_seed_other_weights(make_shards, tmp_path, little, sine_codes):
    folder = make_shards({"a": sine_codes}, 32, 128)
    params = quick(model=little, epochs=2, crop_targets=100).model_dump()
    runs = [
        trainer.train(folder, tmp_path / f"m{i}", Train(**params | {"seed": seed}), progress=False)[0].get_weights()
        for i, seed in enumerate((3, 3, 4))
    ]
    for first, second in zip(runs[0], runs[1], strict=True):
        np.testing.assert_array_equal(first, second)
    assert any(not np.array_equal(a, b) for a, b in zip(runs[0], runs[2], strict=True))
    assert (tmp_path / "m0/model.weights.h5").read_bytes() == (tmp_path / "m1/model.weights.h5").read_bytes()


def test_a_fresh_model_predicts_the_frequencies_of_the_codes(make_shards, sine_codes):
    folder = make_shards({"a": sine_codes}, 16, 64)
    counts = folder.splits["train"].code_counts
    model = storage.build("audiornn", dense=16, units=16, layers=1)
    trainer.init_bias_from_frequencies(model, counts)
    model.head.kernel.assign(tf.zeros_like(model.head.kernel))
    p = (np.array(counts) + 1) / (sum(counts) + 256)
    bits = scores_module.evaluate(model, folder)["test"]["bits_per_sample"]
    assert bits == pytest.approx(-np.mean(np.log2(p[sine_codes[16:]])), abs=1e-3)


def device_steps(folder, params, scaled=False):
    layout, windows = folder.layout, folder.splits["train"].windows
    model = storage.build(params.model.name, **params.model.sizes)
    plan = BatchPlan.for_windows(params, layout.context, layout.targets_per_window, windows=windows, hop=model.hop)
    return DeviceSteps(model, optimizers.build_optimizer(params, model, scaled), plan, params)


@pytest.mark.parametrize("objective", ["sequence", "window"])
def test_a_step_learns_from_exactly_the_targets_of_its_objective(make_shards, objective):
    random = np.random.default_rng(0)
    recordings = {"a": random.integers(0, 256, 100, dtype=np.uint8), "b": random.integers(0, 256, 35, dtype=np.uint8)}
    folder = make_shards(recordings, 20, 50)  # windows of 50, 30 and 15 targets
    devices = device_steps(folder, quick(objective=objective))
    codes, targets = next(iter(shards.read(folder, "train", 4)))
    assert sorted(targets.numpy()) == [0, 15, 30, 50]  # the last fills the batch up
    _, sums, _ = devices.gradients(codes, targets, 0, devices.burn_in(codes))
    model = storage.build("audiornn", **TINY.sizes)
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


def test_the_window_objective_learns_too(make_shards, tmp_path, sine_codes):
    folder = make_shards({"a": sine_codes[:2000]}, 32, 1)
    _, result = trainer.train(folder, tmp_path / "m", quick(objective="window", batch_size=64), progress=False)
    assert result.history[-1].validation_loss < result.history[0].validation_loss
    assert result.targets == 3 * (2000 - 32)


def test_the_window_objective_learns_one_target_of_each_window_however_many_it_has(make_shards, tmp_path, sine_codes):
    folder = make_shards({"a": sine_codes[:2000]}, 20, 50)  # 40 windows
    _, result = trainer.train(folder, tmp_path / "m", quick(objective="window", batch_size=8), progress=False)
    assert (result.steps, result.targets) == (3 * 5, 3 * 40)


def test_a_run_that_diverges_keeps_its_best_weights_and_says_so(make_shards, tmp_path, sine_codes, monkeypatch):
    folder = make_shards({"a": sine_codes}, 32, 128)
    update, calls = DeviceSteps.apply_gradients, []

    def sabotaged(self, *arguments):
        calls.append(1)
        if len(calls) == 70:  # in the third epoch
            for variable in self.model.trainable_variables:
                variable.assign(variable * math.nan)
        return update(self, *arguments)

    monkeypatch.setattr(DeviceSteps, "apply_gradients", sabotaged)
    model, result = trainer.train(folder, tmp_path / "m", quick(epochs=5), progress=False)
    assert result.diverged
    assert result.best_epoch == 2
    assert "diverged in epoch 3" in result.stop_reason
    assert "the weights of epoch 2 are kept" in result.stop_reason
    assert "train.learning_rate below 0.01" in result.stop_reason
    assert all(np.isfinite(w).all() for w in model.get_weights())
    assert scores_module.evaluate(storage.load(tmp_path / "m"), folder)["test"]["bits_per_sample"] < 8


def test_a_loss_far_above_its_best_is_divergence(make_shards, tmp_path, sine_codes):
    folder = make_shards({"a": sine_codes}, 32, 128)
    wild = quick(epochs=40, learning_rate=1.0, clip_norm=1000.0, schedule="constant", patience=40, divergence_bits=0.5)
    try:
        _, result = trainer.train(folder, tmp_path / "m", wild, progress=False)
    except AudioRNNError as error:
        assert "diverged" in str(error)
        assert "no model to keep" in str(error)
    else:
        assert result.diverged
        assert "above its lowest" in result.stop_reason


def test_training_stops_early_when_validation_stops_falling(make_shards, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, 1500, dtype=np.uint8)
    folder = make_shards({"a": noise}, 32, 64, name="a")
    # White noise cannot be predicted: after the first epochs validation on other noise only rises.
    other = np.random.default_rng(1).integers(0, 256, 1500, dtype=np.uint8)
    elsewhere = make_shards({"a": other}, 32, 64, name="b")
    for shard in elsewhere.folder.glob("validation-*"):
        (folder.folder / shard.name).write_bytes(shard.read_bytes())
    mixed = dataclasses.replace(folder, splits=folder.splits | {"validation": elsewhere.splits["validation"]})
    _, result = trainer.train(mixed, tmp_path / "m", quick(epochs=60, patience=2), progress=False)
    assert "early" in result.stop_reason
    assert len(result.history) == result.best_epoch + 2 < 60


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


def test_scores_are_what_they_say(make_shards):
    random = np.random.default_rng(0)
    codes = random.integers(0, 256, 90, dtype=np.uint8)
    folder = make_shards({"a": codes}, 10, 30)  # the last window holds 20 targets
    model = storage.build("audiornn", dense=8, units=8, layers=1)
    model.head.kernel.assign(random.standard_normal(model.head.kernel.shape) * 3)
    scores = scores_module.evaluate(model, folder, batch_size=2)["test"]
    nats, hits, top5 = [], [], []
    for first in range(0, 80, 30):
        window = codes[first : first + 40]
        logits = model(window[None, :-1]).numpy()[0, 9:]
        labels = window[10:]
        log_p = tf.nn.log_softmax(logits).numpy()
        nats += list(-log_p[np.arange(len(labels)), labels])
        order = np.argsort(-logits, axis=-1)
        hits += list(order[:, 0] == labels)
        top5 += list((order[:, :5] == labels[:, None]).any(axis=1))
    assert scores["targets"] == 80 == len(nats)
    assert scores["bits_per_sample"] == pytest.approx(np.mean(nats) / math.log(2), rel=1e-5)
    assert scores["accuracy"] == pytest.approx(np.mean(hits))
    assert scores["top5_accuracy"] == pytest.approx(np.mean(top5))


# --- Batch plans: whole windows, chunks, crops ------------------------------------------------------------------------


def test_short_windows_are_learned_whole_and_long_ones_in_chunks():
    short, long = (
        BatchPlan.for_windows(Train(), context, 4 * context, windows=10_000, hop=16) for context in (128, 8000)
    )
    assert (short.burn_in, short.chunk, short.chunk_targets) == (0, 639, 512)
    assert (long.burn_in, long.chunk, long.chunk_targets) == (8000, 1024, 1024)
    assert 4 * 639 < short.batch_size * short.chunk < 4096 + 640
    assert long.batch_size * long.chunk == pytest.approx(4096, abs=1024)
    assert list(short.chunk_starts(1)) == list(short.chunk_starts(512)) == [0]
    assert list(long.chunk_starts(32_000)) == list(range(8000, 8000 + 32_000, 1024))
    assert list(long.chunk_starts(0)) == list(short.chunk_starts(0)) == []


@given(
    context=st.integers(1, 300),
    targets_per_window=st.integers(1, 3000),
    chunk=st.integers(1, 100),
    hop=st.sampled_from([1, 4, 16]),
    targets=st.integers(1, 3000),
)
def test_chunks_cover_every_target_but_those_before_the_first_whole_hop(
    context, targets_per_window, chunk, hop, targets
):
    plan = BatchPlan.for_windows(Train(chunk=chunk * hop), context, targets_per_window, windows=100, hop=hop)
    targets = min(targets, targets_per_window)
    starts = plan.chunk_starts(targets)
    covered = [at for start in starts for at in range(start + plan.chunk - plan.chunk_targets, start + plan.chunk)]
    wanted = range(context - 1, context - 1 + targets)
    assert covered == list(range(covered[0], covered[0] + len(covered))) if covered else True
    assert len(set(wanted) - set(covered)) <= hop - 1
    assert covered == [] or covered[0] >= context - 1  # no code of the burn-in is a target
    assert all(start % hop == 0 for start in starts)
    assert all(start < context - 1 + targets for start in starts)  # no chunk without a target


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"crop_targets": 513}, "train.crop_targets is 513, but must not exceed the targets of a window, 512"),
        ({"chunk": 100}, "train.chunk is 100, but must be a multiple of the model's hop, 16"),
        ({"batch_size": 7}, "train.batch_size is 7, but must be a multiple of the number of devices, 2"),
    ],
)
def test_what_does_not_fit_is_named(params, said):
    with pytest.raises(AudioRNNError, match=said):
        BatchPlan.for_windows(Train(**params), 128, 512, windows=100, hop=16, replicas=2)


def test_batches_of_chosen_size_are_filled_evenly():
    assert (
        BatchPlan.for_windows(Train(), 128, 512, windows=7).batch_size == 4
    )  # two of 4 at most, not one of 6 and one of a single window
    assert BatchPlan.for_windows(Train(), 128, 512, windows=5).batch_size == 5
    assert BatchPlan.for_windows(Train(batch_size=12), 128, 512, windows=13).batch_size == 12


def test_a_window_in_chunks_has_the_losses_of_the_whole_and_gradients_within_chunks(make_shards, little):
    codes = np.random.default_rng(0).integers(0, 256, 99, dtype=np.uint8)
    folder = make_shards({"a": codes[:60], "b": codes}, 10, 80)  # windows of 50, 80 and 9 targets
    model = ModelParams(name="little", hop=4)
    batch = next(iter(shards.read(folder, "train", 3)))
    steps = [device_steps(folder, quick(model=model, chunk=chunk)) for chunk in (1000, 16)]
    whole, chunked = steps
    assert (chunked.plan.burn_in, chunked.plan.chunk_targets) == (12, 16)
    chunked.model.set_weights(whole.model.get_weights())
    _, expected, _ = whole.gradients(*batch, 0, whole.burn_in(batch[0]))
    state, found, gradients = chunked.burn_in(batch[0]), 0, []
    for start in chunked.plan.chunk_starts(80):
        g, sums, state = chunked.gradients(*batch, start, state)
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


def test_crops_and_chunks_learn_and_count_their_targets(make_shards, tmp_path, little, sine_codes):
    folder = make_shards({"a": sine_codes}, 16, 2000)  # seven windows of 2000 targets, one of 1984
    params = quick(model=little, chunk=100, crop_targets=500, epochs=4, learning_rate=0.02)
    _, result = trainer.train(folder, tmp_path / "m", params, progress=False)
    assert result.targets == 4 * 8 * 500
    assert result.steps == 4 * 2 * 5
    assert result.history[-1].validation_loss < result.history[0].validation_loss < 8


def test_windows_without_targets_in_a_chunk_make_no_update(make_shards, tmp_path, little, sine_codes):
    folder = make_shards({"a": sine_codes[:36], "b": sine_codes[:46]}, 16, 100)  # 20 and 30 targets of 100
    _, result = trainer.train(folder, tmp_path / "m", quick(model=little, chunk=10, epochs=1), progress=False)
    assert (result.steps, result.targets) == (3, 50)


# --- Optimisers --------------------------------------------------------------------------------------------------


def test_accumulated_gradients_are_those_of_the_larger_batch(make_shards, tmp_path, little, sine_codes):
    folder = make_shards({"a": sine_codes[:3200]}, 16, 100)  # the last window has fewer targets
    runs = [
        quick(model=little, batch_size=8, accumulation_steps=1),
        quick(model=little, batch_size=2, accumulation_steps=4),
    ]
    weights = []
    for i, params in enumerate(runs):
        model, result = trainer.train(folder, tmp_path / f"m{i}", params, progress=False)
        weights.append(model.get_weights())
        assert result.steps == 3 * 4  # 32 windows: 4 updates per epoch
    for one, other in zip(*weights, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "rmsprop"])
def test_every_optimiser_learns(make_shards, tmp_path, little, sine_codes, optimizer):
    folder = make_shards({"a": sine_codes}, 16, 100)
    _, result = trainer.train(folder, tmp_path / "m", quick(model=little, optimizer=optimizer), progress=False)
    assert result.history[-1].validation_loss < result.history[0].validation_loss - 0.1


def test_weights_decay_in_matrices_alone(make_shards, little, sine_codes):
    folder = make_shards({"a": sine_codes[:200]}, 16, 100)
    devices = device_steps(folder, quick(model=little, optimizer="adamw", weight_decay=0.5))
    before = [w.numpy() for w in devices.model.trainable_variables]
    devices.apply_gradients([tf.zeros_like(w) for w in before], tf.constant(1.0), learning_rate=0.1)
    for old, new in zip(before, devices.model.trainable_variables, strict=True):
        np.testing.assert_allclose(new, old * 0.95 if new.path.endswith("kernel") else old, rtol=1e-5)


def test_gradients_are_clipped_by_their_global_norm(make_shards, little, sine_codes):
    folder = make_shards({"a": sine_codes[:200]}, 16, 100)
    devices = device_steps(folder, quick(model=little, clip_norm=0.5))
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


def test_averaged_weights_are_validated_and_kept(make_shards, tmp_path, little, sine_codes):
    folder = make_shards({"a": sine_codes}, 16, 100)
    devices = device_steps(folder, quick(model=little, ema=0.8))
    averages = [w.numpy() for w in devices.model.variables]
    batch = next(iter(shards.read(folder, "train", 4)))
    for step in range(1, 30):
        gradients, sums, _ = devices.gradients(*batch, 0, devices.burn_in(batch[0]))
        devices.apply_gradients(gradients, sums[2], learning_rate=0.01)
        keep = min(0.8, (1 + step) / (10 + step))
        averages = [keep * a + (1 - keep) * w.numpy() for a, w in zip(averages, devices.model.variables, strict=True)]
    raw = devices.model.get_weights()
    with devices.ema_weights() as model:
        for expected, found in zip(averages, model.get_weights(), strict=True):
            np.testing.assert_allclose(found, expected, atol=1e-5)
    for before, after in zip(raw, devices.model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    params = quick(model=little, ema=0.9, epochs=2)
    _, result = trainer.train(folder, tmp_path / "m", params, progress=False)
    scores = scores_module.evaluate(storage.load(tmp_path / "m"), folder)["validation"]
    assert scores["bits_per_sample"] == pytest.approx(result.best_validation, abs=1e-5)


def test_scaled_losses_change_nothing_and_an_overflow_passes_over_the_update(make_shards, little, sine_codes):
    folder = make_shards({"a": sine_codes[:400]}, 16, 100)
    batch = next(iter(shards.read(folder, "train", 4)))
    weights, norms = [], []
    for scaled in (False, True):
        keras.utils.set_random_seed(0)
        devices = device_steps(folder, quick(model=little, clip_norm=0.01), scaled)
        for _ in range(3):
            gradients, sums, _ = devices.gradients(*batch, 0, devices.burn_in(batch[0]))
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


@pytest.mark.skipif(bool(GPUS), reason="there is a GPU")
def test_mixed_precision_needs_a_gpu():
    with pytest.raises(AudioRNNError, match="train.mixed_precision is true, but no GPU was found"):
        optimizers.mixed_precision(True)
    assert [optimizers.mixed_precision(wanted) for wanted in ("auto", False)] == [False, False]


# --- Budgets -----------------------------------------------------------------------------------------------------


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
    assert budget.fraction(steps, batches) == fraction


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
def test_the_validations_to_come_are_counted(budget, steps, batches, left):
    found = Budget(Train(**budget), batches_per_epoch=10, clock=lambda: 0.0, start=0.0)
    assert found.validations_left(steps, batches) == left


def test_a_budget_of_steps_ends_within_an_epoch_and_is_validated_as_asked(make_shards, tmp_path, little, sine_codes):
    folder = make_shards({"a": sine_codes}, 16, 100)  # 160 windows, 40 batches
    rates, seen = [], []
    _, result = trainer.train(
        folder,
        tmp_path / "m",
        quick(model=little, epochs=None, steps=50, validate_every_steps=20),
        on_validation=lambda record, model: seen.append((record.epoch, record.step)),
        on_steps=lambda points: rates.extend((p.step, p.learning_rate) for p in points),
        progress=False,
    )
    assert (result.steps, result.stop_reason) == (50, "after 50 steps")
    assert seen == [(0.5, 20), (1, 40), (1.25, 50)]
    assert rates == [(n, pytest.approx(0.01 * (1 + math.cos(math.pi * (n - 1) / 50)) / 2)) for n in (20, 40)]


def test_a_budget_of_minutes_is_counted_by_the_clock_and_validated_once_more(make_shards, tmp_path, little, sine_codes):
    folder = make_shards({"a": sine_codes}, 16, 100)
    now = iter(range(10_000))
    params = quick(model=little, epochs=None, minutes=1, patience=None)
    _, result = trainer.train(folder, tmp_path / "m", params, clock=lambda: next(now), progress=False)
    assert result.stop_reason == "after 1 minutes"
    assert 60 <= result.elapsed <= 62
    assert result.history[-1].step == result.steps < 60
    assert result.history[-1].learning_rate < 0.0002  # the cosine has come down


def test_the_curves_by_step_hold_means_over_their_updates(make_shards, tmp_path, little, sine_codes):
    folder = make_shards({"a": sine_codes}, 16, 100)
    points = []
    _, result = trainer.train(folder, tmp_path / "m", quick(model=little), on_steps=points.extend, progress=False)
    assert [p.step for p in points] == [20, 40, 60, 80, 100, 120]
    epochs = np.mean([[p.loss for p in points[i : i + 2]] for i in (0, 2, 4)], axis=1)
    np.testing.assert_allclose(epochs, [e.train_loss for e in result.history], rtol=1e-3)
    assert all(p.gradient_norm > 0 and p.targets_per_second > 0 for p in points)


def test_after_each_batch_one_is_told_where_the_training_stands(make_shards, sine_codes, tmp_path):
    folder = make_shards({"sine": sine_codes[:6000]}, 64, 256)
    told, scored = [], []

    def on_batch(progress, model):
        told.append(progress)
        with model() as current:
            assert current.count_params() > 0

    def on_validation(record, model):
        scored.append(record)

    _, result = trainer.train(
        folder, tmp_path / "model", quick(epochs=2), on_validation=on_validation, on_batch=on_batch, progress=False
    )
    batches = len(told) // 2
    assert batches > 1
    assert [progress.step for progress in told] == list(range(1, result.steps + 1))
    assert [progress.spent for progress in told] == pytest.approx([n / len(told) for n in range(1, len(told) + 1)])
    assert [progress.epoch for progress in told[batches - 1 :: batches]] == [1, 2]
    assert [progress.scored for progress in told if progress.scored] == scored == result.history


def test_no_model_is_given_between_batches_whose_weights_are_not_finite(
    make_shards, sine_codes, tmp_path, little, monkeypatch
):
    folder = make_shards({"a": sine_codes}, 16, 100)  # 40 batches
    apply, calls, given = DeviceSteps.apply_gradients, [], []

    def overflow(self, gradients, *others):
        calls.append(1)
        return apply(self, [g * math.nan for g in gradients] if len(calls) == 43 else gradients, *others)

    def on_batch(progress, model):
        with model() as current:
            given.append(current is not None)
            assert current is None or all(np.isfinite(weight).all() for weight in current.get_weights())

    monkeypatch.setattr(DeviceSteps, "apply_gradients", overflow)
    _, result = trainer.train(folder, tmp_path / "m", quick(model=little, ema=0.9), on_batch=on_batch, progress=False)
    assert "step 44: the loss is nan" in result.stop_reason
    assert given == [True] * 42 + [False] * 7  # until the losses are fetched, after ten updates


def test_what_is_done_between_batches_is_no_time_of_learning(make_shards, sine_codes, tmp_path):
    folder = make_shards({"sine": sine_codes[:6000]}, 64, 256)
    _, result = trainer.train(
        folder, tmp_path / "model", quick(epochs=1), on_batch=lambda *_: time.sleep(0.2), progress=False
    )
    assert result.steps > 2
    assert result.seconds < result.elapsed - 0.2 * (result.steps - 1)


def test_a_training_does_not_wait_for_windows_that_its_shards_do_not_hold(make_shards, tmp_path, sine_codes, little):
    """Shards whose digests are right, of a manifest that promises more."""
    folder = make_shards({"a": sine_codes[:2000]}, 16, 100)
    split = folder.splits["train"]
    none = dataclasses.replace(split, windows=0, targets=0, bytes=0, shards=[])
    with pytest.raises(AudioRNNError, match="manifest.json: its split train has no windows; run dvc repro shard"):
        trainer.train(replaced(folder, none), tmp_path / "m", quick(model=little), progress=False)
    file = folder.folder / split.shards[0].file
    file.write_bytes(b"")
    held = dataclasses.replace(split.shards[0], bytes=0, sha256=sha256(file))
    with pytest.raises(AudioRNNError, match="its shards hold no windows; run dvc repro shard"):
        trainer.train(
            replaced(folder, dataclasses.replace(split, shards=[held])),
            tmp_path / "m",
            quick(model=little, batch_size=split.windows),  # a whole batch, none of which is there
            progress=False,
        )
    assert not (tmp_path / "m").exists()


def replaced(manifest, train):
    return dataclasses.replace(manifest, splits=manifest.splits | {"train": train})


def test_a_checkpoint_that_does_not_fit_the_model_is_not_used_in_part(make_shards, tmp_path, sine_codes, little):
    folder = make_shards({"a": sine_codes[:2000]}, 16, 100)
    store = Store(tmp_path / "store")
    params = quick(model=little, checkpoint_steps=2)
    plan = BatchPlan.for_windows(params, 16, 100, windows=folder.splits["train"].windows)
    fingerprint = [training_fingerprint(params.model_dump(), folder), dataclasses.asdict(plan)]
    store.save(9, [np.zeros(3)], {"fingerprint": fingerprint, "state": {"steps": 9}})
    with pytest.raises(AudioRNNError, match="store: does not fit the model; remove it and run again"):
        trainer.train(folder, tmp_path / "m", params, store=store, progress=False)
