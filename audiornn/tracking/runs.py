"""MLflow runs: one per pipeline run."""

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from audiornn.common.serialization import read_json, write_json
from audiornn.common.validation import parse
from audiornn.provenance.dvc import locked_shards
from audiornn.provenance.git import version_tags
from audiornn.provenance.overrides import flatten
from audiornn.tracking import system_metrics
from audiornn.tracking.delivery import APPEND, RERUN, RESUME, Delivery, Point
from audiornn.tracking.outbox import FOLDER, Outbox
from audiornn.tracking.store import StoreError, client_of, direct, experiment_id, masked, store
from audiornn.tracking.tags import provenance_tags
from audiornn.tracking.trials import Pruned

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun

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
    """Writer of one MLflow run. What it writes waits in an outbox until the store has taken it.

    As a context manager it waits, at the end of the block, until all is delivered, as long as the store takes it.

    Parameters
    ----------
    client
        Of the store.
    workspace
        Folder that holds the outbox.
    run_id
        The run.
    mode
        What happens to points that the run already has: see `delivery`.
    """

    def __init__(self, client: "MlflowClient", workspace: str | Path, run_id: str, mode: str = APPEND) -> None:
        self._client, self._workspace, self._mode = client, workspace, mode
        self.run_id = run_id
        self.outbox = Outbox(workspace, run_id, Delivery(client, workspace, run_id).deliver)

    def __enter__(self) -> "Run":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.outbox.close()

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log nested parameters under dotted names, as in params.yaml."""
        self.outbox.add("params", as_text(params))

    def log_metrics(self, metrics: Mapping[str, float | None], step: int = 0) -> None:
        """Log numbers; entries of None are skipped."""
        self._log(points({step: metrics}), curve=False)

    def log_curves(self, steps: Mapping[int, Mapping[str, float | None]], prefix: str = "") -> None:
        """Log numbers of several steps at once, under names that begin with `prefix`.

        Points that the run already has are not repeated, when a training resumes or a stage is rerun.
        """
        self._log(points(steps, prefix), curve=True)

    def _log(self, points: list[Point], curve: bool) -> None:
        if points:
            self.outbox.add("metrics", {"points": points, "mode": self._mode, "curve": curve})

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        self.outbox.add("tags", {key: masked(value) for key, value in tags.items()})

    def log_artifact(self, path: str | Path, artifact_path: str | None) -> None:
        """Log a file, or all files of a folder, under the artifact folder `artifact_path`."""
        self.outbox.add("artifact", {"artifact_path": artifact_path}, path)

    def log_dataset(self, digest: str, profile: Mapping[str, Any]) -> None:
        """Log the shards that a run learns from as its input, by their digest; `profile` is what to know of them."""
        data = {
            "name": "shards",
            "digest": digest[:32],  # MLflow keeps 36 characters; the tag data.digest has all 64
            "source_type": "dvc",
            "source": json.dumps({"path": "data/shard", **locked_shards()}),
            "profile": json.dumps(profile),
        }
        self.outbox.add("dataset", data)

    def log_model(self, folder: str | Path) -> None:
        """Log a model's folder as the MLflow model of the run; see `log_model`."""
        self.outbox.add("model", {}, folder)

    def promote_if_better(self, bits: float) -> None:
        """Make the run's model the champion if it is better, and say so; see `registry.promote_if_better`."""
        self.outbox.add("promotion", {"bits": bits})

    def set_terminated(self, status: str = "FINISHED") -> None:
        """Set the status of the run at its end."""
        self.outbox.add("ended", {"status": status, "end_time": _now()})


def _now() -> int:
    """Time in ms, as MLflow counts it."""
    return int(time.time() * 1000)


def as_text(params: Mapping[str, Any]) -> dict[str, str]:
    """Nested parameters under dotted names, as texts."""
    return {key: str(list(value) if isinstance(value, tuple) else value) for key, value in flatten(params)}


def points(steps: Mapping[int, Mapping[str, float | None]], prefix: str = "") -> list[Point]:
    """Points of metrics at several steps, without those of None."""
    now = _now()
    return [
        (prefix + key, float(value), now, step)
        for step, metrics in steps.items()
        for key, value in metrics.items()
        if value is not None
    ]


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
    found = _find(client, run_id) if run_id else None
    if found and found.info.lifecycle_stage != "deleted":
        run = Run(client, workspace, found.info.run_id, RESUME)
        run.outbox.add("resumed", {})
        run.outbox.close()  # what the interrupted training left comes first
    else:
        run = Run(client, workspace, _begin(client, workspace, tags, name))
        run.log_params(params)
        if run_file:
            write_json(run_file, {"run_id": run.run_id})
    with run, terminating(run), system_metrics.logged(run, workspace, resumed=bool(found)):
        yield run


@contextmanager
def terminating(run: Run) -> Iterator[None]:
    """Set the status of a run at its end."""
    try:
        yield
    except KeyboardInterrupt:
        run.set_terminated("KILLED")
        raise
    except Pruned as pruned:
        run.set_tags({"stopped": f"pruned {pruned}", "pruned": True})
        run.set_terminated("KILLED")
        raise
    except BaseException as error:
        run.set_tags({"error": error})
        run.set_terminated("FAILED")
        raise
    run.set_terminated()


@direct
def _begin(client: "MlflowClient", workspace: str | Path, tags: Mapping[str, str], name: str) -> str:
    """The id of a new run."""
    experiment = os.environ.get("DVC_EXP_NAME")
    tags = {**tags, **provenance_tags(), **({"dvc.experiment": experiment} if experiment else {})}
    return client.create_run(experiment_id(client, workspace), run_name=experiment or name, tags=tags).info.run_id


@direct
def _find(client: "MlflowClient", run_id: str) -> "MlflowRun | None":
    """A run, if the store has it."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None


def reopen(workspace: str | Path, model_folder: str | Path) -> Run:
    """The run that trained the weights in `model_folder`, to log more into it.

    If the store does not have that run (the model was trained elsewhere, or the store is new), a new run is created
    that names the original in its tag `trained_in_run`.

    Raises
    ------
    StoreError
        If the tracking server is not there, unless it was lost earlier in this run: then more waits for it.
    """
    run_id = read_run_id(Path(model_folder) / RUN_FILE)
    try:
        client = client_of(workspace)
        if _find(client, run_id):
            return Run(client, workspace, run_id, RERUN)
    except StoreError:
        # A client of a database connects at once; that of a server does not.
        lost = any((Path(workspace) / FOLDER / run_id).glob("[0-9]*"))
        if not lost or not store(workspace).startswith("http"):
            raise
        return Run(client_of(workspace, probe=False), workspace, run_id, RERUN)
    return Run(client, workspace, _run_of_a_model_from_elsewhere(client, workspace, run_id, model_folder), RERUN)


@direct
def _run_of_a_model_from_elsewhere(
    client: "MlflowClient", workspace: str | Path, run_id: str, model_folder: str | Path
) -> str:
    """The id of the run for a model whose own run the store does not have."""
    experiment = experiment_id(client, workspace)
    found = client.search_runs([experiment], f"tags.trained_in_run = '{run_id}'", max_results=1)
    if found:
        return found[0].info.run_id
    tags = {"trained_in_run": run_id, **version_tags()}
    begun = Run(
        client, workspace, client.create_run(experiment, run_name="model from elsewhere", tags=tags).info.run_id
    )
    begun.log_model(model_folder)
    begun.set_terminated()
    return begun.run_id
