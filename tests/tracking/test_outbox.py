"""What a run logs waits on disk until the store has taken it; it is delivered once and in order."""

import json
import shutil
import time

import mlflow
import pytest
from mlflow.exceptions import MlflowException

from audiornn import cli
from audiornn.common.serialization import write_json
from audiornn.tracking import delivery, outbox, runs, store
from tests.helpers.servers import free_port

pytestmark = pytest.mark.usefixtures("empty_store")


@pytest.fixture
def lost(monkeypatch):
    """Lose the store, and get it back, for what is delivered; `patience` is short."""
    monkeypatch.setattr(outbox, "PATIENCE", 0.5)
    monkeypatch.setattr(outbox, "LAST_DELAY", 0.1)
    real, gone = delivery.Delivery._log, []

    def deliver(self, *entry):
        if gone:
            raise MlflowException("gone: http://anna:secret@host")
        return real(self, *entry)

    monkeypatch.setattr(delivery.Delivery, "_log", deliver)
    return gone


def history(workspace, run_id, key):
    points = mlflow.MlflowClient(store.store(workspace)).get_metric_history(run_id, key)
    return [(point.step, point.value) for point in points]


def test_what_a_lost_store_missed_waits_on_disk_and_comes_in_order_by_sync(tmp_path, lost, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    clip = tmp_path / "clip.wav"
    with runs.pipeline_run(tmp_path, {"a": 1}, {}, "n") as log:
        log.log_metrics({"loss": 3.0}, step=1)
        log.outbox.close()
        lost.append("is")
        begin = time.monotonic()
        for step in (2, 3):
            log.log_curves({step: {"loss": 4.0 - step}})
        clip.write_bytes(b"one")
        log.log_artifact(clip, "listening")
        clip.write_bytes(b"two")  # what was logged is a copy
        assert time.monotonic() - begin < 1
    assert "4 entries wait in" in (said := capsys.readouterr().err)
    assert "gone: http://anna:***@host" in said
    write_json(tmp_path / "models" / runs.RUN_FILE, {"run_id": log.run_id})
    with runs.reopen(tmp_path, tmp_path / "models") as later:
        later.log_metrics({"test.bits": 2.0})
    assert history(tmp_path, log.run_id, "loss") == [(1, 3.0)]
    with pytest.raises(SystemExit, match="2"):
        cli.main(["sync"])
    assert f"run {log.run_id}: 5 entries wait" in capsys.readouterr().err
    entries = sorted((tmp_path / outbox.FOLDER / log.run_id).iterdir())
    kinds = [json.loads((entry / outbox.ENTRY).read_text())["kind"] for entry in entries]
    assert kinds == ["metrics", "metrics", "artifact", "ended", "metrics"]
    lost.clear()
    cli.main(["sync"])
    assert capsys.readouterr().out == f"run {log.run_id}: 5 entries delivered\n"
    cli.main(["sync"])
    assert capsys.readouterr().out == "nothing to deliver\n"
    assert history(tmp_path, log.run_id, "loss") == [(1, 3.0), (2, 2.0), (3, 1.0)]
    run = mlflow.MlflowClient().get_run(log.run_id)
    assert (run.info.status, run.data.metrics["test.bits"]) == ("FINISHED", 2.0)
    assert (tmp_path / "mlartifacts" / log.run_id / "artifacts/listening/clip.wav").read_bytes() == b"one"


def test_a_store_that_comes_back_gets_all_while_the_run_goes_on(tmp_path, lost):
    with runs.pipeline_run(tmp_path, {}, {}, "n") as log:
        lost.append("is")
        for step in range(5):
            log.log_curves({step: {"loss": 1.0 * step}})
        time.sleep(0.3)
        assert len(log.outbox.waiting) >= 5
        lost.clear()
        deadline = time.monotonic() + 20
        while log.outbox.waiting:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    assert history(tmp_path, log.run_id, "loss") == [(step, 1.0 * step) for step in range(5)]
    assert not log.outbox.folder.exists()


def test_a_run_whose_entries_are_all_delivered_leaves_no_outbox(tmp_path, monkeypatch):
    real = shutil.rmtree

    def slow(path, **options):
        if path.exists():
            time.sleep(0.2)
        real(path, **options)

    monkeypatch.setattr(shutil, "rmtree", slow)
    with runs.pipeline_run(tmp_path, {}, {}, "n") as log:
        log.log_metrics({"loss": 1.0})
    assert not log.outbox.folder.exists()


@pytest.mark.slow
def test_an_entry_that_was_delivered_but_not_removed_doubles_nothing(tmp_path, monkeypatch):
    write_json(tmp_path / "models/config.json", {})
    removed = []
    real = outbox.Outbox._take

    def twice(self, path):  # as after a kill between the two
        real(self, path)
        real(self, path)
        removed.append(path)

    monkeypatch.setattr(outbox.Outbox, "_take", twice)
    with runs.pipeline_run(tmp_path, {"a": 1}, {}, "n") as log:
        log.log_curves({1: {"loss": 2.0}, 2: {"loss": float("nan")}})
        log.log_dataset("ab" * 32, {})
        log.log_model(tmp_path / "models")
        log.set_tags({"b": 1})
    assert len(removed) == 6
    assert len(history(tmp_path, log.run_id, "loss")) == 2
    run = mlflow.MlflowClient(store.store(tmp_path)).get_run(log.run_id)
    assert (len(run.inputs.dataset_inputs), len(run.outputs.model_outputs)) == (1, 1)
    assert len(mlflow.search_logged_models([run.info.experiment_id], output_format="list")) == 1


def test_what_the_store_refuses_is_told_and_does_not_hold_up_the_rest(tmp_path, capsys):
    with runs.pipeline_run(tmp_path, {}, {}, "n") as log:
        log.log_metrics({"no:such?name!": 1.0})
        log.log_metrics({"loss": 1.0})
    assert "not logged to run" in capsys.readouterr().err
    assert history(tmp_path, log.run_id, "loss") == [(0, 1.0)]


def test_a_stage_that_is_rerun_doubles_no_point_and_hides_no_new_curve(tmp_path):
    with runs.pipeline_run(tmp_path, {}, {}, "n") as log:
        pass
    write_json(tmp_path / "models" / runs.RUN_FILE, {"run_id": log.run_id})
    for last in (3.0, 3.0, 2.5, 2.5):
        with runs.reopen(tmp_path, tmp_path / "models") as stage:
            stage.log_curves({1: {"context_bits": 5.0}, 8: {"context_bits": last}})
            stage.log_metrics({"test.bits_per_sample": last, "same": 1.0})
    assert history(tmp_path, log.run_id, "context_bits") == [(1, 5.0), (8, 3.0)]
    assert history(tmp_path, log.run_id, "context_bits.2") == [(1, 5.0), (8, 2.5)]
    assert history(tmp_path, log.run_id, "same") == [(0, 1.0)]
    assert history(tmp_path, log.run_id, "test.bits_per_sample") == [(0, 3.0), (0, 2.5)]
    assert mlflow.MlflowClient().get_run(log.run_id).data.metrics["test.bits_per_sample"] == 2.5


@pytest.mark.slow
def test_entries_for_another_store_are_kept_for_it(tmp_path, lost, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with runs.pipeline_run(tmp_path, {}, {}, "n") as log:
        lost.append("is")
    lost.clear()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/other.db")
    with pytest.raises(SystemExit):
        cli.main(["sync"])
    assert "entries wait for sqlite:///mlflow.db: set MLFLOW_TRACKING_URI to it" in capsys.readouterr().err
    assert log.outbox.waiting


@pytest.mark.slow
def test_a_lost_server_keeps_later_stages_and_the_promotion_waiting(tmp_path, lost, monkeypatch, capsys):
    write_json(tmp_path / "models/config.json", {})
    with runs.pipeline_run(tmp_path, {}, {}, "n") as log:
        log.outbox.close()
        lost.append("is")
        log.log_model(tmp_path / "models")
    write_json(tmp_path / "models" / runs.RUN_FILE, {"run_id": log.run_id})
    there = store.store(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    with runs.reopen(tmp_path, tmp_path / "models") as stage:
        stage.promote_if_better(4.0)
    lost.clear()
    assert len(stage.outbox.waiting) == 3
    with pytest.raises(store.StoreError, match="Connection refused"):  # which leaves it waiting
        stage.outbox._deliver("promotion", {"bits": 4.0}, None)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", there)
    stage.outbox._deliver = delivery.Delivery(store.client_of(tmp_path), tmp_path, log.run_id).deliver
    assert stage.outbox.deliver()
    assert "champion: version 1, the first" in capsys.readouterr().out


def test_a_later_stage_whose_server_was_never_lost_ends_in_one_line(tmp_path, monkeypatch):
    write_json(tmp_path / "models" / runs.RUN_FILE, {"run_id": "0" * 32})
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(store.StoreError, match="Connection refused"):
        runs.reopen(tmp_path, tmp_path / "models")
