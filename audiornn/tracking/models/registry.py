"""Model registry and the champion."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiornn.common.errors import AudioRNNError
from audiornn.common.files import locked
from audiornn.ranking import Standing, replaces
from audiornn.tracking.models.logged_model import MODEL
from audiornn.tracking.store import (
    CHAMPION_METRIC,
    EXPERIMENT,
    STANDING_METRICS,
    client_of,
    direct,
    masked,
    reason,
    store,
)
from audiornn.tracking.tags import VALIDATION_DIGEST_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun
    from mlflow.entities.model_registry import ModelVersion

REGISTERED, CHAMPION = "audiornn", "champion"  # registered model, and the alias of its best version
LOCK = (
    ".audiornn/champion.lock"  # in the workspace: of several experiments that end at once, one after the other compares
)


def model_folder(workspace: str | Path, source: str) -> Path:
    """Folder of a logged model, downloaded from the store if necessary.

    Parameters
    ----------
    workspace
        Folder of the default store.
    source
        The id of a run, or a URI of MLflow's such as `models:/audiornn@champion` or `models:/audiornn/3`.

    Raises
    ------
    AudioRNNError
        If the store has no such run or model, the run has no model, or it is not one of this project.
    """
    import mlflow
    from mlflow.exceptions import MlflowException
    from mlflow.models import Model

    client = client_of(workspace)
    uri = source.startswith("models:/")
    try:
        folder = mlflow.artifacts.download_artifacts(source if uri else f"models:/{_logged_model(client, source)}")
        path = Model.load(folder).flavors["python_function"]["artifacts"][MODEL]["path"]
    except (MlflowException, OSError, KeyError) as error:
        why = reason(error) if not isinstance(error, KeyError) else "not a model of audiornn"
        where = source if uri else f"run {source}"
        raise AudioRNNError(
            f"{where}: no model found in {masked(store(workspace))}: {why}; dvc repro trains one"
        ) from None
    return Path(folder) / path


def _logged_model(client: "MlflowClient", run_id: str) -> str:
    """The id of the model that a run logged last."""
    outputs = client.get_run(run_id).outputs
    if not (outputs and outputs.model_outputs):
        raise OSError("the run has no model")
    return outputs.model_outputs[-1].model_id


@dataclass(frozen=True)
class StoredModel:
    """A model of the store: its `source` as `model_folder` takes it, a title, and how good it is, if that is known."""

    source: str
    title: str
    standing: Standing | None


def stored_models(workspace: str | Path, limit: int = 50) -> list[StoredModel]:
    """The models of the store: registered versions, newest first, then those of the latest runs, at most `limit` each.

    A store that does not exist is not created.
    """
    uri = store(workspace)
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():
        return []
    client, best = client_of(workspace), champion(workspace)
    found = []
    for version in client.search_model_versions(f"name = '{REGISTERED}'", limit, ["version_number DESC"]):
        is_best = f", {CHAMPION}" if best and version.version == best.version else ""
        title, source = f"version {version.version}{is_best}", f"models:/{REGISTERED}/{version.version}"
        found.append(StoredModel(source, title, _standing(version.tags)))
    experiment = client.get_experiment_by_name(os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT)
    for run in client.search_runs([experiment.experiment_id] if experiment else [], max_results=limit):
        if run.outputs and run.outputs.model_outputs:
            title = f"run {run.info.run_name} {run.info.run_id[:7]}"
            found.append(StoredModel(run.info.run_id, title, _standing(run.data.metrics)))
    return found


def champion(workspace: str | Path) -> "ModelVersion | None":
    """The registered version with the alias `champion`, if any."""
    from mlflow.exceptions import MlflowException

    try:
        return client_of(workspace).get_model_version_by_alias(REGISTERED, CHAMPION)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):  # there is none
            raise
        return None


@direct
def promote(workspace: str | Path, run_id: str) -> str:
    """Register the model of a run, if it is not yet, and make it the champion: `models:/audiornn@champion`.

    Returns
    -------
    The registered version.

    Raises
    ------
    AudioRNNError
        If the store has no such run, or the run has no model or was not evaluated.
    """
    from mlflow.exceptions import MlflowException

    client = client_of(workspace)
    try:
        run = client.get_run(run_id)
        model_id = _logged_model(client, run_id)
    except (MlflowException, OSError) as error:
        raise AudioRNNError(f"run {run_id}: no model found in {masked(store(workspace))}: {reason(error)}") from None
    if CHAMPION_METRIC not in run.data.metrics:
        raise AudioRNNError(
            f"run {run_id}: has no metric {CHAMPION_METRIC}: only an evaluated model can become champion"
        )
    if not client.search_registered_models(f"name = '{REGISTERED}'"):
        try:
            client.create_registered_model(REGISTERED)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":  # somebody else created it meanwhile
                raise
    found = [v for v in client.search_model_versions(f"name = '{REGISTERED}'") if v.run_id == run_id]
    registered = (
        found[0]
        if found
        else client.create_model_version(REGISTERED, f"models:/{model_id}", run_id=run_id, model_id=model_id)
    )
    _describe(client, registered, run)
    client.set_registered_model_alias(REGISTERED, CHAMPION, registered.version)
    return str(registered.version)


def _describe(client: "MlflowClient", version: "ModelVersion", run: "MlflowRun") -> None:
    """Tag a registered version with the numbers that later models are compared with."""
    tags = {key: str(run.data.metrics[key]) for key in STANDING_METRICS if key in run.data.metrics}
    for key, value in {**tags, VALIDATION_DIGEST_TAG: run.data.tags.get(VALIDATION_DIGEST_TAG, "")}.items():
        client.set_model_version_tag(REGISTERED, version.version, key, value)


def _standing(numbers: Mapping[str, Any]) -> Standing | None:
    """Standing of a model, from the metrics of a run or the tags of a version; None if it was not evaluated."""
    bits, ratio, flawed = (float(numbers[key]) if key in numbers else None for key in STANDING_METRICS)
    return None if bits is None else Standing(bits=bits, ratio=ratio, flawed=flawed)


def promote_if_better(workspace: str | Path, run_id: str, bits: float | None = None) -> str:
    """Make the model of a run the champion if it is better than the current one; returns a sentence with the reason.

    `ranking.replaces` says which is better, by bits per sample on the same validation split and by sound. Where there
    is no champion, the first is it. One that was validated on other recordings stays, until `promote` is called: the
    two cannot be compared. A champion from before sound was measured is one of unknown sound.

    Parameters
    ----------
    workspace
        Folder of the default store.
    run_id
        The run, evaluated.
    bits
        Bits per sample on validation, for a run without this metric, whose model was trained elsewhere.
    """
    with locked(Path(workspace) / LOCK):
        return _promote_if_better(workspace, run_id, bits)


def _promote_if_better(workspace: str | Path, run_id: str, bits: float | None) -> str:
    client = client_of(workspace)
    run, holder = client.get_run(run_id), champion(workspace)
    if CHAMPION_METRIC not in run.data.metrics and bits is not None:
        client.log_metric(run_id, CHAMPION_METRIC, bits)
        run = client.get_run(run_id)
    if holder is None:
        return f"champion: version {promote(workspace, run_id)}, the first"
    if holder.run_id == run_id:
        _describe(client, holder, run)  # its sound may have been measured again
        return f"champion: still version {holder.version}, this model"
    if holder.tags.get(VALIDATION_DIGEST_TAG) != run.data.tags.get(VALIDATION_DIGEST_TAG):
        return (
            f"champion: still version {holder.version}, which was validated on other recordings; "
            f"to replace it: audiornn promote {run_id}"
        )
    ours, theirs = _standing(run.data.metrics), _standing(holder.tags)
    assert ours and theirs  # only evaluated models are compared
    better, reason = replaces(ours, theirs)
    kept = f"version {promote(workspace, run_id)}, this model" if better else f"still version {holder.version}"
    return (
        f"champion: {kept}, by {reason}: this model has {ours.describe()}; "
        f"version {holder.version} has {theirs.describe()}"
    )
