"""What dvc.lock says of a run's inputs."""

from pathlib import Path
from typing import Any

import yaml

LOCK, UPSTREAM = Path("dvc.lock"), ("corpus", "resample", "encode", "shard")  # stages before the training


def locked_stages() -> dict[str, Any]:
    """What dvc.lock says of the stages before the training, which have run when it begins."""
    try:
        stages = yaml.safe_load(LOCK.read_text(encoding="utf-8"))["stages"]
    except (OSError, TypeError, KeyError, yaml.YAMLError):  # a stage that is run by hand needs no DVC
        return {}
    return {stage: stages[stage] for stage in UPSTREAM if stage in stages}


def locked_shards() -> dict[str, str]:
    """The hash by which DVC knows the shards."""
    outs = locked_stages().get("shard", {}).get("outs", [])
    return next(({"md5": out["md5"]} for out in outs if out["path"] == "data/shard"), {})
