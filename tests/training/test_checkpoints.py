"""A training that is interrupted, whenever and however, ends as if it had not been interrupted."""

import dataclasses
import errno
import os
import re
import shutil
import signal

import numpy as np
import pytest

from audiornn.common import sources
from audiornn.common.errors import AudioRNNError
from audiornn.dataset.windows import WindowLayout
from audiornn.params import ModelParams, Train
from audiornn.training import checkpoints, loop, trainer
from audiornn.training.checkpoints import CheckpointStore, training_fingerprint
from audiornn.training.devices.batch_plan import BatchPlan
from audiornn.training.devices.steps import DeviceSteps
from audiornn.training.progress import curves
from audiornn.training.progress.state import TrainingState
from tests.helpers.training import quick


class CrashError(Exception):
    """In place of a process that is gone."""


@pytest.fixture
def tiny(tiny):
    """With a state that is renewed every fourth code."""
    return ModelParams(name="tiny", hop=4)


@pytest.fixture
def at_update(monkeypatch):
    """Do something before the update of a number, counted from the start of the process."""
    update, count, planned = DeviceSteps.apply_gradients, [0], {}

    def watched(self, *arguments):
        count[0] += 1
        planned.pop(count[0], lambda: None)()
        return update(self, *arguments)

    monkeypatch.setattr(DeviceSteps, "apply_gradients", watched)

    def plan(number, what):
        count[0] = 0
        planned.clear()
        planned[number] = what

    return plan


def crash():
    raise CrashError


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


def run(folder, place, params, store=None):
    """Train; the weights, the log, the result, and what was reported: points by step, validations."""
    points, validations = {}, []

    def on_steps(new):
        for point in new:
            points[point.step] = (point.loss, point.learning_rate, point.gradient_norm)

    try:
        model, result = trainer.train(
            folder,
            place / "model",
            params,
            log=place / "history.csv",
            on_steps=on_steps,
            on_validation=lambda record, model: validations.append(record.step),
            store=store,
            progress=False,
        )
    except (CrashError, KeyboardInterrupt):
        return points, validations
    result = dataclasses.asdict(result) | {"seconds": 0, "elapsed": 0, "curve_sums": None}
    for record in result["history"]:
        record.pop("targets_per_second")
    return points, validations, model.get_weights(), (place / "history.csv").read_bytes(), result


SETTINGS = {
    "whole windows": {"batch_size": 4, "epochs": 3},
    "pieces": {
        "batch_size": 3,
        "chunk": 40,
        "crop_targets": 90,
        "ema": 0.9,
        "accumulation_steps": 2,
        "epochs": 3,
        "optimizer": "rmsprop",
    },
    "steps": {
        "batch_size": 4,
        "epochs": None,
        "steps": 37,
        "validate_every_steps": 15,
        "crop_targets": 60,
        "input_noise": 0.05,
        "patience": 1,
    },
}


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.slow
def test_an_interrupted_training_ends_as_if_it_had_not_been(
    make_shards, tmp_path, sine_codes, tiny, at_update, settings, monkeypatch
):
    monkeypatch.setattr(curves, "STEPS_PER_POINT", 4)
    folder = make_shards({"a": sine_codes[:5000]}, 16, 100)  # 50 windows
    params = Train(**{"model": tiny, "learning_rate": 0.02, "checkpoint_steps": 3, **SETTINGS[settings]})
    points, validations, *undisturbed = run(folder, tmp_path / "undisturbed", params)
    store, found_points, found_validations = CheckpointStore(tmp_path / "store"), {}, []
    for number, interruption in [(1, crash), (8, crash), (2, terminate), (5, crash), (13, terminate), (None, None)]:
        at_update(number, interruption)
        some_points, some_validations, *ended = run(folder, tmp_path / "disturbed", params, store)
        assert bool(ended) == (number is None)
        assert len(store.files) <= checkpoints.MAX_TO_KEEP
        assert all(points[step] == point for step, point in some_points.items())
        found_points |= some_points
        found_validations += [step for step in some_validations if step not in found_validations]
        if number == 8:  # DVC removes a stage's outputs before it runs again
            shutil.rmtree(tmp_path / "disturbed", ignore_errors=True)
    for one, other in zip(undisturbed[0], ended[0], strict=True):
        np.testing.assert_array_equal(one, other)
    assert undisturbed[1:] == ended[1:]
    assert (found_points, found_validations) == (points, validations)
    for name in ("config.json", "model.weights.h5"):
        one, other = ((tmp_path / place / "model" / name).read_bytes() for place in ("undisturbed", "disturbed"))
        assert one == other


