"""Inputs of a run according to dvc.lock."""

from pathlib import Path
from typing import Any

import yaml

LOCK, UPSTREAM = Path("dvc.lock"), ("ancestor", "corpus", "resample", "encode", "shard")  # stages before the training


def locked_stages() -> dict[str, Any]:
    """Entries of dvc.lock for the stages before the training."""
    try:
        stages = yaml.safe_load(LOCK.read_text(encoding="utf-8"))["stages"]
    except (OSError, TypeError, KeyError, yaml.YAMLError):  # stages can be run without DVC
        return {}
    return {stage: stages[stage] for stage in UPSTREAM if stage in stages}


def locked_shards() -> dict[str, str]:
    """DVC's hash of the shards."""
    outs = locked_stages().get("shard", {}).get("outs", [])
    return next(({"md5": out["md5"]} for out in outs if out["path"] == "data/shard"), {})
