"""What work on all cores promises: each job once, results as they come, an end in one line."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from audiornn.common import parallel
from audiornn.common.errors import AudioRNNError


def double(number):
    """A job."""
    return 2 * number


def process(_):
    """The process that does a job; long enough for another one to do the next."""
    time.sleep(0.2)
    return os.getpid()


def killed(_):
    """A job that takes too much memory."""
    os.kill(os.getpid(), signal.SIGKILL)


def refused(number):
    """A job that its user must fix."""
    raise AudioRNNError(f"{number}.wav: broken")


def run(function, jobs, **options):
    results = {}
    names = [f"{job}.wav" for job in jobs]
    options = {"what": "double", "weights": [1.0] * len(jobs), "names": names} | options
    parallel.run(function, jobs, results.__setitem__, **options)
    return results


@pytest.fixture
def two_cores(monkeypatch):
    monkeypatch.setattr(parallel, "cores", lambda: 2)


@pytest.mark.parametrize("count", [0, 1, 7])
def test_every_job_is_done_once(count, two_cores):
    assert run(double, list(range(count)), pays_from=99) == {i: 2 * i for i in range(count)}


def test_local_work_is_done_by_this_process_even_if_there_are_others(two_cores, monkeypatch):
    monkeypatch.setenv(parallel.SCHEDULER, "tcp://127.0.0.1:1")
    assert set(run(process, range(2), here=True).values()) == {os.getpid()}


@pytest.mark.slow
def test_processes_are_started_only_where_they_pay_off(two_cores):
    assert len(set(run(process, range(6)).values()) - {os.getpid()}) == 2
    assert set(run(process, range(2), pays_from=3).values()) == {os.getpid()}


def test_the_longest_jobs_begin_first():
    taken = run(double, [1, 2, 3], weights=[1.0, 3.0, 2.0], pays_from=9)
    assert list(taken) == [1, 2, 0]


def test_only_cores_that_the_process_may_use_are_counted():
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
        "from audiornn.common import parallel; print(parallel.cores())"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "1\n"


@pytest.mark.slow
def test_a_killed_worker_is_a_one_line_error_that_names_the_jobs_it_may_have_been_doing(two_cores):
    with pytest.raises(AudioRNNError, match=r"^double: a worker was killed, .* at 0\.wav.*; what was finished is kept"):
        run(killed, [0, 1])
    with pytest.raises(AudioRNNError, match=r" at 0\.wav.*; run again, with fewer workers"):
        run(killed, [0, 1], kept=False)


def test_an_error_in_a_job_is_raised_by_the_call(two_cores):
    with pytest.raises(AudioRNNError, match=r"^[01]\.wav: broken$"):
        run(refused, [0, 1])


@pytest.mark.slow
def test_an_unreachable_scheduler_is_named_in_one_line_within_ten_seconds(monkeypatch):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{unused.getsockname()[1]}"
    monkeypatch.setenv(parallel.SCHEDULER, address)
    pytest.importorskip("distributed")
    begin = time.monotonic()
    with pytest.raises(
        AudioRNNError, match=f"^{parallel.SCHEDULER} is '{address}', but no scheduler answers there: .*$"
    ):
        run(double, [1])
    assert time.monotonic() - begin < 10


@pytest.mark.slow
def test_dask_is_not_imported_without_a_scheduler():
    code = (
        "import sys; from audiornn.common import parallel; from stages import resample, encode, corpus; "
        "parallel.run(abs, [1], lambda *_: None, what='', weights=[1.0], names=['']); "
        "print([name for name in sys.modules if name.startswith(('dask', 'distributed'))])"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout == "[]\n"
