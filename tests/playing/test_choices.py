"""Which models there are to play."""

import pytest

from audiornn.common.errors import AudioRNNError
from audiornn.common.serialization import write_json
from audiornn.playing import choices as choices_module
from audiornn.playing.choices import Choices
from audiornn.tracking import runs, store
from audiornn.tracking.models import registry
from tests.helpers.playing import save_model
from tests.helpers.servers import free_port


@pytest.mark.slow
def test_the_given_model_comes_first_then_the_last_training_then_those_of_mlflow(tmp_path, empty_store):
    save_model(tmp_path / "models")
    with runs.pipeline_run(tmp_path, {"a": 1}, {}, name="n", run_file=tmp_path / "run.json") as log:
        log.log_model(tmp_path / "models")
        log.log_metrics({store.CHAMPION_METRIC: 4.5, store.RATIO_METRIC: 0.7, store.FLAWED_METRIC: 0.25})
    write_json(tmp_path / "models" / runs.RUN_FILE, {"run_id": log.run_id})
    registry.promote(tmp_path, log.run_id)
    choices = Choices(tmp_path, "models:/audiornn@champion")
    found = choices.refresh()
    assert [choice.source for choice in found] == [
        "models:/audiornn@champion",
        "models",
        "models:/audiornn/1",
        log.run_id,
    ]
    assert [choice.standing and choice.standing.ratio for choice in found] == [None, 0.7, 0.7, 0.7]
    assert "version 1, champion" in [choice.title for choice in found]
    assert choices.default == found[0].id
    assert len({choices.load(choice.source).digest for choice in found}) == 1


def test_a_missing_store_is_not_created(tmp_path):
    with pytest.raises(AudioRNNError, match="no model, and none in MLflow: train one with dvc repro"):
        Choices(tmp_path).refresh()
    assert not list(tmp_path.iterdir())


def test_without_the_store_models_on_disk_are_listed_with_a_warning(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(store.StoreError, match="Connection refused"):
        Choices(tmp_path).refresh()
    save_model(tmp_path / "models")
    assert [choice.source for choice in Choices(tmp_path).refresh()] == ["models"]
    assert "warning: models of MLflow are not listed: " in capsys.readouterr().err


def test_a_model_can_only_be_named_by_an_id_of_the_list(workspace):
    choices = Choices(workspace)
    assert choices[choices.refresh()[0].id].source == "models"
    for text in ("models", "../models", str(workspace / "models"), ""):
        with pytest.raises(AudioRNNError, match="must be an id of the list of models"):
            choices[text]


@pytest.mark.parametrize(("source", "times"), [("models:/a/1", 1), ("0" * 32, 1), ("models:/a@best", 2), ("models", 2)])
def test_versions_and_runs_are_looked_up_once_as_they_cannot_change(tmp_path, monkeypatch, source, times):
    save_model(tmp_path / "models")
    looked_up = []

    def source_folder(source, workspace):
        looked_up.append(source)
        return tmp_path / "models"

    monkeypatch.setattr(choices_module, "source_folder", source_folder)
    choices = Choices(tmp_path)
    assert choices.load(source) is choices.load(source)
    assert looked_up == [source] * times


def test_changed_weights_are_loaded_again(tmp_path):
    choices = Choices(tmp_path)
    save_model(tmp_path / "models")
    first = choices.load("models")
    assert choices.load("models") is first
    save_model(tmp_path / "models", seed=1)
    second = choices.load("models")
    assert second.digest != first.digest
    with pytest.raises(AudioRNNError, match="models: is not the model of the take"):
        choices.find(first.digest, "models")
