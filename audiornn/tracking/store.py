"""Location of the MLflow store, and its page of runs."""

import json
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from audiornn.waits import announced

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "audiornn"
REMOTE = {"databricks", "databricks-uc", "uc"}  # names of stores that are not paths
DATABASE, ARTIFACTS = "mlflow.db", "mlartifacts"
# View of the runs in the UI: best first, with the columns that distinguish them.
BEST = "metrics.`validation.bits_per_sample`"
VIEW = {
    "selectedColumns": [
        "attributes.`Duration`",
        "params.`train.model.name`",
        "params.`shard.context`",
        BEST,
        "metrics.`test.bits_per_sample`",
        "metrics.`test.accuracy`",
        "metrics.`generate.distance_ratio`",
        "metrics.`generate.clips_with_findings`",
        "metrics.`generate.samples_per_second`",
    ],
    "orderByKey": BEST,
    "orderByAsc": True,
}

CHAMPION_METRIC = "validation.bits_per_sample"
# further numbers by which models are compared
RATIO, FLAWED = "generate.distance_ratio", "generate.clips_with_findings"


def store(workspace: str | Path) -> str:
    """The tracking URI: MLFLOW_TRACKING_URI or, without it, a SQLite database in the workspace.

    Relative paths are relative to the workspace, not to the current folder, as DVC runs queued experiments in temporary
    copies.
    """
    root = Path(workspace).resolve()
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{DATABASE}"
    prefix = "sqlite:///"
    if uri.startswith(prefix):
        return prefix + str(root / uri.removeprefix(prefix))  # an absolute path stays as it is
    return uri if "://" in uri or uri.split(":")[0] in REMOTE else str(root / uri)


def client_of(workspace: str | Path) -> "MlflowClient":
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it logs the creation of every table
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    with announced("importing MLflow"):
        import mlflow

    uri = store(workspace)
    mlflow.set_tracking_uri(uri)
    with announced("opening the MLflow store"):  # a new one gets its tables
        return mlflow.MlflowClient(uri)


def experiment_id(client: "MlflowClient", workspace: str | Path) -> str:
    from mlflow.exceptions import MlflowException

    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
    found = client.get_experiment_by_name(name)
    if found is None:
        # A server decides where its artifacts go; for a local database MLflow would use the current folder.
        local = store(workspace).startswith("sqlite:")
        location = (Path(workspace).resolve() / ARTIFACTS).as_uri() if local else None
        try:
            return client.create_experiment(name, artifact_location=location)
        except MlflowException:  # another process created it meanwhile
            found = client.get_experiment_by_name(name)
            assert found is not None
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return found.experiment_id


def runs_page(workspace: str | Path) -> str:
    """Path of the UI's page of runs, best first.

    By default MLflow opens a page for language models; this one would take two clicks and a choice of columns.
    """
    client = client_of(workspace)
    experiment = experiment_id(client, workspace)
    client.set_experiment_tag(experiment, f"mlflow.sharedViewState.{EXPERIMENT}", json.dumps(VIEW))
    return f"/#/experiments/{experiment}/runs?workflowType=machine_learning&viewStateShareKey={EXPERIMENT}"
