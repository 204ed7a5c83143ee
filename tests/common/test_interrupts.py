"""A process that is told to end, or whose parent is gone, marks its run as killed; nothing works on alone."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from audiornn.tracking.store import client_of, experiment_id

ROOT = Path(__file__).parents[2]
STAGE = """
import time
from pathlib import Path
from audiornn.tracking import runs
from stages.common import WORKSPACE, run

def main(params):
    with runs.pipeline_run(WORKSPACE, {}, {}, Path.cwd().name):
        Path("begun").touch()
        time.sleep(60)

run(main)
"""


@pytest.fixture
def workspace(tmp_path):
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it is ignored, by children too
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    (tmp_path / "stage.py").write_text(STAGE)
    yield tmp_path
    signal.signal(signal.SIGHUP, before)


def start(workspace, command, **environment):
    """A stage in a process group of its own, once its run has begun."""
    process = subprocess.Popen(
        command,
        cwd=workspace,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
    )
    end = time.monotonic() + 60
    while not (workspace / "begun").exists():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.1)
    return process


def status(workspace):
    client = client_of(workspace)
    (run,) = client.search_runs([experiment_id(client, workspace)], f"attributes.run_name = '{workspace.name}'")
    return run.info.status


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
@pytest.mark.slow
def test_a_stage_that_gets_a_signal_marks_its_run_as_killed(workspace, name):
    process = start(workspace, [sys.executable, "stage.py"])
    process.send_signal(getattr(signal, name))
    assert process.communicate(timeout=90)[1].endswith("interrupted\n")
    assert process.returncode == 130
    assert status(workspace) == "KILLED"


@pytest.mark.slow
def test_a_stage_ends_with_the_dvc_that_runs_it(workspace):
    parent = "import subprocess, sys; subprocess.run([sys.executable, 'stage.py'])"
    process = start(workspace, [sys.executable, "-c", parent], DVC_STAGE="train")
    process.kill()
    assert process.communicate(timeout=90)[1] == "interrupted\n"  # to the end of what the stage writes, too
    assert status(workspace) == "KILLED"
