"""MLflow: one pipeline run is one MLflow run. The only module that imports mlflow."""

import json
import logging
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from audiornn.errors import AudioRNNError
from audiornn.files import read_json, write_json

RUN_FILE = "mlflow.json"  # beside the weights: which run they come from
EXPERIMENT = "audiornn"
REMOTE = {"databricks", "databricks-uc", "uc"}  # names of stores that are no paths
DATABASE, ARTIFACTS = "mlflow.db", "mlartifacts"
# How the UI shows the runs: the best on top, with what tells them apart.
BEST = "metrics.`validation.bits_per_sample`"
VIEW = {
    "selectedColumns": [
        "attributes.`Duration`",
        "params.`train.model.name`",
        "params.`shard.context`",
        BEST,
        "metrics.`test.bits_per_sample`",
        "metrics.`test.accuracy`",
        "metrics.`generate.samples_per_second`",
    ],
    "orderByKey": BEST,
    "orderByAsc": True,
}


def store(workspace: str | Path) -> str:
    """The tracking URI: MLFLOW_TRACKING_URI or, without it, a SQLite database in the workspace.

    Relative paths of `sqlite:///` and plain paths are taken from the workspace, not from the current folder: DVC runs
    queued experiments in temporary copies.
    """
    root = Path(workspace).resolve()
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{DATABASE}"
    prefix = "sqlite:///"
    if uri.startswith(prefix):
        return prefix + str(root / uri.removeprefix(prefix))  # an absolute path stays as it is
    return uri if "://" in uri or uri.split(":")[0] in REMOTE else str(root / uri)


def _client(workspace: str | Path) -> Any:
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it reports the creation of every table
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    import mlflow

    uri = store(workspace)
    mlflow.set_tracking_uri(uri)
    return mlflow.MlflowClient(uri)


def _experiment(client: Any, workspace: str | Path) -> str:
    from mlflow.exceptions import MlflowException

    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
    found = client.get_experiment_by_name(name)
    if found is None:
        # Only a server knows where its artifacts belong; beside a local database MLflow would take the current folder.
        local = store(workspace).startswith("sqlite:")
        place = (Path(workspace).resolve() / ARTIFACTS).as_uri() if local else None
        try:
            return client.create_experiment(name, artifact_location=place)
        except MlflowException:  # another process was faster
            found = client.get_experiment_by_name(name)
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return found.experiment_id


def runs_page(workspace: str | Path) -> str:
    """The UI's page of the runs, best on top, as a path after the server's address.

    MLflow opens an experiment on a page for language models; this one is two clicks and a choice of columns away.
    """
    client = _client(workspace)
    experiment = _experiment(client, workspace)
    client.set_experiment_tag(experiment, f"mlflow.sharedViewState.{EXPERIMENT}", json.dumps(VIEW))
    return f"/#/experiments/{experiment}/runs?workflowType=machine_learning&viewStateShareKey={EXPERIMENT}"


class Log:
    """Writes into one MLflow run."""

    def __init__(self, client: Any, run_id: str, resumed: bool = False) -> None:
        self._client = client
        self.run_id = run_id
        self._resumed = resumed
        self._last_steps: dict[str, int] = {}

    def params(self, params: Mapping[str, Any]) -> None:
        """Log nested parameters under dotted names, as they stand in params.yaml."""
        from mlflow.entities import Param

        flat = [Param(key, str(value)) for key, value in _flatten(params)]
        for start in range(0, len(flat), 100):  # MLflow's limit a call
            self._client.log_batch(self.run_id, params=flat[start : start + 100])

    def metrics(self, metrics: Mapping[str, float | None], step: int = 0) -> None:
        """Log numbers; entries without a value are passed over."""
        self.curves({step: metrics})

    def curves(self, steps: Mapping[int, Mapping[str, float | None]], prefix: str = "") -> None:
        """Log numbers of several steps at once, under names that begin with `prefix`.

        A run that is gone on with already has the numbers up to where it was interrupted: they are not repeated.
        """
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        batch = [
            Metric(prefix + key, float(value), now, step)
            for step, metrics in steps.items()
            for key, value in metrics.items()
            if value is not None and not (self._resumed and step <= self._last_step(prefix + key))
        ]
        for start in range(0, len(batch), 1000):  # MLflow's limit a call
            self._client.log_batch(self.run_id, metrics=batch[start : start + 1000])

    def _last_step(self, key: str) -> int:
        """The last step of a metric that was there when the run was gone on with; -1 where it was not."""
        if key not in self._last_steps:
            points = self._client.get_metric_history(self.run_id, key)
            self._last_steps[key] = max((point.step for point in points), default=-1)
        return self._last_steps[key]

    def tags(self, tags: Mapping[str, Any]) -> None:
        for key, value in tags.items():
            self._client.set_tag(self.run_id, key, str(value))

    def artifact(self, path: str | Path, place: str) -> None:
        """Log a file, or all files of a folder, under the artifact folder `place`."""
        log = self._client.log_artifacts if Path(path).is_dir() else self._client.log_artifact
        log(self.run_id, str(path), place)


