"""Training learns, keeps the best weights, and says when something is wrong."""

import csv
import dataclasses
import math
import time

import numpy as np
import pytest

from audiornn.backend import tf
from audiornn.common.digests import sha256
from audiornn.common.errors import AudioRNNError
from audiornn.models import storage
from audiornn.models.base import TrainingWindow
from audiornn.params import Train
from audiornn.training import scores as scores_module
from audiornn.training import trainer
from audiornn.training.devices.steps import DeviceSteps
from tests.conftest import CODEC
from tests.helpers.training import quick


@pytest.mark.slow
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


@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights_and_another_seed_others(make_shards, tmp_path, tiny, sine_codes):
    folder = make_shards({"a": sine_codes}, 32, 128)
    params = quick(model=tiny, epochs=2, crop_targets=100).model_dump()
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


@pytest.mark.slow
def test_the_window_objective_learns_too(make_shards, tmp_path, sine_codes):
    folder = make_shards({"a": sine_codes[:2000]}, 32, 1)
    _, result = trainer.train(folder, tmp_path / "m", quick(objective="window", batch_size=64), progress=False)
    assert result.history[-1].validation_loss < result.history[0].validation_loss
    assert result.targets == 3 * (2000 - 32)


@pytest.mark.slow
def test_the_window_objective_learns_one_target_of_each_window_however_many_it_has(make_shards, tmp_path, sine_codes):
    folder = make_shards({"a": sine_codes[:2000]}, 20, 50)  # 40 windows
    _, result = trainer.train(folder, tmp_path / "m", quick(objective="window", batch_size=8), progress=False)
    assert (result.steps, result.targets) == (3 * 5, 3 * 40)


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_crops_and_chunks_learn_and_count_their_targets(make_shards, tmp_path, tiny, sine_codes):
    folder = make_shards({"a": sine_codes}, 16, 2000)  # seven windows of 2000 targets, one of 1984
    params = quick(model=tiny, chunk=100, crop_targets=500, epochs=4, learning_rate=0.02)
    _, result = trainer.train(folder, tmp_path / "m", params, progress=False)
    assert result.targets == 4 * 8 * 500
    assert result.steps == 4 * 2 * 5
    assert result.history[-1].validation_loss < result.history[0].validation_loss < 8


@pytest.mark.slow
def test_windows_without_targets_in_a_chunk_make_no_update(make_shards, tmp_path, tiny, sine_codes):
    folder = make_shards({"a": sine_codes[:36], "b": sine_codes[:46]}, 16, 100)  # 20 and 30 targets of 100
    _, result = trainer.train(folder, tmp_path / "m", quick(model=tiny, chunk=10, epochs=1), progress=False)
    assert (result.steps, result.targets) == (3, 50)


def test_a_budget_of_steps_ends_within_an_epoch_and_is_validated_as_asked(make_shards, tmp_path, tiny, sine_codes):
    folder = make_shards({"a": sine_codes}, 16, 100)  # 160 windows, 40 batches
    rates, seen = [], []
    _, result = trainer.train(
        folder,
        tmp_path / "m",
        quick(model=tiny, epochs=None, steps=50, validate_every_steps=20),
        on_validation=lambda record, model: seen.append((record.epoch, record.step)),
        on_steps=lambda points: rates.extend((p.step, p.learning_rate) for p in points),
        progress=False,
    )
    assert (result.steps, result.stop_reason) == (50, "after 50 steps")
    assert seen == [(0.5, 20), (1, 40), (1.25, 50)]
    assert rates == [(n, pytest.approx(0.01 * (1 + math.cos(math.pi * (n - 1) / 50)) / 2)) for n in (20, 40)]


def test_a_budget_of_minutes_is_counted_by_the_clock_and_validated_once_more(make_shards, tmp_path, tiny, sine_codes):
    folder = make_shards({"a": sine_codes}, 16, 100)
    now = iter(range(10_000))
    params = quick(model=tiny, epochs=None, minutes=1, patience=None)
    _, result = trainer.train(folder, tmp_path / "m", params, clock=lambda: next(now), progress=False)
    assert result.stop_reason == "after 1 minutes"
    assert 60 <= result.elapsed <= 62
    assert result.history[-1].step == result.steps < 60
    assert result.history[-1].learning_rate < 0.0002  # the cosine has come down


@pytest.mark.slow
def test_on_batch_reports_progress_after_each_batch(make_shards, sine_codes, tmp_path):
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
    assert [progress.budget_used for progress in told] == pytest.approx(
        [n / len(told) for n in range(1, len(told) + 1)]
    )
    assert [progress.epoch for progress in told[batches - 1 :: batches]] == [1, 2]
    assert [progress.validation for progress in told if progress.validation] == scored == result.history


def test_on_batch_gets_no_model_with_weights_that_are_not_finite(make_shards, sine_codes, tmp_path, tiny, monkeypatch):
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
    _, result = trainer.train(folder, tmp_path / "m", quick(model=tiny, ema=0.9), on_batch=on_batch, progress=False)
    assert "step 44: the loss is nan" in result.stop_reason
    assert given == [True] * 42 + [False] * 7  # until the losses are fetched, after ten updates


@pytest.mark.slow
def test_time_in_callbacks_does_not_count_as_training_time(make_shards, sine_codes, tmp_path):
    folder = make_shards({"sine": sine_codes[:6000]}, 64, 256)
    _, result = trainer.train(
        folder, tmp_path / "model", quick(epochs=1), on_batch=lambda *_: time.sleep(0.2), progress=False
    )
    assert result.steps > 2
    assert result.seconds < result.elapsed - 0.2 * (result.steps - 1)


def test_a_training_does_not_wait_for_windows_that_its_shards_do_not_hold(make_shards, tmp_path, sine_codes, tiny):
    """Shards whose digests are right, of a manifest that promises more."""
    folder = make_shards({"a": sine_codes[:2000]}, 16, 100)
    split = folder.splits["train"]
    none = dataclasses.replace(split, windows=0, targets=0, bytes=0, shards=[])
    with pytest.raises(AudioRNNError, match="manifest.json: its split train has no windows; run dvc repro shard"):
        trainer.train(replaced(folder, none), tmp_path / "m", quick(model=tiny), progress=False)
    file = folder.folder / split.shards[0].file
    file.write_bytes(b"")
    held = dataclasses.replace(split.shards[0], bytes=0, sha256=sha256(file))
    with pytest.raises(AudioRNNError, match="its shards hold no windows; run dvc repro shard"):
        trainer.train(
            replaced(folder, dataclasses.replace(split, shards=[held])),
            tmp_path / "m",
            quick(model=tiny, batch_size=split.windows),  # a whole batch, none of which is there
            progress=False,
        )
    assert not (tmp_path / "m").exists()


def replaced(manifest, train):
    return dataclasses.replace(manifest, splits=manifest.splits | {"train": train})
