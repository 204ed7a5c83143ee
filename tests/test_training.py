"""Training learns, keeps the best weights, and says when something is wrong."""

import csv
import math

import numpy as np
import pytest

from audiornn import evaluation, models, shards, training
from audiornn.backend import tf
from audiornn.errors import AudioRNNError
from audiornn.params import ModelParams, Train

TINY = ModelParams(dense=16, units=16, layers=1)


def quick(**changes):
    return Train(**{"model": TINY, "epochs": 3, "batch": 4, "learning_rate": 0.01, "warmup_steps": 2, **changes})


def test_training_learns_a_sine_and_reports_it(make_shards, tmp_path, sine_codes):
    folder = make_shards({"a": sine_codes}, 64, 256)
    seen = []
    model, result = training.train(
        folder,
        tmp_path / "model",
        quick(epochs=6),
        {"codec": {"sample_rate": 8000}},
        log=tmp_path / "log.csv",
        on_epoch=seen.append,
        progress=False,
    )
    losses = [epoch.train_loss for epoch in seen]
    assert losses[-1] < losses[0] - 1
    assert result.best_validation == min(epoch.validation_loss for epoch in seen)
    assert result.stopped == "after all 6 epochs"
    assert result.targets == 6 * (16_000 - 64)
    assert result.targets_per_second > 0
    with open(tmp_path / "log.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3, 4, 5, 6]
    assert float(rows[-1]["train_loss"]) == losses[-1]
    scores = evaluation.evaluate(models.load(tmp_path / "model"), folder)
    assert scores["validation"]["bits_per_sample"] == pytest.approx(result.best_validation, abs=1e-4)
    assert model.settings == {"codec": {"sample_rate": 8000}}


def test_same_seed_same_weights_other_seed_other_weights(make_shards, tmp_path, sine_codes):
    folder = make_shards({"a": sine_codes}, 32, 128)
    runs = [
        training.train(folder, tmp_path / f"m{i}", quick(epochs=2, seed=seed), progress=False)[0].get_weights()
        for i, seed in enumerate((3, 3, 4))
    ]
    for first, second in zip(runs[0], runs[1], strict=True):
        np.testing.assert_array_equal(first, second)
    assert any(not np.array_equal(a, b) for a, b in zip(runs[0], runs[2], strict=True))
    assert (tmp_path / "m0/model.weights.h5").read_bytes() == (tmp_path / "m1/model.weights.h5").read_bytes()


def test_a_fresh_model_predicts_the_frequencies_of_the_codes(make_shards, sine_codes):
    folder = make_shards({"a": sine_codes}, 16, 64)
    counts = shards.read_manifest(folder)["parts"]["train"]["code_counts"]
    model = models.build("audiornn", dense=16, units=16, layers=1)
    training.start_at_frequencies(model, counts)
    model.head.kernel.assign(tf.zeros_like(model.head.kernel))
    p = (np.array(counts) + 1) / (sum(counts) + 256)
    bits = evaluation.evaluate(model, folder)["test"]["bits_per_sample"]
    assert bits == pytest.approx(-np.mean(np.log2(p[sine_codes[16:]])), abs=1e-3)


@pytest.mark.parametrize("objective", ["sequence", "window"])
def test_a_step_learns_from_exactly_the_targets_of_its_objective(make_shards, objective):
    random = np.random.default_rng(0)
    recordings = {"a": random.integers(0, 256, 100, dtype=np.uint8), "b": random.integers(0, 256, 35, dtype=np.uint8)}
    folder = make_shards(recordings, 20, 50)  # windows of 50, 30 and 15 targets
    codes, targets = next(iter(shards.read(folder, "train", 8)))
    assert sorted(targets.numpy()) == [15, 30, 50]
    model = models.build("audiornn", dense=8, units=8, layers=1)

    class Frozen:
        def apply_gradients(self, pairs):
            self.moved = [float(tf.norm(tf.convert_to_tensor(g))) for g, _ in pairs]

    frozen = Frozen()
    frozen_model = models.build("audiornn", dense=8, units=8, layers=1)
    frozen_model.set_weights(model.get_weights())
    loss, _, count = training.make_step(frozen_model, frozen, 20, objective)(codes, targets).numpy()
    nats = []
    if objective == "sequence":
        assert count == 95
        valid = np.arange(69)[None] < 19 + targets.numpy()[:, None]
        logits = model(codes[:, :-1], training=True, valid=valid, last=50)
        for row, n in enumerate(targets.numpy()):
            log_p = tf.nn.log_softmax(logits[row, :n]).numpy()
            nats += [-log_p[i, codes[row, 20 + i]] for i in range(n)]
    else:  # the last target of each window, from the 20 codes before it
        assert count == 3
        ends = [20 + n for n in targets.numpy()]
        last = np.stack([codes.numpy()[row, end - 21 : end] for row, end in enumerate(ends)])
        log_p = tf.nn.log_softmax(model(last[:, :-1], training=True, last=1)[:, 0]).numpy()
        nats = [-log_p[row, last[row, -1]] for row in range(3)]
    assert loss == pytest.approx(np.mean(nats), rel=1e-4)


def test_the_window_objective_learns_too(make_shards, tmp_path, sine_codes):
    folder = make_shards({"a": sine_codes[:2000]}, 32, 1)
    _, result = training.train(folder, tmp_path / "m", quick(objective="window", batch=64), progress=False)
    assert result.history[-1].validation_loss < result.history[0].validation_loss
    assert result.targets == 3 * (2000 - 32)


def test_a_run_that_diverges_keeps_its_best_weights_and_says_so(make_shards, tmp_path, sine_codes, monkeypatch):
    folder = make_shards({"a": sine_codes}, 32, 128)
    make_step, calls = training.make_step, []

    def sabotaged(model, *arguments):
        step = make_step(model, *arguments)

        def train_step(codes, targets):
            calls.append(1)
            if len(calls) == 70:  # in the third epoch
                for variable in model.trainable_variables:
                    variable.assign(variable * math.nan)
            return step(codes, targets)

        return train_step

    monkeypatch.setattr(training, "make_step", sabotaged)
    model, result = training.train(folder, tmp_path / "m", quick(epochs=5), progress=False)
    assert result.diverged
    assert result.best_epoch == 2
    assert "diverged in epoch 3" in result.stopped
    assert "the weights of epoch 2 are kept" in result.stopped
    assert "train.learning_rate below 0.01" in result.stopped
    assert all(np.isfinite(w).all() for w in model.get_weights())
    assert evaluation.evaluate(models.load(tmp_path / "m"), folder)["test"]["bits_per_sample"] < 8


def test_a_loss_far_above_its_best_is_divergence(make_shards, tmp_path, sine_codes):
    folder = make_shards({"a": sine_codes}, 32, 128)
    wild = quick(epochs=40, learning_rate=1.0, clip_norm=1000.0, schedule="constant", patience=40, divergence_bits=0.5)
    try:
        _, result = training.train(folder, tmp_path / "m", wild, progress=False)
    except AudioRNNError as error:
        assert "diverged" in str(error)
        assert "no model to keep" in str(error)
    else:
        assert result.diverged
        assert "above its lowest" in result.stopped


def test_training_stops_early_when_validation_stops_falling(make_shards, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, 1500, dtype=np.uint8)
    folder = make_shards({"a": noise}, 32, 64, name="a")
    # White noise cannot be predicted: after the first epochs validation on other noise only rises.
    other = np.random.default_rng(1).integers(0, 256, 1500, dtype=np.uint8)
    elsewhere = make_shards({"a": other}, 32, 64, name="b")
    for shard in elsewhere.glob("validation-*"):
        (folder / shard.name).write_bytes(shard.read_bytes())
    _, result = training.train(folder, tmp_path / "m", quick(epochs=60, patience=2), progress=False)
    assert "early" in result.stopped
    assert len(result.history) == result.best_epoch + 2 < 60


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_the_learning_rate_warms_up_and_follows_its_schedule(schedule):
    params = quick(schedule=schedule, warmup_steps=10, learning_rate=0.01)
    rate = training.learning_rate_schedule(params, 100)
    values = [float(rate(step)) for step in range(101)]
    assert values[0] == pytest.approx(0.001)
    assert values[10] == pytest.approx(0.01)
    assert values[:11] == sorted(values[:11])
    assert values[100] == pytest.approx(0 if schedule == "cosine" else 0.01, abs=1e-6)


def test_scores_are_what_they_say(make_shards):
    random = np.random.default_rng(0)
    codes = random.integers(0, 256, 90, dtype=np.uint8)
    folder = make_shards({"a": codes}, 10, 30)  # the last window holds 20 targets
    model = models.build("audiornn", dense=8, units=8, layers=1)
    model.head.kernel.assign(random.standard_normal(model.head.kernel.shape) * 3)
    scores = evaluation.evaluate(model, folder, batch=2)["test"]
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
