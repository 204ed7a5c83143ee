"""One pipeline run is one MLflow run, wherever the stages run and whatever the store is."""

import json
import sys
import time

import mlflow
import pytest

from audiornn.errors import AudioRNNError
from audiornn.files import read_json, write_json
from audiornn.provenance import command
from audiornn.tracking import runs, store
from audiornn.tracking.models import registry
from audiornn.tracking.tags import VALIDATION_DIGEST_TAG, provenance_tags
from audiornn.tracking.trials import Pruned

pytestmark = pytest.mark.usefixtures("empty_store")
DIGEST, PROFILE = "ab" * 32, {"context": 3, "targets_per_window": 4, "train": {"windows": 2, "targets": 9, "bytes": 50}}


def test_the_default_store_is_in_the_workspace(tmp_path):
    assert store.store(tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"


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
    assert store.store(tmp_path) == meant.format(root=tmp_path)


def test_a_run_holds_params_metrics_tags_and_files(tmp_path):
    (tmp_path / "a.txt").write_text("a")
    params = {"shard": {"context": 7, "targets_per_window": None}, "generate": {"temperature": (0.5, 1.0)}}
    with runs.pipeline_run(tmp_path, params, {"data.digest": "abc"}, name="n") as log:
        log.metrics({"loss": 2.0, "nothing": None}, step=1)
        log.metrics({"loss": 1.0}, step=2)
        log.artifact(tmp_path / "a.txt", "files")
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
        log.dataset(DIGEST, PROFILE)
        log.dataset(DIGEST, PROFILE)  # as a resumed run does
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


@pytest.mark.parametrize(
    ("ancestors", "said"),
    [
        ([["sh", "-c", "x"], ["python", "/env/bin/dvc", "repro", "train"], ["bash"]], "dvc repro train"),
        ([["python", "-m", "dvc", "exp", "run", "-S", "a=b c"]], "dvc exp run -S 'a=b c'"),
        ([["python", "-m", "dvc", "exp", "exec-run", "--infofile", "x"], ["python", "worker"]], "dvc queue start"),
        ([["vim", "notes", "about", "dvc"], []], "python -m stages.train"),
    ],
)
def test_the_command_of_a_run_can_be_typed_again(monkeypatch, ancestors, said):
    class Process:
        def __init__(self, words=None):
            self.cmdline = lambda: words

        def parents(self):
            return [Process(words) for words in ancestors]

    monkeypatch.setattr("psutil.Process", Process)
    monkeypatch.setattr(sys, "orig_argv", ["/env/bin/python", "-m", "stages.train"])
    assert command.command() == said
    if said == "python -m stages.train":
        monkeypatch.setattr(sys, "orig_argv", ["/env/bin/python", "/env/bin/audiornn", "experiment", "x"])
        assert command.command() == "audiornn experiment x"


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


@pytest.fixture
def run_with_model(tmp_path):
    """A finished run whose model needs the given bits per sample; its id."""
    write_json(tmp_path / "models/config.json", {})

    def make(bits, validated_on="a", ratio=None, flawed=None):
        with runs.pipeline_run(tmp_path, {"a": 1}, {VALIDATION_DIGEST_TAG: validated_on}, name="n") as log:
            log.model(tmp_path / "models")
            log.metrics({store.CHAMPION_METRIC: bits, store.RATIO: ratio, store.FLAWED: flawed})
        return log.run_id

    return make


def test_the_best_on_the_same_validation_split_is_champion_and_a_person_may_choose_another(tmp_path, run_with_model):
    first, worse, better, other = (run_with_model(*run) for run in ((4.0,), (4.5,), (3.5,), (1.0, "b")))
    assert registry.champion(tmp_path) is None
    assert registry.promote_if_better(tmp_path, first) == "champion: version 1, the first"
    assert registry.promote_if_better(tmp_path, first) == "champion: still version 1, this model"
    assert registry.promote_if_better(tmp_path, worse) == (
        "champion: still version 1, by bits, as no sound was measured: this model has 4.500 bits per sample, sound not "
        "measured; version 1 has 4.000 bits per sample, sound not measured"
    )
    assert "champion: version 2, this model, by bits, " in registry.promote_if_better(tmp_path, better)
    assert registry.champion(tmp_path).run_id == better
    said = registry.promote_if_better(tmp_path, other)
    assert "still version 2, which was validated on other recordings" in said
    assert said.endswith(f"audiornn promote {other}")
    assert registry.promote(tmp_path, other) == "3"
    assert registry.champion(tmp_path).run_id == other
    assert registry.promote(tmp_path, first) == "1", "a model is registered once"
    folder = registry.model_folder(tmp_path, "models:/audiornn@champion")
    assert folder == registry.model_folder(tmp_path, first) == registry.model_folder(tmp_path, "models:/audiornn/1")
    assert read_json(folder / "config.json") == {}


def test_a_model_that_predicts_better_but_sounds_worse_does_not_become_champion(tmp_path, run_with_model):
    before = run_with_model(4.0)  # when sound was not measured
    noisy, good, noisier = (run_with_model(*run) for run in ((3.0, "a", 1.4, 1.0), (4.2, "a", 0.8, 0.125), (2.0, "a")))
    registry.promote(tmp_path, before)
    assert "still version 1, by sound" in registry.promote_if_better(tmp_path, noisy)
    assert registry.promote_if_better(tmp_path, good) == (
        "champion: version 2, this model, by sound, which was measured for one model only and is acceptable: this "
        "model has 4.200 bits per sample, distance 0.80 of the limit, 12% of clips with findings; version 1 has 4.000 "
        "bits per sample, sound not measured"
    )
    assert "still version 2, by sound" in registry.promote_if_better(tmp_path, noisy)
    assert "still version 2, by sound" in registry.promote_if_better(tmp_path, noisier), "unknown sound does not do"
    tags = registry.champion(tmp_path).tags
    assert (tags[store.CHAMPION_METRIC], tags[store.RATIO], tags[store.FLAWED]) == ("4.2", "0.8", "0.125")
    client = mlflow.MlflowClient(store.store(tmp_path))
    client.log_metric(good, store.RATIO, 0.9)  # measured again, with other limits of the draws
    assert "still version 2, this model" in registry.promote_if_better(tmp_path, good)
    assert registry.champion(tmp_path).tags[store.RATIO] == "0.9"
    assert registry.promote(tmp_path, noisier) == "3", "by hand anything can be chosen"


def test_the_bits_of_a_model_from_another_run_are_reported(tmp_path, run_with_model):
    run_id = run_with_model(None, "a", 0.5, 0.0)
    assert registry.promote_if_better(tmp_path, run_id, bits=4.0) == "champion: version 1, the first"
    assert registry.champion(tmp_path).tags[store.CHAMPION_METRIC] == "4.0"


def test_the_list_of_runs_has_columns_for_bits_and_sound(tmp_path):
    page = store.runs_page(tmp_path)
    experiment = page.split("/")[3]
    tags = mlflow.MlflowClient(store.store(tmp_path)).get_experiment(experiment).tags
    columns = json.loads(tags["mlflow.sharedViewState.audiornn"])["selectedColumns"]
    for metric in (store.CHAMPION_METRIC, store.RATIO, store.FLAWED):
        assert f"metrics.`{metric}`" in columns


def test_a_champion_has_a_model_and_was_evaluated(tmp_path, run_with_model):
    with runs.pipeline_run(tmp_path, {}, {}, name="n") as log:
        pass
    for run_id, said in (
        ("0" * 32, "no model found"),
        (log.run_id, "the run has no model"),
        (run_with_model(None), "only an evaluated model can become champion"),
    ):
        with pytest.raises(AudioRNNError, match=said) as error:
            registry.promote(tmp_path, run_id)
        assert run_id in str(error.value)
    for source in ("models:/audiornn@champion", "models:/nobody/1", log.run_id):
        with pytest.raises(AudioRNNError, match="no model found") as error:
            registry.model_folder(tmp_path, source)
        assert source in str(error.value)
        assert "\n" not in str(error.value)


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
        log.metrics({"once": 5.0})
        log.curves({step: {"loss": 10.0 - step} for step in (20, 40, 60)}, prefix="step.")
        raise KeyboardInterrupt
    with runs.pipeline_run(tmp_path, {"a": 2}, {}, "n", file) as again:
        client = mlflow.MlflowClient(store.store(tmp_path))
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
    client.delete_run(log.run_id)  # by a person: then there is nothing to resume
    with runs.pipeline_run(tmp_path, {}, {}, "n", file) as new:
        assert new.run_id != log.run_id


def test_later_stages_write_into_the_run_of_the_training(tmp_path):
    with runs.pipeline_run(tmp_path, {}, {}, name="n") as log:
        pass
    write_json(tmp_path / "models" / runs.RUN_FILE, {"run_id": log.run_id})
    with runs.reopen(tmp_path, tmp_path / "models") as later:
        later.metrics({"test.bits_per_sample": 3.0})
    client = mlflow.MlflowClient(store.store(tmp_path))
    assert client.get_run(log.run_id).data.metrics == {"test.bits_per_sample": 3.0}


def test_a_model_from_elsewhere_gets_a_run_that_names_its_origin(tmp_path):
    write_json(tmp_path / "models" / runs.RUN_FILE, {"run_id": "0" * 32})
    with runs.reopen(tmp_path, tmp_path / "models") as log:
        log.metrics({"a": 1.0})
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
