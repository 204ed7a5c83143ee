"""Delivery of what a run logged to the MLflow store; may be repeated without doubling anything."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiornn.common.errors import AudioRNNError
from audiornn.tracking.models.logged_model import log_model
from audiornn.tracking.models.registry import promote_if_better
from audiornn.tracking.outbox import FOLDER, Outbox, RefusedError
from audiornn.tracking.store import StoreError, client_of, label, reason
from audiornn.tracking.tags import PARENT_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient

# What happens to points of a metric at steps that it already has: logged nevertheless; left out up to the last step, in
# a training that resumes; left out if they are equal, in a stage that is rerun.
APPEND, RESUME, RERUN = "append", "resume", "rerun"

Point = tuple[str, float, int, int]  # key, value, time in ms, step


class Delivery:
    """Delivery of the entries of one run."""

    def __init__(self, client: "MlflowClient", workspace: str | Path, run_id: str) -> None:
        self._client, self._workspace, self._run_id = client, workspace, run_id
        self._known: dict[str, dict[int, float]] = {}

    def deliver(self, kind: str, content: dict[str, Any], files: Path | None) -> str | None:
        """Log an entry: its kind, content, and file or folder; returns the outcome, if it is for people to read."""
        from mlflow.exceptions import MlflowException

        try:
            return self._log(kind, content, files)
        except StoreError:
            raise
        except AudioRNNError as error:
            raise RefusedError(str(error)) from None
        except MlflowException as error:
            if error.error_code == "INVALID_PARAMETER_VALUE":  # such as a run that a person has deleted
                raise RefusedError(str(error)) from None
            raise

    def _log(self, kind: str, content: dict[str, Any], files: Path | None) -> str | None:
        from mlflow.entities import Dataset, DatasetInput, InputTag, Param, RunTag

        client, run_id = self._client, self._run_id
        match kind:
            case "params":
                flat = [Param(key, value) for key, value in content.items()]
                for start in range(0, len(flat), 100):  # MLflow's limit per call
                    client.log_batch(run_id, params=flat[start : start + 100])
            case "metrics":
                self._metrics(**content)
            case "tags":
                client.log_batch(run_id, tags=[RunTag(key, value) for key, value in content.items()])
            case "artifact":
                assert files
                log = client.log_artifacts if files.is_dir() else client.log_artifact
                log(run_id, str(files), content["artifact_path"])
            case "dataset":
                data = DatasetInput(Dataset(**content), [InputTag("mlflow.data.context", "training")])
                client.log_inputs(run_id, [data])
            case "model":
                assert files
                log_model(client, run_id, files)
            case "resumed":
                client.update_run(run_id, status="RUNNING")
            case "ended":
                client.set_terminated(run_id, **content)
            case "child":
                adopt(client, self._workspace, run_id, **content)
            case "promotion":
                return promote_if_better(self._workspace, run_id, **content)
            case _:
                raise RefusedError(f"unknown entry {kind}")
        return None

    def _metrics(self, points: list[Point], mode: str, curve: bool) -> None:
        from mlflow.entities import Metric

        batch = [Metric(*point) for point in self._fresh([(k, v, t, s) for k, v, t, s in points], mode, curve)]
        for start in range(0, len(batch), 1000):  # MLflow's limit per call
            self._client.log_batch(self._run_id, metrics=batch[start : start + 1000])

    def _fresh(self, points: list[Point], mode: str, curve: bool, copy: int = 1) -> list[Point]:
        """Points that the run does not have; a curve that differs from the run's gets a name with a number."""
        if mode == APPEND:
            return points
        if mode == RESUME:
            return [point for point in points if point[3] > max(self._history(point[0]), default=-1)]
        named = [(k if copy == 1 else f"{k}.{copy}", v, t, s) for k, v, t, s in points]
        fresh: list[Point] = []
        for key, value, timestamp, step in named:
            known = self._history(key).get(step)
            if known is None or not (known == value or (math.isnan(known) and math.isnan(value))):
                if curve and known is not None:
                    return self._fresh(points, mode, curve, copy + 1)
                fresh.append((key, value, timestamp, step))
        return fresh

    def _history(self, key: str) -> dict[int, float]:
        """Values of a metric by step, as they were before this delivery began."""
        if key not in self._known:
            history = self._client.get_metric_history(self._run_id, key)
            self._known[key] = {point.step: point.value for point in sorted(history, key=lambda p: p.timestamp)}
        return self._known[key]


def adopt(
    client: "MlflowClient",
    workspace: str | Path,
    parent: str,
    run_id: str,
    name: str,
    params: Mapping[str, str],
    points: list[Point],
) -> str:
    """Make a run the child of a parent; returns the child's id.

    If it has another parent, or is not in the store as its results came from DVC's cache, the child is a new run with
    its parameters and results, which names it in the tag `taken_from_run`.
    """
    from mlflow.exceptions import MlflowException

    try:
        run = client.get_run(run_id)
        if run.info.lifecycle_stage == "active" and run.data.tags.get(PARENT_TAG) in (None, parent):
            client.set_tag(run_id, PARENT_TAG, parent)
            return run_id
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
    experiment = client.get_run(parent).info.experiment_id
    tags = {"taken_from_run": run_id, PARENT_TAG: parent}
    query = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
    found = client.search_runs([experiment], query, max_results=1)
    copy = (found[0] if found else client.create_run(experiment, run_name=name, tags=tags)).info.run_id
    delivery = Delivery(client, workspace, copy)
    delivery.deliver("params", dict(params), None)
    delivery.deliver("metrics", {"points": points, "mode": RERUN, "curve": False}, None)
    client.set_terminated(copy)
    return copy


def sync(workspace: str | Path) -> Iterator[str]:
    """Deliver all that runs have left in their outboxes, oldest run first; yields what was done, line by line.

    Raises
    ------
    AudioRNNError
        If something still waits.
    """
    left = []
    folders = sorted((Path(workspace) / FOLDER).glob("*/"), key=lambda folder: folder.stat().st_mtime)
    client = client_of(workspace) if folders else None
    for folder in folders:
        assert client
        outbox = Outbox(workspace, folder.name, Delivery(client, workspace, folder.name).deliver)
        before = outbox.waiting
        if before and (theirs := outbox.destination(before[0])) != label(workspace):
            left.append(f"run {folder.name}: {len(before)} entries wait for {theirs}: set MLFLOW_TRACKING_URI to it")
            continue
        if outbox.deliver():
            yield f"run {folder.name}: {len(before)} entries delivered"
            outbox.remove()
        else:
            why = reason(outbox.error) if outbox.error else "another process delivers them"
            left.append(f"run {folder.name}: {len(outbox.waiting)} entries wait: {why}")
    if left:
        raise AudioRNNError("\n".join(left))
