"""One pipeline run is one MLflow run, wherever the stages run and whatever the store is."""

import json
import time

import mlflow
import pytest

from audiornn.common.serialization import write_json
from audiornn.tracking import runs, store
from audiornn.tracking.models import registry
from audiornn.tracking.tags import provenance_tags
from audiornn.tracking.trials import Pruned

pytestmark = pytest.mark.usefixtures("empty_store")
DIGEST, PROFILE = "ab" * 32, {"context": 3, "targets_per_window": 4, "train": {"windows": 2, "targets": 9, "bytes": 50}}


def test_a_run_holds_params_metrics_tags_and_files(tmp_path):
    (tmp_path / "a.txt").write_text("a")
    params = {"shard": {"context": 7, "targets_per_window": None}, "generate": {"temperature": (0.5, 1.0)}}
    with runs.pipeline_run(tmp_path, params, {"data.digest": "abc"}, name="n") as log:
        log.log_metrics({"loss": 2.0, "nothing": None}, step=1)
        log.log_metrics({"loss": 1.0}, step=2)
        log.log_artifact(tmp_path / "a.txt", "files")
    client = mlflow.MlflowClient(store.store(tmp_path))
    run = client.get_run(log.run_id)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "n"
    assert run.data.params == {
        "shard.context": "7",
        "shard.targets_per_window": "None",
        "generate.temperature": "[0.5, 1.0]",
    }
    assert run.data.metrics == {"loss": 1.0}
    assert [point.value for point in client.get_metric_history(log.run_id, "loss")] == [2.0, 1.0]
    assert run.data.tags["data.digest"] == "abc"
    assert [item.path for item in client.list_artifacts(log.run_id, "files")] == ["files/a.txt"]
    assert (tmp_path / "mlartifacts" / log.run_id / "artifacts/files/a.txt").read_text() == "a"


def test_the_data_set_is_the_input_of_the_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outs = [{"path": "data/shard", "md5": "12.dir"}]
    (tmp_path / "dvc.lock").write_text(json.dumps({"stages": {"shard": {"outs": outs}, "train": {"outs": []}}}))
    with runs.pipeline_run(tmp_path, {}, {}, name="n") as log:
        log.log_dataset(DIGEST, PROFILE)
        log.log_dataset(DIGEST, PROFILE)  # as a resumed run does
    run = mlflow.MlflowClient(store.store(tmp_path)).get_run(log.run_id)
    (given,) = run.inputs.dataset_inputs
    assert (given.dataset.name, given.dataset.digest) == ("shards", "ab" * 16)
    assert [(tag.key, tag.value) for tag in given.tags] == [("mlflow.data.context", "training")]
    assert json.loads(given.dataset.source) == {"path": "data/shard", "md5": "12.dir"}
    assert json.loads(given.dataset.profile)["train"] == {"windows": 2, "targets": 9, "bytes": 50}
    # The lock's digest speaks of what was done before the training, and of nothing that it itself will change.
    digest = run.data.tags["dvc.lock.digest"]
    (tmp_path / "dvc.lock").write_text(json.dumps({"stages": {"shard": {"outs": outs}}}))
    assert provenance_tags()["dvc.lock.digest"] == digest
    (tmp_path / "dvc.lock").write_text(json.dumps({"stages": {"shard": {"outs": [*outs, outs[0]]}}}))
    assert provenance_tags()["dvc.lock.digest"] != digest


