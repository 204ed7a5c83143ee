"""Work on all cores, or on the workers of a Dask cluster: the same results, whatever does it."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from queue import SimpleQueue
from typing import TypeVar

import joblib
from tqdm import tqdm

from audiornn.common.errors import AudioRNNError, one_line
from audiornn.common.interrupts import end_with_parent

SCHEDULER = "DASK_SCHEDULER_ADDRESS"  # an environment variable, that of Dask itself
SCHEDULER_SECONDS = 6  # to wait for the scheduler, and as long again for its first worker
LOST = ("KilledWorker", "CancelledError", "FutureCancelledError")  # of Dask
J = TypeVar("J")
R = TypeVar("R")


def cores() -> int:
    """Cores that this process may use: affinity, limits of its cgroup and LOKY_MAX_CPU_COUNT are respected."""
    return int(joblib.cpu_count())


def run(
    function: Callable[[J], R],
    jobs: Sequence[J],
    done: Callable[[int, R], str | None],
    *,
    what: str,
    weights: Sequence[float],
    names: Sequence[str],
    unit: str = "h",
    pays_from: float = 0.0,
    kept: bool = True,
    here: bool = False,
) -> None:
    """Call a function for each job, on all cores, or on a cluster if DASK_SCHEDULER_ADDRESS names its scheduler.

    Parameters
    ----------
    function
        Of a module, so that other processes can import it.
    jobs
        Its arguments.
    done
        Takes number and result of a job when it has ended, in any order, in this process; what it returns is shown
        beside the progress.
    what
        Is done, for progress and errors.
    weights
        How much work each job is, in `unit`, for progress. The heaviest begin first.
    names
        Of the jobs, for errors.
    unit
        Of the weights.
    pays_from
        Total weight below which no processes are started on this machine.
    kept
        Whether the results of jobs that have ended are still there at the next run, for errors.
    here
        Whether this process does it all, as jobs hold what others should not get.

    Raises
    ------
    AudioRNNError
        If a worker is killed, or the cluster cannot be reached.
    """
    order = sorted(range(len(jobs)), key=lambda i: -weights[i])
    workers = min(cores(), len(jobs)) if sum(weights) >= pays_from and not here else 1
    with tqdm(desc=what, total=sum(weights), unit=unit, unit_scale=True, disable=None) as bar:

        def take(number: int, result: R) -> None:
            bar.set_postfix_str(done(number, result) or "", refresh=False)
            bar.update(weights[number])

        if not jobs:
            return
        if not here and (address := os.environ.get(SCHEDULER)):
            with _cluster(address) as (executor, size):
                _gather(executor, size, function, jobs, order, take, what, names, kept)
        elif workers > 1:
            with _pool(workers) as executor:
                _gather(executor, workers, function, jobs, order, take, what, names, kept)
        else:
            for i in order:
                take(i, function(jobs[i]))


def _gather(
    executor: Executor,
    workers: int,
    function: Callable[[J], R],
    jobs: Sequence[J],
    order: Sequence[int],
    take: Callable[[int, R], None],
    what: str,
    names: Sequence[str],
    kept: bool,
) -> None:
    """Keep two jobs per worker under way, and take results as they come."""
    ended: SimpleQueue[Future[R]] = SimpleQueue()
    running: dict[Future[R], int] = {}
    waiting = iter(order)

    def submit() -> None:
        for i in waiting:
            with _for_this_process_alone():
                future = executor.submit(function, jobs[i])
            running[future] = i
            future.add_done_callback(ended.put)
            return

    try:
        for _ in range(2 * workers):
            submit()
        while running:
            future = ended.get()
            result = future.result()
            number = running.pop(future)
            submit()
            take(number, result)
    except Exception as error:
        if not isinstance(error, BrokenProcessPool) and type(error).__name__ not in LOST:
            raise
        among = ", ".join([names[i] for i in running.values()][:3])
        raise AudioRNNError(
            f"{what}: a worker was killed, most likely because memory ran out, or its cluster was lost, at {among}; "
            f"{'what was finished is kept: ' if kept else ''}run again, with fewer workers by LOKY_MAX_CPU_COUNT=1"
        ) from None


@contextmanager
def _pool(workers: int) -> Iterator[Executor]:
    """Processes of this machine; they end with the block, in the middle of their work if it fails."""
    spawn = multiprocessing.get_context("spawn")  # a fork would copy locks that threads hold
    pool = ProcessPoolExecutor(workers, spawn, _begin_worker, (os.getpid(),))
    try:
        yield pool
    except BaseException:
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _for_this_process_alone() -> Iterator[None]:
    """Hide Ctrl-C and the end of the terminal, which reach all processes, from those that begin in the block."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin_worker(parent: int) -> None:
    """End with the process that started this one."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=end_with_parent, args=(parent,), name="parent", daemon=True).start()


@contextmanager
def _cluster(address: str) -> Iterator[tuple[Executor, int]]:
    """The workers of a Dask scheduler, and how many threads they have."""
    try:
        import distributed
    except ImportError:
        raise AudioRNNError(f"{SCHEDULER} is set, but Dask is not installed: pip install 'audiornn[dask]'") from None
    try:
        client = distributed.Client(address, timeout=SCHEDULER_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise AudioRNNError(f"{SCHEDULER} is {address!r}, but no scheduler answers there: {one_line(error)}") from None
    try:
        try:
            client.wait_for_workers(1, timeout=SCHEDULER_SECONDS)
        except TimeoutError:
            raise AudioRNNError(f"{SCHEDULER} is {address!r}, but that scheduler has no workers; start some") from None
        executor = client.get_executor(pure=False)
        try:
            yield executor, sum(client.nthreads().values())
        except BaseException:
            executor.shutdown(wait=False)
            raise
    finally:
        client.close(timeout=SCHEDULER_SECONDS)
