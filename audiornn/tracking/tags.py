"""Where a run comes from, as tags."""

import os
from collections.abc import Mapping
from typing import Any

from audiornn.files import digest
from audiornn.provenance.command import command
from audiornn.provenance.dvc import locked_stages
from audiornn.provenance.git import version_tags

PARENT = "AUDIORNN_PARENT_RUN"  # environment variable: the run of the sweep that a pipeline run belongs to
PARENT_TAG = "mlflow.parentRunId"

VALIDATION = "data.validation"  # tag: digest of the validation part


def provenance_tags() -> dict[str, str]:
    """Tags that say where a run comes from: code, data, command, the sweep that it belongs to."""
    tags = {**version_tags(), "command": command(), "mlflow.user": os.environ.get("USER", "")}
    tags["mlflow.source.name"] = tags["command"]
    if locked := locked_stages():
        tags["dvc.lock.digest"] = digest(locked)
    if parent := os.environ.get(PARENT):
        tags[PARENT_TAG] = parent
    return tags


def validation_digest(manifest: Mapping[str, Any]) -> str:
    """A digest of the validation part: models that have it in common may be compared, whatever their context.

    Parameters
    ----------
    manifest
        Of the shards: the codec, and the ranges and counts of codes of the part.
    """
    part = manifest["parts"]["validation"]
    return digest([manifest["codec"], part["ranges"], part["code_counts"]])
