"""MLflow runs: one per pipeline run."""

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from audiornn.files import read_json, write_json
from audiornn.provenance.dvc import locked_shards
from audiornn.provenance.git import version_tags
from audiornn.provenance.overrides import flatten
from audiornn.tracking.logged_model import log_model
from audiornn.tracking.store import client_of, experiment_id, store
from audiornn.tracking.tags import provenance_tags
from audiornn.validation import parse

if TYPE_CHECKING:
    from mlflow import MlflowClient

RUN_FILE = "mlflow.json"  # beside the weights: id of the run that trained them


@dataclass(frozen=True)
class _RunFile:
    """What that file holds."""

    run_id: Annotated[str, Field(pattern="^[0-9a-f]{32}$")]


def read_run_id(path: str | Path) -> str:
    """The id of the run that a file names.

    Raises
    ------
    AudioRNNError
        If it is missing or names none.
    """
    return parse(_RunFile, read_json(path), path).run_id


class Run:
    """Writer of one MLflow run."""

    def __init__(self, client: "MlflowClient", run_id: str, resumed: bool = False) -> None:
        self._client = client
        self.run_id = run_id
        self._resumed = resumed
        self._last_steps: dict[str, int] = {}

    def params(self, params: Mapping[str, Any]) -> None:
        """Log nested parameters under dotted names, as in params.yaml."""
        from mlflow.entities import Param

        flat = [Param(key, str(list(value) if isinstance(value, tuple) else value)) for key, value in flatten(params)]
        for start in range(0, len(flat), 100):  # MLflow's limit per call
            self._client.log_batch(self.run_id, params=flat[start : start + 100])

    def metrics(self, metrics: Mapping[str, float | None], step: int = 0) -> None:
        """Log numbers; entries of None are skipped."""
        self.curves({step: metrics})

    def curves(self, steps: Mapping[int, Mapping[str, float | None]], prefix: str = "") -> None:
        """Log numbers of several steps at once, under names that begin with `prefix`.

        A resumed run already has the numbers up to its interruption: they are not repeated.
        """
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        batch = [
            Metric(prefix + key, float(value), now, step)
            for step, metrics in steps.items()
            for key, value in metrics.items()
            if value is not None and not (self._resumed and step <= self._last_step(prefix + key))
        ]
        for start in range(0, len(batch), 1000):  # MLflow's limit per call
            self._client.log_batch(self.run_id, metrics=batch[start : start + 1000])

    def _last_step(self, key: str) -> int:
        """The last step of a metric when the run was resumed; -1 if there is none."""
        if key not in self._last_steps:
            points = self._client.get_metric_history(self.run_id, key)
            self._last_steps[key] = max((point.step for point in points), default=-1)
        return self._last_steps[key]

    def tags(self, tags: Mapping[str, Any]) -> None:
        for key, value in tags.items():
            self._client.set_tag(self.run_id, key, str(value))

    def artifact(self, path: str | Path, artifact_path: str) -> None:
        """Log a file, or all files of a folder, under the artifact folder `artifact_path`."""
        log = self._client.log_artifacts if Path(path).is_dir() else self._client.log_artifact
        log(self.run_id, str(path), artifact_path)

    def dataset(self, digest: str, profile: Mapping[str, Any]) -> None:
        """Log the shards that a run learns from as its input, by their digest; `profile` is what to know of them."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        data = Dataset(
            name="shards",
            digest=digest[:32],  # MLflow keeps 36 characters; the tag data.digest has all 64
            source_type="dvc",
            source=json.dumps({"path": "data/shard", **locked_shards()}),
            profile=json.dumps(profile),
        )
        self._client.log_inputs(self.run_id, [DatasetInput(data, [InputTag("mlflow.data.context", "training")])])

    def model(self, folder: str | Path) -> None:
        """Log a model's folder as the MLflow model of the run; see `log_model`."""
        log_model(self._client, self.run_id, folder)


@contextmanager
def pipeline_run(
    workspace: str | Path,
    params: Mapping[str, Any],
    tags: Mapping[str, str],
    name: str,
    run_file: str | Path | None = None,
) -> Iterator[Run]:
    """Start the MLflow run of a pipeline run, or resume it; it is marked failed if the block fails.

    Parameters
    ----------
    workspace
        Folder of the default store.
    params
        All of params.yaml.
    tags
        Further tags besides the git commit.
    name
        Name of the run, unless a DVC experiment has a name.
    run_file
        A JSON file that keeps the run's id. If it already names a run, that run is resumed.
    """
    client = client_of(workspace)
    run_id = read_run_id(run_file) if run_file and Path(run_file).exists() else None
    log = Run(client, run_id, resumed=True) if run_id and _reopened(client, run_id) else None
    if not log:
        log = Run(client, _begin(client, workspace, tags, name))
        log.params(params)
        if run_file:
            write_json(run_file, {"run_id": log.run_id})
    with terminating(log), _system_metrics(log, workspace, resumed=log._resumed):
        yield log


@contextmanager
def terminating(log: Run) -> Iterator[None]:
    """Set the status of a run at its end."""
    try:
        yield
    except KeyboardInterrupt:
        log._client.set_terminated(log.run_id, "KILLED")
        raise
    except BaseException as error:
        log.tags({"error": error})
        log._client.set_terminated(log.run_id, "FAILED")
        raise
    log._client.set_terminated(log.run_id)


@contextmanager
def _system_metrics(log: Run, workspace: str | Path, resumed: bool) -> Iterator[None]:
    """Log the use of CPU, memory, disk, network and GPUs, every 10 s or as MLflow's own variables say."""
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    monitor = SystemMetricsMonitor(log.run_id, resume_logging=resumed, tracking_uri=store(workspace))
    monitor.start()
    try:
        yield
    finally:
        monitor.finish()


def _begin(client: "MlflowClient", workspace: str | Path, tags: Mapping[str, str], name: str) -> str:
    """The id of a new run."""
    experiment = os.environ.get("DVC_EXP_NAME")
    tags = {**tags, **provenance_tags(), **({"dvc.experiment": experiment} if experiment else {})}
    return client.create_run(experiment_id(client, workspace), run_name=experiment or name, tags=tags).info.run_id


def _reopened(client: "MlflowClient", run_id: str) -> bool:
    """Resume a run, if it still exists."""
    from mlflow.exceptions import MlflowException

    try:
        if client.get_run(run_id).info.lifecycle_stage == "deleted":
            return False
        client.update_run(run_id, status="RUNNING")
    except MlflowException:
        return False
    return True


def reopen(workspace: str | Path, model_folder: str | Path) -> Run:
    """The run that trained the weights in `model_folder`, to log more into it.

    If the store does not have that run (the model was trained elsewhere, or the store is new), a new run is created
    that names the original in its tag `trained_in_run`.
    """
    from mlflow.exceptions import MlflowException

    client = client_of(workspace)
    run_id = read_run_id(Path(model_folder) / RUN_FILE)
    try:
        client.get_run(run_id)
    except MlflowException:
        experiment = experiment_id(client, workspace)
        found = client.search_runs([experiment], f"tags.trained_in_run = '{run_id}'", max_results=1)
        if found:
            return Run(client, found[0].info.run_id)
        tags = {"trained_in_run": run_id, **version_tags()}
        begun = Run(client, client.create_run(experiment, run_name="model from elsewhere", tags=tags).info.run_id)
        begun.model(model_folder)
        client.set_terminated(begun.run_id)
        return begun
    return Run(client, run_id)
