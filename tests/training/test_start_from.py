"""A training continues from the weights of another model, whichever way that one is named."""

import dataclasses
import shutil
import subprocess
import sys

import numpy as np
import pytest

from audiornn.errors import AudioRNNError
from audiornn.files import read_json, sha256, write_json
from audiornn.models import registry, storage
from audiornn.models.base import TrainingWindow
from audiornn.params import ModelParams, Params, Train
from audiornn.tracking.tags import ancestor_tags
from audiornn.training import loop, trainer
from audiornn.training.ancestor import find
from audiornn.training.checkpoints import Store, training_fingerprint
from audiornn.training.devices.steps import DeviceSteps
from stages import ancestor as stage
from tests.conftest import CODEC
from tests.helpers.pipeline_clone import SOURCE

RUN = "0123456789abcdef" * 2


class CrashError(Exception):
    """In place of a process that is gone."""


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """Let parameters name the model of tests/helpers/tiny_model.py."""
    monkeypatch.setitem(registry.REGISTRY, "tiny", "tests.helpers.tiny_model:Little")
    return ModelParams(name="tiny", units=8)


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


@pytest.fixture
def folder(tiny, tmp_path):
    """A model, as one that was trained for 7 updates is stored."""
    model = storage.build("tiny", **tiny.sizes)
    model.codec, model.window, model.trained_steps = CODEC, TrainingWindow(8, 8), 7
    storage.save(model, tmp_path / "first", {"mlflow.json": {"run_id": RUN}})
    return tmp_path / "first"


def test_it_begins_with_exactly_the_weights_statistics_and_averages_of_its_ancestor(data, tmp_path, monkeypatch):
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


def test_updates_are_counted_on_from_the_ancestor_while_history_and_budget_restart(data, folder, tiny, tmp_path):
    assert read_json(folder / "config.json")["trained_steps"] == 7
    assert storage.load(folder).trained_steps == 7
    params = settings(tiny, steps=5, start_from=str(folder))
    model, result = train(data, tmp_path / "second", params, log=tmp_path / "history.csv")
    assert (result.steps, result.history[-1].step, model.trained_steps) == (5, 5, 7 + result.best_step)
    assert find(str(tmp_path / "second")).steps == 7 + result.best_step
    assert find(str(tmp_path / "second")).run_id is None


def test_an_ancestor_of_an_earlier_version_has_no_known_number_of_updates(folder):
    config = read_json(folder / "config.json")
    del config["trained_steps"], config["weights_sha256"]
    write_json(folder / "config.json", config)
    found = find(str(folder))
    assert (found.steps, found.run_id) == (0, RUN)
    assert found.weights_sha256 == sha256(folder / "model.weights.h5")


def test_an_interrupted_fine_tuning_ends_as_if_it_had_not_been_and_another_ancestor_starts_from_scratch(
    data, folder, tiny, tmp_path, before_update, capfd
):
    params = settings(tiny, steps=9, validate_every_steps=3, checkpoint_steps=2, ema=0.9, start_from=str(folder))
    undisturbed, _ = train(data, tmp_path / "undisturbed", params)
    store = Store(tmp_path / "store")
    before_update(6, crash)
    with pytest.raises(CrashError):
        train(data, tmp_path / "disturbed", params, store=store)
    shutil.copytree(folder, tmp_path / "elsewhere")
    moved = params.model_copy(update={"start_from": str(tmp_path / "elsewhere")})  # the same weights
    capfd.readouterr()
    disturbed, _ = train(data, tmp_path / "disturbed", moved, store=store)
    assert "resuming after step" in "".join(capfd.readouterr())
    for one, other in zip(undisturbed.variables, disturbed.variables, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())
    for name in ("config.json", "model.weights.h5"):
        assert (tmp_path / "undisturbed" / name).read_bytes() == (tmp_path / "disturbed" / name).read_bytes()
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "undisturbed", folder)
    before_update(1, crash)
    with pytest.raises(CrashError):
        train(data, tmp_path / "disturbed", params, store=store)
    assert "from other settings, data or code: training starts from scratch" in "".join(capfd.readouterr())


