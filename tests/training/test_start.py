"""A training continues from the weights of another model, whichever way that one is named."""

import dataclasses
import shutil

import numpy as np
import pytest

from audiornn.common.errors import AudioRNNError
from audiornn.common.serialization import read_json
from audiornn.models import storage
from audiornn.models.base import TrainingWindow
from audiornn.params import ModelParams, Train
from audiornn.training import loop, trainer
from audiornn.training.ancestor import find
from audiornn.training.checkpoints import CheckpointStore
from audiornn.training.devices.steps import DeviceSteps
from tests.conftest import CODEC


class CrashError(Exception):
    """In place of a process that is gone."""


@pytest.fixture
def before_update(monkeypatch):
    """Call a function with the devices before the update of a number, counted from the start of the process."""
    update, count, planned = DeviceSteps.apply_gradients, [0], {}

    def watched(self, *arguments):
        count[0] += 1
        planned.pop(count[0], lambda devices: None)(self)
        return update(self, *arguments)

    monkeypatch.setattr(DeviceSteps, "apply_gradients", watched)

    def plan(number, what):
        count[0] = 0
        planned[number] = what

    return plan


def crash(devices):
    raise CrashError


def train(*arguments, **more):
    return trainer.train(*arguments, **more, progress=False)


def settings(model, **changes):
    return Train(**{"model": model, "batch_size": 4, "learning_rate": 0.02, "warmup_steps": 2, **changes})


@pytest.fixture
def data(make_shards, sine_codes):
    return make_shards({"a": sine_codes[:2000]}, 16, 100)  # 20 windows, 5 batches


def test_training_begins_with_exactly_the_weights_statistics_and_averages_of_its_ancestor(data, tmp_path, monkeypatch):
    sizes = {"dense": 4, "units": 4, "layers": 1}
    model, random = storage.build("audiornn", **sizes), np.random.default_rng(0)
    model.codec, model.window = CODEC, TrainingWindow(8, 8)
    wanted = [random.random(variable.shape, np.float32) for variable in model.variables]
    for variable, weight in zip(model.variables, wanted, strict=True):
        variable.assign(weight)
    storage.save(model, tmp_path / "first")
    found = {}

    def look(self, interrupted):
        found["weights"] = [variable.numpy() for variable in self.devices.model.variables]
        found["averages"] = [variable.numpy() for variable in self.devices.averages]
        raise CrashError

    monkeypatch.setattr(loop.Trainer, "fit", look)
    with pytest.raises(CrashError):
        params = settings(ModelParams(name="audiornn", **sizes), steps=1, ema=0.9, start_from=str(tmp_path / "first"))
        train(data, tmp_path / "second", params)
    paths = [variable.path for variable in model.variables]
    assert any("moving_variance" in path for path in paths) and any("logits/bias" in path for path in paths), paths
    for name in ("weights", "averages"):
        for one, other in zip(wanted, found[name], strict=True):
            np.testing.assert_array_equal(one, other, name)


@pytest.mark.slow
def test_the_number_of_updates_continues_from_the_ancestor_while_history_and_budget_restart(
    data, ancestor_folder, tiny, tmp_path
):
    assert read_json(ancestor_folder / "config.json")["trained_steps"] == 7
    assert storage.load(ancestor_folder).trained_steps == 7
    params = settings(tiny, steps=5, start_from=str(ancestor_folder))
    model, result = train(data, tmp_path / "second", params, log=tmp_path / "history.csv")
    assert (result.steps, result.history[-1].step, model.trained_steps) == (5, 5, 7 + result.best_step)
    assert find(str(tmp_path / "second")).steps == 7 + result.best_step
    assert find(str(tmp_path / "second")).run_id is None


@pytest.mark.slow
def test_an_interrupted_fine_tuning_ends_as_if_it_had_not_been_and_another_ancestor_starts_from_scratch(
    data, ancestor_folder, tiny, tmp_path, before_update, capfd
):
    params = settings(
        tiny, steps=9, validate_every_steps=3, checkpoint_steps=2, ema=0.9, start_from=str(ancestor_folder)
    )
    undisturbed, _ = train(data, tmp_path / "undisturbed", params)
    store = CheckpointStore(tmp_path / "store")
    before_update(6, crash)
    with pytest.raises(CrashError):
        train(data, tmp_path / "disturbed", params, store=store)
    shutil.copytree(ancestor_folder, tmp_path / "elsewhere")
    moved = params.model_copy(update={"start_from": str(tmp_path / "elsewhere")})  # the same weights
    capfd.readouterr()
    disturbed, _ = train(data, tmp_path / "disturbed", moved, store=store)
    assert "resuming after step" in "".join(capfd.readouterr())
    for one, other in zip(undisturbed.variables, disturbed.variables, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())
    for name in ("config.json", "model.weights.h5"):
        assert (tmp_path / "undisturbed" / name).read_bytes() == (tmp_path / "disturbed" / name).read_bytes()
    shutil.rmtree(ancestor_folder)
    shutil.copytree(tmp_path / "undisturbed", ancestor_folder)
    before_update(1, crash)
    with pytest.raises(CrashError):
        train(data, tmp_path / "disturbed", params, store=store)
    assert "from other settings, data or code: training starts from scratch" in "".join(capfd.readouterr())


@pytest.mark.parametrize(
    ("codec", "model", "said"),
    [
        ({"sample_rate": 16_000}, {}, "with resample.sample_rate 8000, but resample.sample_rate is 16000"),
        ({"highpass_hz": 5.0}, {}, "with resample.highpass_hz 20.0, but resample.highpass_hz is 5.0"),
        ({"preemphasis": 0.5}, {}, "with encode.preemphasis 0.95, but encode.preemphasis is 0.5"),
        ({}, {"name": "audiornn"}, "with train.model.name 'tiny', but train.model.name is 'audiornn'"),
        ({}, {"name": "tiny", "units": 9}, "with train.model.units 8, but train.model.units is 9"),
        ({}, {"name": "tiny", "hop": 2}, "with train.model.hop 1, but train.model.hop is 2"),
    ],
)
def test_each_difference_from_the_ancestor_is_a_line_with_the_parameter_and_both_values(
    data, ancestor_folder, tiny, tmp_path, codec, model, said
):
    data = dataclasses.replace(data, codec=dataclasses.replace(data.codec, **codec))
    params = settings(ModelParams(**model) if model else tiny, steps=1, start_from=str(ancestor_folder))
    with pytest.raises(AudioRNNError) as caught:
        train(data, tmp_path / "second", params)
    assert str(caught.value) == f"train.start_from is {str(ancestor_folder)!r}, a model {said}: they must be equal"
    assert not (tmp_path / "second").exists()
