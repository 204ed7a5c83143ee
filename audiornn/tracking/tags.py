"""Provenance of a run as tags."""

import os

from audiornn.common.digests import digest
from audiornn.provenance.command import command
from audiornn.provenance.dvc import locked_stages
from audiornn.provenance.git import version_tags
from audiornn.tracking.store import masked

PARENT = "AUDIORNN_PARENT_RUN"  # environment variable: the parent run of a pipeline run in a sweep
PARENT_TAG = "mlflow.parentRunId"

VALIDATION_DIGEST_TAG = "data.validation"  # digest of the validation split


def provenance_tags() -> dict[str, str]:
    """Tags with the provenance of a run: code, data, command, sweep."""
    tags = {**version_tags(), "command": masked(command()), "mlflow.user": os.environ.get("USER", "")}
    tags["mlflow.source.name"] = tags["command"]
    if locked := locked_stages():
        tags["dvc.lock.digest"] = digest(locked)
    if parent := os.environ.get(PARENT):
        tags[PARENT_TAG] = parent
    return tags


def ancestor_tags(source: str, weights_sha256: str, run_id: str | None) -> dict[str, str]:
    """Tags of a run that starts from the weights of another: which ones, and, if known, the run that trained them."""
    tags = {"ancestor.source": masked(source), "ancestor.weights_sha256": weights_sha256}
    return tags | ({"ancestor.run": run_id} if run_id else {})
