"""Several settings: DVC's queue as docs/experiments-howto.md shows it, a named experiment, a served champion."""

import base64
import csv
import json
import os
import re
import subprocess
import sys
import time
import urllib.error

import optuna
import pytest
import yaml

from audiornn.experiments import plan, summary
from audiornn.experiments.search import loop
from audiornn.experiments.search.space import Space
from audiornn.tracking import outbox, trials
from tests.helpers.pipeline_clone import clone
from tests.helpers.servers import fetch, free_port, serving

pytestmark = pytest.mark.pipeline
REACHED = ["shard", "train", "evaluate", "generate", "report"]  # the stages that another context reaches
ALWAYS = {"recordings", "ancestor"}  # these stages run each time


@pytest.mark.soak
def test_minutes_alone_replace_the_epochs_of_the_shipped_params(finished):
    workspace, _ = finished
    workspace.run("dvc", "exp", "run", "--temp", "--name", "timed", "-S", "train.minutes=0.05", "train")
    _, runs = workspace.store()
    run = next(run for run in runs if run.info.run_name == "timed")
    assert run.data.tags["stopped"] == "after 0.05 minutes"
    assert (run.data.params["train.epochs"], run.data.params["train.minutes"]) == ("None", "0.05")
    assert run.data.metrics["epochs"] != 2


def queue(workspace, setting, *targets):
    """Queue an experiment for each value of a setting; their names, in the order of the values."""
    told = workspace.run("dvc", "exp", "run", "--queue", "-S", setting, *targets).stdout
    return re.findall(r"Queued experiment '([\w-]+)'", told)


def work_off(workspace, names, jobs=1):
    """Run what is queued, until all have succeeded; it fails if one fails, or if none ends in fifteen minutes."""
    # The worker keeps the pipes that it is given: nobody can wait for their end.
    subprocess.run(
        ["dvc", "queue", "start", "--jobs", str(jobs)],
        cwd=workspace.root,
        env=workspace.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    left, status, now = set(names), "", time.monotonic()
    deadline, ask = now + 900, now + 60
    try:
        while left or "Running" in status:
            time.sleep(2)
            refs = workspace.run("git", "for-each-ref", "--format=%(refname:lstrip=-1)", "refs/exps").stdout.split()
            now = time.monotonic()
            if left & {*refs}:
                left, deadline = left - {*refs}, now + 900
            if not left or now > ask:  # the question itself takes seconds of a core
                status, ask = workspace.run("dvc", "queue", "status").stdout, now + 60
                assert "Failed" not in status and now < deadline, status
    except BaseException:
        workspace.run("dvc", "queue", "stop", "--kill", check=False)
        raise
    assert len(re.findall(r"Success$", status, re.M)) >= len(names), status


@pytest.mark.soak
def test_hundreds_of_queued_experiments_on_a_new_store_are_one_whole_run_each(tmp_path):
    count = int(os.environ.get("AUDIORNN_SOAK_EXPERIMENTS", 200))
    model = {"name": "audiornn", "dense": 4, "units": 4, "layers": 1}
    train = {"model": model, "epochs": None, "steps": 40, "validate_every_steps": 10, "batch_size": 4}
    workspace = clone(tmp_path / "clone", train=train | {"clip_every_epochs": None})
    workspace.run("dvc", "repro", "shard")
    workspace.commit()
    names = queue(workspace, f"train.seed=range({count})", "train")
    assert len(set(names)) == count
    assert not (workspace.root / "mlflow.db").exists(), "the first experiments create it"
    begin = time.monotonic()
    work_off(workspace, names, jobs=4)
    seconds = time.monotonic() - begin
    print(f"{count} experiments, 4 at a time: {seconds:.0f} s, {seconds / count:.1f} s each")

    refs = workspace.run("git", "for-each-ref", "--format=%(refname)", "refs/exps").stdout.split()
    kept = {ref.rpartition("/")[2]: ref for ref in refs}
    client, runs = workspace.store()
    assert sorted(run.info.run_name for run in runs) == sorted(names)

    def points(run, metric):
        return [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, metric)]

    by_name, losses = {run.info.run_name: run for run in runs}, set()
    for seed, name in enumerate(names):
        run = by_name[name]
        assert (run.info.status, run.data.params["train.seed"]) == ("FINISHED", str(seed))
        assert run.data.tags["dvc.experiment"] == name
        history = workspace.run("git", "show", f"{kept[name]}:metrics/history.csv").stdout
        rows = list(csv.DictReader(history.splitlines()))
        assert [int(row["step"]) for row in rows] == [10, 20, 30, 40]
        for metric in ("train_loss", "validation_loss", "validation_accuracy", "learning_rate"):
            assert points(run, metric) == [(int(row["step"]), float(row[metric])) for row in rows], (name, metric)
        for metric in ("loss/training", "step.gradient_norm", "step.targets_per_second"):
            assert [step for step, _ in points(run, metric)] == [20, 40], (name, metric)
        losses.add(rows[-1]["validation_loss"])
    assert len(losses) == count, "each seed trains another model"
    assert not list((workspace.root / outbox.FOLDER).glob("*/*")), "nothing waits"