def test_the_use_of_cpu_and_memory_is_logged_while_a_run_lasts(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.2")
    client, name = mlflow.MlflowClient(store.store(tmp_path)), "system/system_memory_usage_megabytes"
    file, deadline = tmp_path / "run.json", time.monotonic() + 60
    with pytest.raises(KeyboardInterrupt), runs.pipeline_run(tmp_path, {}, {}, "n", file) as log:
        while not client.get_metric_history(log.run_id, name):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        raise KeyboardInterrupt
    first = client.get_metric_history(log.run_id, name)
    with runs.pipeline_run(tmp_path, {}, {}, "n", file):
        while len(client.get_metric_history(log.run_id, name)) == len(first):
            assert time.monotonic() < deadline
            time.sleep(0.1)
    steps = [point.step for point in client.get_metric_history(log.run_id, name)]
    assert steps == list(range(len(steps))), "a resumed run counts on"
    assert "system/cpu_utilization_percentage" in client.get_run(log.run_id).data.metrics


@pytest.mark.parametrize(
    ("error", "status"), [(ValueError("why"), "FAILED"), (KeyboardInterrupt(), "KILLED"), (Pruned("why"), "KILLED")]
)
def test_a_failed_run_is_marked_as_failed(tmp_path, error, status):
    with pytest.raises(type(error)), runs.pipeline_run(tmp_path, {}, {}, name="n") as log:
        raise error
    run = mlflow.MlflowClient(store.store(tmp_path)).get_run(log.run_id)
    assert run.info.status == status
    assert run.data.tags.get("error", "why") == "why"
    assert run.data.tags.get("stopped") == ("pruned why" if isinstance(error, Pruned) else None)


def test_an_interrupted_run_is_resumed_and_repeats_nothing(tmp_path):
    file = tmp_path / "checkpoints" / "run.json"
    with pytest.raises(KeyboardInterrupt), runs.pipeline_run(tmp_path, {"a": 1}, {}, "n", file) as log:
        log.log_metrics({"once": 5.0})
        log.log_curves({step: {"loss": 10.0 - step} for step in (20, 40, 60)}, prefix="step.")
        raise KeyboardInterrupt
    with runs.pipeline_run(tmp_path, {"a": 2}, {}, "n", file) as again:
        client = mlflow.MlflowClient(store.store(tmp_path))
        assert again.run_id == log.run_id
        assert client.get_run(log.run_id).info.status == "RUNNING"
        again.log_metrics({"once": 5.0})
        again.log_curves({step: {"loss": 10.0 - step} for step in (40, 60)}, prefix="step.")
        again.log_curves({80: {"loss": 1.0}}, prefix="step.")
    run = client.get_run(log.run_id)
    assert (run.info.status, run.data.params) == ("FINISHED", {"a": "1"})
    points = [(point.step, point.value) for point in client.get_metric_history(log.run_id, "step.loss")]
    assert points == [(20, -10.0), (40, -30.0), (60, -50.0), (80, 1.0)]
    assert len(client.get_metric_history(log.run_id, "once")) == 1
    client.delete_run(log.run_id)  # by a person: then there is nothing to resume
    with runs.pipeline_run(tmp_path, {}, {}, "n", file) as new:
        assert new.run_id != log.run_id


def test_later_stages_write_into_the_run_of_the_training(tmp_path):
    with runs.pipeline_run(tmp_path, {}, {}, name="n") as log:
        pass
    write_json(tmp_path / "models" / runs.RUN_FILE, {"run_id": log.run_id})
    with runs.reopen(tmp_path, tmp_path / "models") as later:
        later.log_metrics({"test.bits_per_sample": 3.0})
    client = mlflow.MlflowClient(store.store(tmp_path))
    assert client.get_run(log.run_id).data.metrics == {"test.bits_per_sample": 3.0}


def test_a_model_from_elsewhere_gets_a_run_that_names_its_origin(tmp_path):
    write_json(tmp_path / "models" / runs.RUN_FILE, {"run_id": "0" * 32})
    with runs.reopen(tmp_path, tmp_path / "models") as log:
        log.log_metrics({"a": 1.0})
    assert (registry.model_folder(tmp_path, log.run_id) / runs.RUN_FILE).exists()
    run = mlflow.MlflowClient(store.store(tmp_path)).get_run(log.run_id)
    assert run.data.tags["trained_in_run"] == "0" * 32
    again = runs.reopen(tmp_path, tmp_path / "models")
    assert again.run_id == log.run_id, "evaluate and generate belong to the same run"


def test_a_dvc_experiment_gives_the_run_its_name(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_EXP_NAME", "tired-gibe")
    with runs.pipeline_run(tmp_path, {}, {}, name="n") as log:
        pass
    assert mlflow.MlflowClient(store.store(tmp_path)).get_run(log.run_id).info.run_name == "tired-gibe"
