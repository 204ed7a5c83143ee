"""One pipeline run is one MLflow run, wherever the stages run and whatever the store is."""

import mlflow
import pytest

from audiornn import tracking
from audiornn.files import write_json


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "DVC_EXP_NAME"):
        monkeypatch.delenv(name, raising=False)


def test_the_default_store_lies_in_the_workspace(tmp_path):
    assert tracking.store(tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("postgresql://user@host/db", "postgresql://user@host/db"),
        ("sqlite:////tmp/a.db", "sqlite:////tmp/a.db"),
        ("sqlite:///other.db", "sqlite:///{root}/other.db"),
        ("runs", "{root}/runs"),
        ("/tmp/runs", "/tmp/runs"),
        ("databricks", "databricks"),
        ("file:///tmp/runs", "file:///tmp/runs"),
    ],
)
def test_the_tracking_uri_of_the_environment_is_honoured_from_the_workspace(tmp_path, monkeypatch, given, meant):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", given)
    assert tracking.store(tmp_path) == meant.format(root=tmp_path)


def test_a_run_holds_params_metrics_tags_and_files(tmp_path):
    (tmp_path / "a.txt").write_text("a")
    params = {"shard": {"context": 7, "span": None}, "generate": {"temperature": (0.5, 1.0)}}
    with tracking.pipeline_run(tmp_path, params, {"data.digest": "abc"}, name="n") as log:
        log.metrics({"loss": 2.0, "nothing": None}, step=1)
        log.metrics({"loss": 1.0}, step=2)
        log.artifact(tmp_path / "a.txt", "files")
    client = mlflow.MlflowClient(tracking.store(tmp_path))
    run = client.get_run(log.run_id)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "n"
    assert run.data.params == {"shard.context": "7", "shard.span": "None", "generate.temperature": "[0.5, 1.0]"}
    assert run.data.metrics == {"loss": 1.0}
    assert [point.value for point in client.get_metric_history(log.run_id, "loss")] == [2.0, 1.0]
    assert run.data.tags["data.digest"] == "abc"
    assert [item.path for item in client.list_artifacts(log.run_id, "files")] == ["files/a.txt"]
    assert (tmp_path / "mlartifacts" / log.run_id / "artifacts/files/a.txt").read_text() == "a"


@pytest.mark.parametrize(("error", "status"), [(ValueError("why"), "FAILED"), (KeyboardInterrupt(), "KILLED")])
def test_a_run_that_fails_is_marked_so(tmp_path, error, status):
    with pytest.raises(type(error)), tracking.pipeline_run(tmp_path, {}, {}, name="n") as log:
        raise error
    run = mlflow.MlflowClient(tracking.store(tmp_path)).get_run(log.run_id)
    assert run.info.status == status
    assert run.data.tags.get("error", "why") == "why"


def test_a_run_that_was_interrupted_is_gone_on_with_and_repeats_nothing(tmp_path):
    file = tmp_path / "checkpoints" / "run.json"
    with pytest.raises(KeyboardInterrupt), tracking.pipeline_run(tmp_path, {"a": 1}, {}, "n", file) as log:
        log.metrics({"once": 5.0})
        log.curves({step: {"loss": 10.0 - step} for step in (20, 40, 60)}, prefix="step.")
        raise KeyboardInterrupt
    with tracking.pipeline_run(tmp_path, {"a": 2}, {}, "n", file) as again:
        client = mlflow.MlflowClient(tracking.store(tmp_path))
        assert again.run_id == log.run_id
        assert client.get_run(log.run_id).info.status == "RUNNING"
        again.metrics({"once": 5.0})
        again.curves({step: {"loss": 10.0 - step} for step in (40, 60)}, prefix="step.")
        again.curves({80: {"loss": 1.0}}, prefix="step.")
    run = client.get_run(log.run_id)
    assert (run.info.status, run.data.params) == ("FINISHED", {"a": "1"})
    points = [(point.step, point.value) for point in client.get_metric_history(log.run_id, "step.loss")]
    assert points == [(20, -10.0), (40, -30.0), (60, -50.0), (80, 1.0)]
    assert len(client.get_metric_history(log.run_id, "once")) == 1
    client.delete_run(log.run_id)  # by a person: then there is nothing to go on with
    with tracking.pipeline_run(tmp_path, {}, {}, "n", file) as new:
        assert new.run_id != log.run_id


def test_later_stages_write_on_into_the_run_of_the_training(tmp_path):
    with tracking.pipeline_run(tmp_path, {}, {}, name="n") as log:
        pass
    write_json(tmp_path / "models" / tracking.RUN_FILE, {"run_id": log.run_id})
    tracking.reopen(tmp_path, tmp_path / "models").metrics({"test.bits_per_sample": 3.0})
    client = mlflow.MlflowClient(tracking.store(tmp_path))
    assert client.get_run(log.run_id).data.metrics == {"test.bits_per_sample": 3.0}


def test_a_model_from_elsewhere_gets_a_run_that_names_its_origin(tmp_path):
    write_json(tmp_path / "models" / tracking.RUN_FILE, {"run_id": "0" * 32})
    log = tracking.reopen(tmp_path, tmp_path / "models")
    log.metrics({"a": 1.0})
    run = mlflow.MlflowClient(tracking.store(tmp_path)).get_run(log.run_id)
    assert run.data.tags["trained_in_run"] == "0" * 32
    again = tracking.reopen(tmp_path, tmp_path / "models")
    assert again.run_id == log.run_id, "evaluate and generate belong to the same run"


def test_a_dvc_experiment_gives_the_run_its_name(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_EXP_NAME", "tired-gibe")
    with tracking.pipeline_run(tmp_path, {}, {}, name="n") as log:
        pass
    assert mlflow.MlflowClient(tracking.store(tmp_path)).get_run(log.run_id).info.run_name == "tired-gibe"
