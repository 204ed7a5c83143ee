"""A pipeline that is killed while it trains, run again, ends as if it had not been."""

import os
import signal
import subprocess
import time

import pytest

from audiornn.common.serialization import read_json
from tests.helpers.pipeline_clone import clone

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


def test_the_pipeline_killed_in_a_second_clone_resumes_and_gives_the_same_shards_weights_and_curves(finished, tmp_path):
    first, _ = finished
    second = clone(tmp_path / "clone", train={"checkpoint_steps": 1})
    second.run("dvc", "repro", "shard")
    names = sorted(path.name for path in (first.root / "data/shard").iterdir())
    assert names == sorted(path.name for path in (second.root / "data/shard").iterdir())
    for name in names:
        assert (first.root / "data/shard" / name).read_bytes() == (second.root / "data/shard" / name).read_bytes()

    steps = read_json(first.root / "metrics/train.json")["steps"]
    assert kill_when_trained_for(second, 10) < steps
    done = second.run("dvc", "repro", "train")
    assert "resuming after step" in done.stderr + done.stdout
    assert not list((second.root / "checkpoints").rglob("*.npz"))
    for name in ("models/model.weights.h5", "models/config.json", "metrics/history.csv"):
        assert (first.root / name).read_bytes() == (second.root / name).read_bytes(), name

    runs = []
    for workspace in (first, second):
        client, found = workspace.store()
        runs.append((client, found[0]))
    assert runs[1][1].info.status == "FINISHED"
    for name in ("validation_loss", "loss/training", "step.gradient_norm", "step.learning_rate"):
        undisturbed, disturbed = (
            [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, name)]
            for client, run in runs
        )
        assert len(undisturbed) >= 2
        assert undisturbed == disturbed, name
