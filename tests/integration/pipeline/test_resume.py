"""A pipeline that is killed while it trains, run again, ends as if it had not been."""

import os
import signal
import subprocess
import time

import pytest
import yaml

pytestmark = pytest.mark.pipeline


def kill_when_trained_for(workspace, steps):
    """`dvc repro train`, all of whose processes are killed at once after about that many steps; the steps saved."""
    with subprocess.Popen(
        ["dvc", "repro", "train"],
        cwd=workspace.root,
        env=workspace.environment(),
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as repro:
        deadline = time.monotonic() + 300
        while True:
            saved = max((int(p.stem) for p in (workspace.root / "checkpoints").glob("*/[0-9]*.npz")), default=0)
            assert repro.poll() is None and time.monotonic() < deadline, f"it was not killed in time, at step {saved}"
            if saved >= steps:
                os.killpg(repro.pid, signal.SIGKILL)
                return saved
            time.sleep(0.01)


def test_a_killed_pipeline_resumes_and_gives_the_weights_of_an_uninterrupted_one(finished):
    workspace, _ = finished
    before = len(workspace.store()[1])
    train = yaml.safe_load((workspace.root / "params.yaml").read_text())["train"]
    workspace.set(train={"epochs": 5, "checkpoint_steps": 1})
    assert kill_when_trained_for(workspace, 20) < 100
    done = workspace.run("dvc", "repro", "train")
    assert "resuming after step" in done.stderr + done.stdout
    results = ["models/model.weights.h5", "models/config.json", "metrics/history.csv"]
    ended = [(workspace.root / name).read_bytes() for name in results]
    assert not list((workspace.root / "checkpoints").rglob("*.npz"))
    workspace.run("dvc", "repro", "--force", "--single-item", "train")
    assert [(workspace.root / name).read_bytes() for name in results] == ended

    client, runs = workspace.store()
    disturbed, undisturbed = runs[before:]
    assert disturbed.info.status == "FINISHED"
    for name in ("validation_loss", "loss/training", "step.gradient_norm", "step.learning_rate"):
        one, other = (
            [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, name)]
            for run in (disturbed, undisturbed)
        )
        assert len(one) >= 4
        assert one == other, name
    workspace.set(train=train)
    workspace.run("dvc", "repro")
