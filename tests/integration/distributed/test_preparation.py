"""Preparation by a Dask cluster on loopback: a scheduler and two worker processes."""

import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from audiornn.audio import packs
from audiornn.common import parallel
from audiornn.common.errors import AudioRNNError
from audiornn.reuse import index
from stages import shard
from tests.helpers.preparation import ROOT, STAGES, Preparation, record
from tests.helpers.servers import free_port

pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """The address of a scheduler with two workers."""
    folder, port = tmp_path_factory.mktemp("dask"), free_port()
    address = f"tcp://127.0.0.1:{port}"
    scheduler = ["scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"]
    worker = ["worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard", "--local-directory", str(folder)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with ExitStack() as stack:
        for command in (scheduler, worker, worker):
            with open(folder / f"{len(list(folder.iterdir()))}.log", "w") as log:
                process = subprocess.Popen(
                    [sys.executable, "-m", "dask", *command], cwd=folder, env=environment, stdout=log, stderr=log
                )
            stack.callback(process.wait)
            stack.callback(process.kill)
        yield address


def test_a_cluster_makes_the_same_bytes_and_a_killed_worker_only_costs_its_current_file(cluster, tmp_path, monkeypatch):
    alone, many = (Preparation(tmp_path / name, monkeypatch) for name in ("alone", "many"))
    for i in range(6):
        record(alone.root / f"recordings/{i}.wav", i)
    (many.root / "recordings").symlink_to(alone.root / "recordings")
    _, expected = alone.prepare(stages=(*STAGES, shard))
    monkeypatch.setenv(parallel.SCHEDULER, cluster)
    assert many.prepare(processes=True, stages=(*STAGES, shard))[1] == expected

    marks = tmp_path / "marks"
    marks.mkdir()
    results = {}
    jobs = [(str(marks), i) for i in range(6)]
    told = {"what": "mark", "weights": [1.0] * 6, "names": [str(i) for i in range(6)]}
    parallel.run(kill_the_worker_at_job_3_once, jobs, results.__setitem__, **told)
    assert results == {i: i for i in range(6)}
    begun = [path.name.split("-")[0] for path in marks.iterdir()]
    assert begun.count("3") == 2
    assert len(begun) <= 8  # and what waited for it at that worker

    with pytest.raises(AudioRNNError, match="has other code or other libraries"):
        parallel.run(index.partial(index._if_same_code, len, packs.CODE, "another"), [""], print, **told)


def kill_the_worker_at_job_3_once(job):
    """A job that leaves a mark; the third is the end of the process that does it first."""
    folder, number = job
    first = not list(Path(folder).glob("3-*"))
    Path(folder, f"{number}-{time.time_ns()}").touch()
    if number == 3 and first:
        os.kill(os.getpid(), signal.SIGKILL)
    return number