@pytest.mark.slow
def test_a_terminated_training_saves_all_of_its_work_first(make_shards, tmp_path, sine_codes, tiny, at_update):
    folder = make_shards({"a": sine_codes[:5000]}, 16, 100)
    params = Train(model=tiny, batch_size=4, epochs=3)  # the next checkpoint would be minutes away
    store = CheckpointStore(tmp_path / "store")
    at_update(5, terminate)
    with pytest.raises(KeyboardInterrupt):
        trainer.train(folder, tmp_path / "m", params, store=store, progress=False)
    assert store.load()[1]["state"]["steps"] == 5
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    assert before == (signal.SIG_DFL, signal.default_int_handler)


@pytest.mark.slow
def test_a_signal_during_the_last_validation_is_not_swallowed_and_nothing_is_trained_twice(
    make_shards, tmp_path, sine_codes, tiny, monkeypatch, at_update, capfd
):
    folder = make_shards({"a": sine_codes[:2000]}, 16, 100)
    params, store = Train(model=tiny, batch_size=4, epochs=1), CheckpointStore(tmp_path / "store")
    undisturbed, state = trainer.train(folder, tmp_path / "undisturbed", params, progress=False)
    evaluate = loop.evaluate_dataset

    def interrupted(*arguments):
        terminate()
        return evaluate(*arguments)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop, "evaluate_dataset", interrupted)
        trainer.train(folder, tmp_path / "m", params, store=store, progress=False)
    assert "stopping after this update or validation, and saving; again to stop now" in capfd.readouterr().err
    at_update(1, lambda: pytest.fail("trained again"))
    resumed, ended = trainer.train(folder, tmp_path / "m", params, store=store, progress=False)
    assert (ended.steps, ended.stop_reason) == (state.steps, state.stop_reason)
    for one, other in zip(undisturbed.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_failed_checkpoint_prints_a_warning_and_training_continues(
    make_shards, tmp_path, sine_codes, tiny, monkeypatch, capsys
):
    folder = make_shards({"a": sine_codes[:2000]}, 16, 100)
    params = Train(model=tiny, batch_size=4, epochs=1, checkpoint_steps=2)

    def full(*arguments, **named):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    store = CheckpointStore(tmp_path / "store")
    _, state = trainer.train(folder, tmp_path / "m", params, store=store, progress=False)
    assert state.stop_reason == "after all 1 epochs"
    assert not store.files
    said = capsys.readouterr().out
    assert "no checkpoint at step 2: " in said
    assert re.search(r"000000002\.npz: the disk is full: [\d,]+ bytes are needed, [\d,]+ bytes are free", said)


@pytest.mark.slow
def test_a_checkpoint_of_other_settings_is_not_resumed_even_in_the_same_folder(
    make_shards, tmp_path, sine_codes, tiny, at_update, capsys
):
    folder = make_shards({"a": sine_codes[:2000]}, 16, 100)
    store = CheckpointStore(tmp_path / "store")
    params = {"model": tiny, "batch_size": 4, "epochs": 2}
    at_update(7, terminate)
    run(folder, tmp_path, Train(**params), store)
    at_update(2, terminate)
    run(folder, tmp_path, Train(**params | {"learning_rate": 0.001}), store)
    assert "from other settings, data or code: training starts from scratch" in capsys.readouterr().out
    assert [file.name for file in store.files] == ["000000002.npz"]


def test_a_damaged_checkpoint_is_reported_and_the_previous_one_used(tmp_path, capsys):
    store = CheckpointStore(tmp_path / "store")
    for step in range(5):
        store.save(step, [np.arange(step), np.float32([[1]])], {"step": step, "infinite": float("inf")})
    assert [file.name for file in store.files] == ["000000004.npz", "000000003.npz", "000000002.npz"]
    store.files[0].write_bytes(store.files[0].read_bytes()[:300])
    arrays, metadata = store.load()
    assert metadata == {"step": 3, "infinite": float("inf")}
    np.testing.assert_array_equal(arrays[0], np.arange(3))
    assert arrays[1].dtype == np.float32
    assert "000000004.npz: damaged" in capsys.readouterr().out
    for file in store.files:
        file.write_bytes(b"")
    assert store.load() is None


def test_a_checkpoint_holds_no_code(tmp_path):
    store = CheckpointStore(tmp_path)
    with pytest.raises(ValueError, match="allow_pickle"):
        store.save(1, [np.array([object()])], {})
    assert not list(tmp_path.iterdir())


def test_checkpoints_of_another_training_are_named_and_not_used(make_shards, tmp_path, sine_codes, capsys):
    manifest = make_shards({"a": sine_codes[:200]}, 16, 100)
    params = Train().model_dump()
    fingerprint = checkpoints.training_fingerprint(params, manifest)
    assert fingerprint == checkpoints.training_fingerprint(params | {"checkpoint_minutes": 7.0}, manifest)
    others = [
        checkpoints.training_fingerprint(params | {"learning_rate": 0.1}, manifest),
        checkpoints.training_fingerprint(params, dataclasses.replace(manifest, digest="0")),
        checkpoints.training_fingerprint(params, dataclasses.replace(manifest, layout=WindowLayout(17, 100, 100))),
    ]
    assert len({fingerprint, *others}) == 4
    tmp_path = tmp_path / "checkpoints"
    with pytest.raises(CrashError), checkpoints.locked_store(tmp_path, others[0]) as store:
        store.save(1, [], {})
        crash()
    with checkpoints.locked_store(tmp_path, fingerprint) as store:
        assert store.load() is None
        assert capsys.readouterr().out == f"{tmp_path}: not used, from other settings, data or code: {others[0]}\n"
        with checkpoints.locked_store(tmp_path, fingerprint) as second:  # at the same time
            assert second is None
            assert "in use by another training" in capsys.readouterr().out
        assert store.folder.is_dir()
    assert [path.name for path in tmp_path.iterdir()] == [others[0]]  # what ended well is gone
    with checkpoints.locked_store(tmp_path, others[0]) as store:
        assert store.load() == ([], {})


@pytest.mark.slow
def test_a_change_of_generation_code_leaves_an_interrupted_training_resumable_and_one_of_models_does_not(
    make_shards, tmp_path, sine_codes, tiny, at_update, monkeypatch, capsys
):
    package = tmp_path / "audiornn"
    shutil.copytree(sources.PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(sources, "PACKAGE", package)
    folder, store = make_shards({"a": sine_codes[:2000]}, 16, 100), CheckpointStore(tmp_path / "store")
    params = Train(model=tiny, batch_size=4, epochs=9)
    said = []
    for changed in ("models/base.py", "generation/fused/engine.py", "generation/new.py", "models/new.py"):
        (package / changed).write_text("...")
        at_update(4, terminate)
        run(folder, tmp_path, params, store)
        said.append(capsys.readouterr().out.partition("\n")[0])
    assert said[1:3] == [f"resuming after step {step}, where training was interrupted" for step in (4, 8)]
    assert "training starts from scratch" in said[3]
    assert [file.name for file in store.files] == ["000000004.npz"]


def test_only_code_that_can_change_a_training_is_part_of_its_fingerprint(
    monkeypatch, tmp_path, make_shards, sine_codes
):
    manifest = make_shards({"a": sine_codes[:50]}, 1, 1)
    package = tmp_path / "audiornn"
    shutil.copytree(sources.PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(sources, "PACKAGE", package)
    before = checkpoints.training_fingerprint({}, manifest)
    for name in ("generation/fused/engine.py", "serving.py", "cli.py", "generation/new.py", "tracking/runs.py"):
        (package / name).write_text("...")
        assert checkpoints.training_fingerprint({}, manifest) == before
    for name in ("models/new.py", "training/trainer.py", "kernels/gru.py", "dataset/shards.py"):
        (package / name).write_text("...")
        assert checkpoints.training_fingerprint({}, manifest) != before
        before = checkpoints.training_fingerprint({}, manifest)


def test_a_checkpoint_of_workers_with_own_shards_is_kept_for_as_many(tmp_path):
    store = checkpoints.CheckpointStore(tmp_path)
    two = checkpoints.Checkpointer(store, Train(), "same", writes=True, workers=2)
    two.save(TrainingState(steps=5), [np.zeros(3)])
    for workers, said in ((1, "2 workers with own shards, but this is a training without own"), (3, "2 workers .* 3 ")):
        other = checkpoints.Checkpointer(store, Train(), "same", writes=True, workers=workers)
        with pytest.raises(AudioRNNError, match=f"a checkpoint of {said}"):
            other.load()
    state, _ = two.load()
    assert state.steps == 5


def test_a_checkpoint_that_does_not_fit_the_model_is_refused(make_shards, tmp_path, sine_codes, tiny):
    folder = make_shards({"a": sine_codes[:2000]}, 16, 100)
    store = CheckpointStore(tmp_path / "store")
    params = quick(model=tiny, checkpoint_steps=2)
    plan = BatchPlan.for_windows(params, 16, 100, windows=folder.splits["train"].windows, hop=tiny.hop)
    fingerprint = [training_fingerprint(params.model_dump(), folder), dataclasses.asdict(plan)]
    store.save(9, [np.zeros(3)], {"fingerprint": fingerprint, "state": {"steps": 9}})
    with pytest.raises(AudioRNNError, match="store: does not fit the model; remove it and run again"):
        trainer.train(folder, tmp_path / "m", params, store=store, progress=False)


def test_a_training_is_identified_by_the_weights_it_starts_from_and_not_by_where_they_are(make_shards, sine_codes):
    folder = make_shards({"a": sine_codes[:2000]}, 16, 100)
    one, other = Train().model_dump(), Train(start_from="somewhere").model_dump()
    assert training_fingerprint(one, folder, "ab") == training_fingerprint(other, folder, "ab")
    assert len({training_fingerprint(one, folder, start) for start in (None, "ab", "cd")}) == 3