def test_the_identity_of_a_training_is_that_of_the_weights_it_starts_from_wherever_they_are(data):
    one, other = Train().model_dump(), Train(start_from="somewhere").model_dump()
    assert training_fingerprint(one, data, "ab") == training_fingerprint(other, data, "ab")
    assert len({training_fingerprint(one, data, start) for start in (None, "ab", "cd")}) == 3


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
def test_what_differs_from_the_ancestor_is_said_in_a_line_with_both_values_and_the_parameter(
    data, folder, tiny, tmp_path, codec, model, said
):
    data = dataclasses.replace(data, codec=dataclasses.replace(data.codec, **codec))
    params = settings(ModelParams(**model) if model else tiny, steps=1, start_from=str(folder))
    with pytest.raises(AudioRNNError) as caught:
        train(data, tmp_path / "second", params)
    assert str(caught.value) == f"train.start_from is {str(folder)!r}, a model {said}: they must be equal"
    assert not (tmp_path / "second").exists()


def test_a_run_names_its_ancestor():
    assert ancestor_tags("models:/audiornn@champion", "ab", RUN) == {
        "ancestor.source": "models:/audiornn@champion",
        "ancestor.weights_sha256": "ab",
        "ancestor.run": RUN,
    }
    assert "ancestor.run" not in ancestor_tags("http://user:secret@host/x", "ab", None)
    assert "secret" not in str(ancestor_tags("http://user:secret@host/x", "ab", None))


# --- The stage -------------------------------------------------------------------------------------------------------


@pytest.fixture
def found(tmp_path, monkeypatch):
    """Run the stage in an experiment's copy of the workspace, which is `tmp_path`; what it finds."""
    copy = tmp_path / "copy"
    copy.mkdir()
    monkeypatch.chdir(copy)
    monkeypatch.setattr(stage, "WORKSPACE", tmp_path)

    def run(source):
        stage.main(Params(train=Train(start_from=source)))
        return read_json(copy / "data/ancestor.json")

    return run


def test_the_stage_identifies_a_folder_of_the_workspace_and_copies_nothing(found, folder, tmp_path):
    digest = sha256(folder / "model.weights.h5")
    wanted = {"source": "first", "weights_sha256": digest, "run_id": RUN, "steps": 7}
    assert found("first") == wanted
    assert found(str(folder)) == wanted | {"source": str(folder)}
    assert [path.name for path in (tmp_path / "copy/data").iterdir()] == ["ancestor.json"]


def test_the_stage_takes_what_mlflow_names(found, folder, monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(
        "audiornn.tracking.models.registry.model_folder",
        lambda workspace, source: asked.append((workspace, source)) or folder,
    )
    for source in ("models:/audiornn@champion", RUN):
        assert found(source)["source"] == source
    assert asked == [(tmp_path, "models:/audiornn@champion"), (tmp_path, RUN)]


def test_the_output_of_the_pipeline_is_refused_by_any_name_with_what_to_do(found, folder, tmp_path):
    shutil.copytree(folder, tmp_path / "models")
    (tmp_path / "link").symlink_to(tmp_path / "models")
    for source in ("models", "./models/", str(tmp_path / "models"), "first/../models", "link"):
        with pytest.raises(AudioRNNError, match=f"removes before it trains: copy it .* name its MLflow run, {RUN}"):
            found(source)


def test_missing_and_damaged_ancestors_are_refused_in_a_line(found, folder):
    for source in ("nowhere", "0" * 20, "first/config.json"):
        with pytest.raises(AudioRNNError, match=f"^train.start_from is '{source}', but must be .* is missing$"):
            found(source)
    content = bytearray((folder / "model.weights.h5").read_bytes())
    content[-100] ^= 1
    (folder / "model.weights.h5").write_bytes(content)
    with pytest.raises(AudioRNNError, match="damaged: its SHA-256 is not the one it was written with"):
        found("first")


def test_without_an_ancestor_the_stage_imports_neither_tensorflow_nor_mlflow(tmp_path):
    code = (
        "import sys; from stages import ancestor; from audiornn.params import Params; ancestor.main(Params()); "
        "assert not {'tensorflow', 'keras', 'mlflow', 'numba'} & sys.modules.keys(), sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env={"PYTHONPATH": str(SOURCE)}, check=True)
    assert read_json(tmp_path / "data/ancestor.json") is None
