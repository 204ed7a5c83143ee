"""The store: created whole or not at all, by any number of processes; a server that is not there is named at once."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import mlflow
import pytest

from audiornn import cli
from audiornn.common.errors import AudioRNNError
from audiornn.tracking import runs, store
from tests.helpers.servers import free_port


def writer(workspace, name, count, points):
    command = [sys.executable, "-m", "tests.helpers.run_writer", str(workspace), name, str(count), str(points)]
    return subprocess.Popen(command, env={**os.environ, "MLFLOW_TRACKING_URI": ""}, stderr=subprocess.PIPE, text=True)


def check_that_nothing_is_lost(workspace, names, count, points):
    client = mlflow.MlflowClient(store.store(workspace))
    (experiment,) = client.search_experiments(filter_string=f"name = '{store.EXPERIMENT}'")
    found = client.search_runs([experiment.experiment_id], max_results=1000)
    assert {run.info.run_name for run in found} == {f"{name} {i}" for name in names for i in range(count)}
    assert len(found) == len(names) * count
    assert {run.info.status for run in found} == {"FINISHED"}
    for run in found[::10]:
        history = client.get_metric_history(run.info.run_id, "loss")
        assert [point.step for point in history] == list(range(points))


@pytest.mark.slow
def test_a_store_that_many_processes_create_and_fill_loses_no_run(tmp_path):
    names = [f"w{i}" for i in range(4)]
    writers = [writer(tmp_path, name, 25, 4) for name in names]
    for process in writers:
        _, said = process.communicate()
        assert (process.returncode, said) == (0, "")
    check_that_nothing_is_lost(tmp_path, names, 25, 4)


@pytest.mark.slow
def test_a_store_whose_creation_was_killed_is_created_again(tmp_path):
    for seconds in (0.0, 0.5):
        process = writer(tmp_path, "killed", 1, 1)
        while not list(tmp_path.glob(".mlflow.*")):
            assert process.poll() is None
            time.sleep(0.01)
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert not (tmp_path / store.DATABASE).exists()
    with runs.pipeline_run(tmp_path, {}, {}, "after 0") as log:
        log.log_metrics({"a": 1.0})
    check_that_nothing_is_lost(tmp_path, ["after"], 1, 0)
    assert {path.name for path in tmp_path.iterdir()} == {"mlflow.db", "mlflow.db.lock", ".audiornn"}


@pytest.mark.slow
def test_an_incomplete_store_is_replaced_and_a_file_that_is_not_a_database_is_named(tmp_path):
    path = tmp_path / store.DATABASE
    with closing(sqlite3.connect(path)) as database:
        for table in ("_alembic_tmp_experiments", "runs", "alembic_version"):
            database.execute(f"create table {table} (a)")
    client = store.client_of(tmp_path)
    assert store.experiment_id(client, tmp_path) == store.experiment_id(client, tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    (other / store.DATABASE).write_text("It is a text, and a long one. " * 100)
    with pytest.raises(AudioRNNError, match="other/mlflow.db: not readable as a SQLite database"):
        store._create(other / store.DATABASE)


def test_a_deleted_experiment_is_restored(empty_store, tmp_path):
    client = store.client_of(tmp_path)
    before = store.experiment_id(client, tmp_path)
    client.delete_experiment(before)
    assert store.experiment_id(client, tmp_path) == before
    assert client.get_experiment(before).lifecycle_stage == "active"


@contextmanager
def absent(how):
    """The port of a server that refuses connections, never answers, or answers with an error."""
    if how == "refuses":
        yield free_port()
    elif how == "hangs":
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            listening.listen()
            yield listening.getsockname()[1]
    else:

        class Failing(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_error(500)

            def log_message(self, *_):
                pass

        with HTTPServer(("127.0.0.1", 0), Failing) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield server.server_port
            server.shutdown()


@pytest.mark.parametrize(
    ("scheme", "how"),
    [("http", "refuses"), ("http", "hangs"), ("http", "fails"), ("postgresql", "refuses"), ("postgresql", "hangs")],
)
def test_an_unreachable_server_is_named_in_one_line_within_seconds(tmp_path, monkeypatch, capsys, scheme, how):
    monkeypatch.chdir(tmp_path)
    with absent(how) as port:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"{scheme}://anna:secret@127.0.0.1:{port}/db")
        begin = time.monotonic()
        with pytest.raises(SystemExit) as ended:
            cli.main(["ui"])
    assert time.monotonic() - begin < 10
    assert ended.value.code == 2
    said = capsys.readouterr()
    (line,) = said.err.splitlines()
    assert line.startswith(f"error: tracking server {scheme}://anna:***@127.0.0.1:{port}/db")
    assert "secret" not in said.out + said.err


def test_a_server_that_closes_a_connection_once_is_asked_again(tmp_path, monkeypatch):
    asked = []

    class Closing(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            if len(asked) > 1:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b'{"experiment": {"experiment_id": "1", "name": "audiornn"}}')
            self.close_connection = True

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Closing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.server_port}")
        store.client_of(tmp_path)
        server.shutdown()
    assert len(asked) == 2


def test_the_time_for_a_first_answer_can_be_set(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with absent("hangs") as port:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
        begin = time.monotonic()
        with pytest.raises(AudioRNNError, match="not available: timed out"):
            store.client_of(tmp_path)
    assert 1 <= time.monotonic() - begin < store.PROBE_SECONDS


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://anna:s:e/c@ret@host:5000/a", "http://anna:***@host:5000/a"),
        ("postgresql+psycopg2://:x@/db failed", "postgresql+psycopg2://:***@/db failed"),
        (
            "postgresql:///db?user=anna&password=x&sslmode=require",
            "postgresql:///db?user=anna&password=***&sslmode=require",
        ),
        ("http://host:5000/a", "http://host:5000/a"),
        ("sqlite:////tmp/a.db", "sqlite:////tmp/a.db"),
    ],
)
def test_passwords_are_masked(text, shown):
    assert store.masked(text) == shown


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


def test_the_list_of_runs_has_columns_for_bits_and_sound(empty_store, tmp_path):
    page = store.runs_page(tmp_path)
    experiment = page.split("/")[3]
    tags = mlflow.MlflowClient(store.store(tmp_path)).get_experiment(experiment).tags
    columns = json.loads(tags["mlflow.sharedViewState.audiornn"])["selectedColumns"]
    for metric in (store.CHAMPION_METRIC, store.RATIO_METRIC, store.FLAWED_METRIC):
        assert f"metrics.`{metric}`" in columns
