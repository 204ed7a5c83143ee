"""A tracking server that hangs, disappears or answers with errors while a model is trained."""

import os
import shutil
import signal
import subprocess
import sys
import time

import mlflow
import numpy as np
import pytest
import yaml

from audiornn import codec
from audiornn.common.serialization import read_json
from audiornn.tracking import outbox
from tests.helpers.pipeline_clone import SOURCE, TINY
from tests.helpers.servers import FailingProxy, TrackingServer

TRAIN = {
    "model": {"name": "audiornn", "dense": 8, "units": 8, "layers": 1},
    "epochs": 6,
    "batch_size": 4,
    "validate_every_steps": 3,
    "clip_every_epochs": None,
}
# What differs from run to run.
MEASURED = (
    "system/",
    "step.targets_per_second",
    "targets_per_second",
    "training_seconds",
    "training_clips.",
    "seconds",
)


@pytest.fixture
def server(postgres, tmp_path):
    """A tracking server on a new database of PostgreSQL."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")} | postgres
    for command in (["dropdb", "--if-exists", "--force", "outage"], ["createdb", "outage"]):
        subprocess.run(command, env=env, check=True, stderr=subprocess.DEVNULL)
    place = tmp_path / "server"
    place.mkdir()
    env["MLFLOW_SQLALCHEMYSTORE_POOL_SIZE"] = "50"  # connections, for as many writers; by default 5, and 10 in need
    server = TrackingServer(place, "postgresql+psycopg2:///outage", env)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def workspace(make_shards, tmp_path):
    """A folder with shards, as the stages before the training leave it."""
    (tmp_path / "data").mkdir()
    waves = {name: 0.4 * np.sin(np.arange(3000) / divisor) for name, divisor in (("a", 5), ("b", 7))}
    make_shards({name: codec.encode(wave) for name, wave in waves.items()}, 64, 256, name="data/shard")
    params = yaml.safe_load((SOURCE / "params.yaml").read_text())
    for section, values in (TINY | {"train": TRAIN}).items():
        params[section] |= values
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    return tmp_path


def start(workspace, address, command=("-m", "stages.train"), **variables):
    env = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "DVC_"))}
    env |= {"MLFLOW_TRACKING_URI": address, "MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL": "0.5", "USER": "anna"}
    env |= {"PYTHONPATH": str(SOURCE), **variables}
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=workspace,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def results(workspace):
    """What a training leaves that is the same in each."""
    files = ("models/model.weights.h5", "models/config.json", "metrics/history.csv")
    return [(workspace / name).read_bytes() for name in files]


def curves(address, run_id):
    """All points of a run, in the order of the server, but those of measured time and of the machine."""
    client = mlflow.MlflowClient(address)
    names = [name for name in client.get_run(run_id).data.metrics if not name.startswith(MEASURED)]
    return {name: [(p.step, p.value) for p in client.get_metric_history(run_id, name)] for name in names}


def wait_for(condition, process, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        if process.poll() is not None:
            pytest.fail(f"the training ended too early: {process.communicate()}")
        assert time.monotonic() < deadline
        time.sleep(0.05)


def validations(workspace):
    """How many validations there were."""
    history = workspace / "metrics/history.csv"
    return len(history.read_text().splitlines()) - 1 if history.exists() else 0


@pytest.fixture
def undisturbed(server, workspace):
    """What a training leaves whose server is there, and its run; the workspace is then as before it."""
    training = start(workspace, server.address)
    _, said = training.communicate()
    assert training.returncode == 0, said
    assert not list((workspace / outbox.FOLDER).glob("*"))
    expected, run_id = results(workspace), read_json(workspace / "models/mlflow.json")["run_id"]
    shutil.rmtree(workspace / "models")
    (workspace / "metrics/history.csv").unlink()
    return expected, run_id


def sync(workspace, address, run_id):
    """Deliver what waits of a run; then there is nothing to deliver."""
    for line in (f"run {run_id}: ", "nothing to deliver"):
        done = start(workspace, address, ("-m", "audiornn.cli", "sync"))
        told, said = done.communicate()
        assert (done.returncode, said) == (0, "")
        assert told.startswith(line)


def check_that_they_are_the_same(address, run_id, undisturbed_id):
    """All that was logged to one run was also logged to the other, once and in order."""
    whole = curves(address, undisturbed_id)
    assert len(whole["validation_loss"]) > 7
    assert curves(address, run_id) == whole
    client = mlflow.MlflowClient(address)
    ours, theirs = (client.get_run(each) for each in (run_id, undisturbed_id))
    assert ours.info.status == theirs.info.status == "FINISHED"
    assert ours.data.params == theirs.data.params
    assert ours.data.tags["stopped"] == theirs.data.tags["stopped"]
    assert len(ours.outputs.model_outputs) == 1
    for path in ("metrics", "data"):
        assert [item.path for item in client.list_artifacts(run_id, path)] == [
            item.path for item in client.list_artifacts(undisturbed_id, path)
        ]


@pytest.mark.soak
def test_a_training_does_not_care_whether_its_tracking_server_hangs_or_disappears(server, workspace, undisturbed):
    expected, first = undisturbed
    disturbed = start(workspace, server.address)
    wait_for(lambda: validations(workspace) >= 1, disturbed)
    server.send(signal.SIGSTOP)
    wait_for(lambda: validations(workspace) >= 3, disturbed)
    server.send(signal.SIGCONT)
    (folder,) = (workspace / outbox.FOLDER).glob("*")
    run_id = folder.name
    wait_for(lambda: len(list(folder.glob("[0-9]*"))) < 3, disturbed)
    delivered = curves(server.address, run_id)["validation_loss"]
    assert len(delivered) >= 3, "what waited came when the server went on"
    server.kill()
    _, said = disturbed.communicate()
    assert disturbed.returncode == 0, said
    assert f"entries wait in {folder} for {server.address}: " in said
    assert results(workspace) == expected

    server.start()
    sync(workspace, server.address, run_id)
    check_that_they_are_the_same(server.address, run_id, first)


@pytest.mark.soak
def test_a_training_does_not_care_whether_its_tracking_server_answers_with_errors(server, workspace, undisturbed):
    expected, first = undisturbed
    with FailingProxy(server.port) as proxy:
        disturbed = start(workspace, proxy.address)
        wait_for(lambda: validations(workspace) >= 1, disturbed)
        proxy.mode = "refuse"
        wait_for(lambda: validations(workspace) >= 3 and proxy.failed, disturbed)
        (folder,) = (workspace / outbox.FOLDER).glob("*")
        run_id = folder.name

        def delivered():
            return len(curves(server.address, run_id).get("validation_loss", ()))

        assert delivered() < 3
        proxy.mode = "pass"
        wait_for(lambda: delivered() >= 3, disturbed)
        proxy.mode, proxy.failed = "lose", 0
        _, said = disturbed.communicate()
        assert disturbed.returncode == 0, said
        assert proxy.failed
        assert f"entries wait in {folder} for {proxy.address}: too many 500 error responses; " in said
        assert results(workspace) == expected

        proxy.mode = "pass"
        sync(workspace, proxy.address, run_id)
    check_that_they_are_the_same(server.address, run_id, first)


@pytest.mark.soak
def test_fifty_writers_on_one_server_lose_nothing(server, workspace):
    begin = time.monotonic()
    names = [f"w{i}" for i in range(50)]
    command = ("-m", "tests.helpers.run_writer", str(workspace))
    # All at once they ask more than a server on the same few cores can answer in the usual 5 s.
    patient = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "120"}
    writers = [start(SOURCE, server.address, (*command, name, "4", "5"), **patient) for name in names]
    for process in writers:
        told, said = process.communicate()
        assert process.returncode == 0, told + said
    print(f"{len(names)} processes, 4 runs each: {time.monotonic() - begin:.0f} s")
    client = mlflow.MlflowClient(server.address)
    found = client.search_runs([client.get_experiment_by_name("audiornn").experiment_id], max_results=1000)
    assert sorted(run.info.run_name for run in found) == sorted(f"{name} {i}" for name in names for i in range(4))
    assert {run.info.status for run in found} == {"FINISHED"}
    for run in found:
        assert [p.step for p in client.get_metric_history(run.info.run_id, "loss")] == [0, 1, 2, 3, 4]
