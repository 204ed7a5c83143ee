"""The stage `ancestor` identifies the model that training starts from."""

import shutil
import subprocess
import sys

import pytest

from audiornn.common.digests import sha256
from audiornn.common.errors import AudioRNNError
from audiornn.common.serialization import read_json
from audiornn.params import Params, Train
from stages import ancestor as stage
from tests.helpers.pipeline_clone import SOURCE
from tests.helpers.tiny_model import RUN, write_ancestor


@pytest.fixture
def ancestor_folder(tiny, tmp_path):
    return write_ancestor(tmp_path / "first")


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


def test_the_stage_identifies_a_folder_of_the_workspace_and_copies_nothing(found, ancestor_folder, tmp_path):
    digest = sha256(ancestor_folder / "model.weights.h5")
    wanted = {"source": "first", "weights_sha256": digest, "run_id": RUN, "steps": 7}
    assert found("first") == wanted
    assert found(str(ancestor_folder)) == wanted | {"source": str(ancestor_folder)}
    assert [path.name for path in (tmp_path / "copy/data").iterdir()] == ["ancestor.json"]


def test_the_stage_accepts_names_of_mlflow(found, ancestor_folder, monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(
        "audiornn.tracking.models.registry.model_folder",
        lambda workspace, source: asked.append((workspace, source)) or ancestor_folder,
    )
    for source in ("models:/audiornn@champion", RUN):
        assert found(source)["source"] == source
    assert asked == [(tmp_path, "models:/audiornn@champion"), (tmp_path, RUN)]


def test_the_output_of_the_pipeline_is_refused_under_any_name_with_advice(found, ancestor_folder, tmp_path):
    shutil.copytree(ancestor_folder, tmp_path / "models")
    (tmp_path / "link").symlink_to(tmp_path / "models")
    for source in ("models", "./models/", str(tmp_path / "models"), "first/../models", "link"):
        with pytest.raises(AudioRNNError, match=f"removes before it trains: copy it .* name its MLflow run, {RUN}"):
            found(source)


def test_missing_and_damaged_ancestors_are_refused_in_one_line(found, ancestor_folder):
    for source in ("nowhere", "0" * 20, "first/config.json"):
        with pytest.raises(AudioRNNError, match=f"^train.start_from is '{source}', but must be .* is missing$"):
            found(source)
    content = bytearray((ancestor_folder / "model.weights.h5").read_bytes())
    content[-100] ^= 1
    (ancestor_folder / "model.weights.h5").write_bytes(content)
    with pytest.raises(AudioRNNError, match="damaged: its SHA-256 is not the one it was written with"):
        found("first")


def test_without_an_ancestor_the_stage_imports_neither_tensorflow_nor_mlflow(tmp_path):
    code = (
        "import sys; from stages import ancestor; from audiornn.params import Params; ancestor.main(Params()); "
        "assert not {'tensorflow', 'keras', 'mlflow', 'numba'} & sys.modules.keys(), sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env={"PYTHONPATH": str(SOURCE)}, check=True)
    assert read_json(tmp_path / "data/ancestor.json") is None
