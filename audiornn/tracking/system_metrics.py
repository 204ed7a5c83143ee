"""Use of CPU, memory, disk, network and GPUs in a run, as MLflow measures it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from audiornn.tracking.store import store

if TYPE_CHECKING:
    from audiornn.tracking.runs import Run


@contextmanager
def logged(run: "Run", workspace: str | Path, resumed: bool) -> Iterator[None]:
    """Log the use of CPU, memory, disk, network and GPUs, every 10 s or as MLflow's own variables say."""
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    # MLflow's own thread gives up for good when the server does not answer once.
    monitor = SystemMetricsMonitor(run.run_id, resume_logging=resumed, tracking_uri=store(workspace))
    over = threading.Event()

    def sample() -> None:
        step = monitor._logging_step
        while True:
            for _ in range(monitor.samples_before_logging):
                monitor.collect_metrics()
                if over.wait(monitor.sampling_interval):
                    return
            run.log_metrics({f"system/{key}": value for key, value in monitor.aggregate_metrics().items()}, step)
            step += 1
            for each in monitor.monitors:
                each.clear_metrics()

    thread = threading.Thread(target=sample, daemon=True, name="system metrics")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