@pytest.fixture(scope="module")
def queued(finished):
    """The workspace after another context went through DVC's queue: the experiment's name, runs before it."""
    workspace, _ = finished
    workspace.commit()
    before = {run.info.run_id for run in workspace.store()[1]}
    (name,) = queue(workspace, "shard.context=32")
    work_off(workspace, [name])
    return workspace, name, before


def stages_of(output):
    """The stages that ran, without those that always do."""
    return [stage for stage in re.findall(r"Running stage '(\w+)'", output) if stage not in ALWAYS]


def test_a_queued_experiment_with_another_context_neither_resamples_nor_encodes_and_is_one_run(queued):
    workspace, name, before = queued
    assert stages_of(workspace.run("dvc", "queue", "logs", name).stdout) == REACHED
    _, runs = workspace.store()
    (run,) = [run for run in runs if run.info.run_id not in before]
    assert (run.info.run_name, run.info.status, run.data.params["shard.context"]) == (name, "FINISHED", "32")
    assert run.data.tags["command"] == "dvc queue start"
    assert run.data.tags["dvc.experiment"] == name
    assert {"test.bits_per_sample", "generate.samples_per_second"} <= run.data.metrics.keys()
    status = workspace.run("dvc", "status").stdout
    assert set(re.findall(r"^(\w+):", status, re.M)) <= ALWAYS, "the workspace itself is as it was"


def test_dvc_shows_experiments_and_their_differences(queued):
    workspace, name, _ = queued
    both = ("HEAD", name)
    assert name in workspace.run("dvc", "exp", "show", "--csv").stdout
    compared = workspace.run("make", "compare", COLUMNS="120").stdout
    assert all(text in compared for text in (name, "shard.context", "validation.bits_per_sample"))
    assert max(map(len, compared.splitlines())) <= 120 and "…" not in compared
    parameters = json.loads(workspace.run("dvc", "params", "diff", "--json", *both).stdout)
    assert parameters == {"params.yaml": {"shard.context": {"old": 64, "new": 32, "diff": -32}}}
    metrics = json.loads(workspace.run("dvc", "metrics", "diff", "--json", *both).stdout)
    assert "validation.bits_per_sample" in metrics["metrics/evaluate.json"]
    assert "metrics/encode.json" not in metrics, "the codes are the same"
    plots = json.loads(workspace.run("dvc", "plots", "diff", "--json", *both).stdout)
    assert "loss (bits per sample)" in json.dumps(plots)


def test_a_named_sweep_is_a_parent_whose_settings_share_the_data(queued):
    workspace, name, _ = queued
    file = workspace.root / "experiments/tiny.yaml"
    file.write_text("description: Which context is best?\nsweep:\n  shard.context: [16, 32]\n")
    before = {run.info.run_id for run in workspace.store()[1]}
    command = [sys.executable, "-m", "audiornn.cli", "experiment", "tiny", "-S", "shard.context=32,48"]
    done = workspace.run(*command)
    file.unlink()
    assert stages_of(done.stdout) == REACHED, "of the new one alone"
    client, runs = workspace.store()
    (parent,) = [run for run in runs if "sweep.identity" in run.data.tags]
    children = {
        run.data.params["shard.context"]: run
        for run in runs
        if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id
    }
    assert set(children) == {"32", "48"}
    assert children["32"].info.run_name == name, "what the queue has run is adopted"
    assert {run.info.run_id for run in runs} - before == {parent.info.run_id, children["48"].info.run_id}
    assert children["48"].data.tags["command"].startswith("dvc exp run --temp --name tiny-48-")
    files = {item.path for item in client.list_artifacts(parent.info.run_id)}
    assert {"summary.csv", "summary.md", "summary.json", "sweep.png", "tiny.html"} <= files
    page = (workspace.root / "comparisons/tiny.html").read_text()
    assert page.count("<audio") == 3 and "Same prompt, same random numbers." in page, "two settings and real audio"
    assert "best by bits: shard.context=" in done.stdout and "best by sound: shard.context=" in done.stdout
    assert set(re.findall(r"^(\w+):", workspace.run("dvc", "status").stdout, re.M)) <= ALWAYS, "no other"