def _flatten(params: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in params.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", list(value) if isinstance(value, tuple) else value


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


def _code_version() -> dict[str, str]:
    commit = _git("rev-parse", "HEAD")
    if not commit:
        return {}
    return {"mlflow.source.git.commit": commit, "git.dirty": str(bool(_git("status", "--porcelain", "-uno"))).lower()}


@contextmanager
def pipeline_run(
    workspace: str | Path,
    params: Mapping[str, Any],
    tags: Mapping[str, str],
    name: str,
    run_file: str | Path | None = None,
) -> Iterator[Log]:
    """Start the MLflow run of a pipeline run, or go on with it; it is marked failed if the block fails.

    Parameters
    ----------
    workspace
        Where the default store is.
    params
        All of params.yaml.
    tags
        More tags; the git commit is there by itself.
    name
        Of the run; a DVC experiment's own name comes before it.
    run_file
        A JSON file that keeps the run's id. Where it names a run already, that one is gone on with.
    """
    client = _client(workspace)
    run_id = read_json(run_file)["run_id"] if run_file and Path(run_file).exists() else None
    log = Log(client, run_id, resumed=True) if run_id and _reopened(client, run_id) else None
    if not log:
        log = Log(client, _begin(client, workspace, tags, name))
        log.params(params)
        if run_file:
            write_json(run_file, {"run_id": log.run_id})
    try:
        yield log
    except KeyboardInterrupt:
        client.set_terminated(log.run_id, "KILLED")
        raise
    except BaseException as error:
        log.tags({"error": error})
        client.set_terminated(log.run_id, "FAILED")
        raise
    client.set_terminated(log.run_id)


def _begin(client: Any, workspace: str | Path, tags: Mapping[str, str], name: str) -> str:
    """The id of a new run."""
    experiment = os.environ.get("DVC_EXP_NAME")
    tags = {**tags, **_code_version(), **({"dvc.experiment": experiment} if experiment else {})}
    tags |= {"mlflow.source.name": "dvc repro", "mlflow.user": os.environ.get("USER", "")}
    return client.create_run(_experiment(client, workspace), run_name=experiment or name, tags=tags).info.run_id


def _reopened(client: Any, run_id: str) -> bool:
    """Set a run going again, if it is still there."""
    from mlflow.exceptions import MlflowException

    try:
        if client.get_run(run_id).info.lifecycle_stage == "deleted":
            return False
        client.update_run(run_id, status="RUNNING")
    except MlflowException:
        return False
    return True


def reopen(workspace: str | Path, model_folder: str | Path) -> Log:
    """Write on into the run that the weights in `model_folder` come from.

    Where the store does not know that run (the model was trained elsewhere, or the store is new), a new run is begun
    that names the original in its tag `trained_in_run`.
    """
    from mlflow.exceptions import MlflowException

    client = _client(workspace)
    run_id = read_json(Path(model_folder) / RUN_FILE)["run_id"]
    try:
        client.get_run(run_id)
    except MlflowException:
        experiment = _experiment(client, workspace)
        found = client.search_runs([experiment], f"tags.trained_in_run = '{run_id}'", max_results=1)
        if not found:
            tags = {"trained_in_run": run_id, **_code_version()}
            found = [client.create_run(experiment, run_name="model from elsewhere", tags=tags)]
            client.set_terminated(found[0].info.run_id)
        run_id = found[0].info.run_id
    return Log(client, run_id)


def model_of_run(workspace: str | Path, run_id: str) -> Path:
    """The folder with the model that a run logged; fetched from the store where it is not a local folder.

    Raises
    ------
    AudioRNNError
        If the store has no such run, or the run no model.
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    client = _client(workspace)
    try:
        run = client.get_run(run_id)
        return Path(mlflow.artifacts.download_artifacts(artifact_uri=f"{run.info.artifact_uri}/model"))
    except (MlflowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise AudioRNNError(f"run {run_id}: no model to be had from {store(workspace)}: {reason}") from None
