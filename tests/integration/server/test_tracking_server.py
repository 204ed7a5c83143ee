"""A server for a group, started by the commands of its page: PostgreSQL below, two people who log to it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import mlflow
import numpy as np
import psycopg2
import pytest
import soundfile as sf

import audiornn
from audiornn import cli
from audiornn.backend import keras
from audiornn.models import storage
from audiornn.models.base import TrainingWindow
from audiornn.tracking import store
from audiornn.tracking.runs import pipeline_run
from tests.conftest import CODEC
from tests.helpers.servers import free_port, serving

PAGE = Path(__file__).parents[3] / "docs/tracking-server.md"


@pytest.fixture(scope="module")
def server(postgres, tmp_path_factory):
    """The address of a server that was started by the two commands of the page, and the home of who started it."""
    home = tmp_path_factory.mktemp("home")
    create, serve = re.search("```sh\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S).group(1).splitlines()
    env = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")} | postgres
    env |= {"HOME": str(home), "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_WORKERS": "1"}
    env["PATH"] = f"{Path(sys.executable).parent}:{env['PATH']}"
    subprocess.run(create, shell=True, env=env, check=True)
    port = free_port()
    assert "--port 5000" in serve
    command = serve.replace("--port 5000", f"--port {port}").replace("mlflow server", "exec mlflow server")
    with serving(home / "log.txt", command, port, shell=True, env=env, cwd=home) as address:
        yield address, home


@pytest.fixture
def person(server, tmp_path, monkeypatch):
    """Become somebody: work in a folder of their own, with the server's address."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server[0])
    for name in ("MLFLOW_EXPERIMENT_NAME", "DVC_EXP_NAME"):
        monkeypatch.delenv(name, raising=False)

    def become(name):
        folder = tmp_path / name
        folder.mkdir()
        monkeypatch.chdir(folder)
        monkeypatch.setenv("USER", name)
        return folder

    return become


def test_two_people_see_each_others_runs_and_generate_with_each_others_models(server, postgres, person):
    _, home = server
    logged = {}
    for name, units in (("anna", 6), ("ben", 8)):
        folder = person(name)
        keras.utils.set_random_seed(units)
        model = storage.build("audiornn", dense=6, units=units, layers=1)
        model.codec, model.window = CODEC, TrainingWindow(16, 64)
        storage.save(model, folder / "models")
        sf.write(folder / "clip.wav", np.sin(np.arange(800) / 5), 8000)
        with pipeline_run(folder, {"train": {"model": {"units": units}}}, {}, name=f"{name}'s") as log:
            log.log_metrics({"validation.bits_per_sample": 5.0 + units})
            log.log_model(folder / "models")
            log.log_artifact(folder / "clip.wav", "generated")
        logged[name] = log.run_id
        assert not list(folder.glob("ml*"))  # nothing stays with them
    ben = Path.cwd()

    runs = mlflow.search_runs(experiment_names=[store.EXPERIMENT], output_format="list")
    assert {run.data.tags["mlflow.user"]: run.info.run_id for run in runs} == logged
    for name, run_id in logged.items():
        got = Path(mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path="generated/clip.wav"))
        assert got.read_bytes() == (ben.parent / name / "clip.wav").read_bytes()
        assert list((home / "audiornn-artifacts").glob(f"*/{run_id}/artifacts/generated/clip.wav"))
    with psycopg2.connect(dbname="audiornn", user=postgres["PGUSER"], host=postgres["PGHOST"]) as database:
        database_cursor = database.cursor()
        database_cursor.execute("select run_uuid from runs")
        assert {run_id for (run_id,) in database_cursor.fetchall()} == set(logged.values())

    assert audiornn.load(logged["anna"]).sizes["units"] == 6
    cli.main(["generate", "--run", logged["anna"], "--seconds", "0.1", "--output", "clips"])
    wave, rate = sf.read(ben / "clips/01-temperature-1.wav")
    assert (rate, len(wave)) == (8000, 800)


def test_the_command_for_the_ui_names_the_page_of_the_server(server, person, capsys):
    person("carla")
    cli.main(["ui"])
    assert capsys.readouterr().out.startswith(f"MLflow UI: {server[0]}/#/experiments/")