def test_a_hopeless_trial_is_pruned_and_leaves_no_half_of_anything(finished):
    workspace, _ = finished
    before = workspace.run("git", "status", "--porcelain").stdout
    places = {"checkpoints": "*/*", ".dvc/tmp/exps/standalone": "tmp*"}
    left = {name: sorted((workspace.root / name).glob(pattern)) for name, pattern in places.items()}
    searched = {"train.learning_rate": {"low": 0.001, "high": 0.002}}
    content = {"description": "What is best?", "search": searched, "trials": trials.COMPLETE_FIRST + 1}
    (workspace.root / "experiments/find.yaml").write_text(yaml.safe_dump(content))
    space = Space(plan.read_experiment("find", workspace=workspace.root))
    place = workspace.root / loop.FOLDER / f"find-{space.identity[:8]}.db"
    study = trials.open_study(place)
    row = dict.fromkeys(summary.COLUMNS, 1.0) | {"run": "", "name": "none", "command": ""}
    for _ in range(trials.COMPLETE_FIRST):  # better than any real training
        params, curve = {"train.learning_rate": 0.0015}, {1: 1.5, 2: 1.0}
        trial = {"params": params, "distributions": space.distributions(), "intermediate_values": curve}
        study.add_trial(optuna.trial.create_trial(**trial, value=1.0, user_attrs={"row": row}))
    done = workspace.run(sys.executable, "-m", "audiornn.cli", "experiment", "find")
    (workspace.root / "experiments/find.yaml").unlink()
    assert "pruned after epoch 2 at " in done.stdout and "Of 6 trials 1 were pruned, and 0 failed." in done.stdout
    *_, last = study.trials
    assert (last.state.name, list(last.intermediate_values)) == ("PRUNED", [1, 2])
    _, runs = workspace.store()
    run = next(run for run in runs if run.info.run_name.startswith("find-trial5-"))
    assert (run.info.status, run.data.tags["pruned"]) == ("KILLED", "True")
    assert run.data.tags["command"].startswith("dvc exp run --temp --name find-trial5-")
    parent = next(run for run in runs if run.info.run_name == "find")
    assert (parent.info.status, run.data.tags["mlflow.parentRunId"]) == ("FINISHED", parent.info.run_id)
    assert "find-trial" not in workspace.run("dvc", "exp", "list").stdout
    assert left == {name: sorted((workspace.root / name).glob(pattern)) for name, pattern in places.items()}
    assert workspace.run("git", "status", "--porcelain").stdout == before


def test_the_champion_is_served_and_answers_with_audio(finished, tmp_path):
    workspace, _ = finished
    port, model = free_port(), "models:/audiornn@champion"
    command = ["mlflow", "models", "serve", "-m", model, "--env-manager", "local", "-h", "127.0.0.1", "-p", str(port)]
    command = [sys.executable, "-m", *command]
    env = workspace.environment(MLFLOW_TRACKING_URI=f"sqlite:///{workspace.root}/mlflow.db")
    with serving(tmp_path / "log", command, port, cwd=tmp_path, env=env) as base:
        ask = {"dataframe_records": [{"seconds": 0.1, "temperature": 0.9, "seed": 7}]}
        (answer,) = json.loads(fetch(f"{base}/invocations", json.dumps(ask).encode()))["predictions"]
        assert (answer["sample_rate"], answer["seconds"]) == (8000, 0.1)
        wav = base64.b64decode(answer["audio"])
        assert wav[:4] == b"RIFF" and len(wav) == 44 + 2 * 800
        with pytest.raises(urllib.error.HTTPError) as error:
            fetch(f"{base}/invocations", json.dumps({"dataframe_records": [{"seconds": -1}]}).encode())
        assert error.value.code == 400
        assert b"row 0: seconds is -1.0" in error.value.read()
