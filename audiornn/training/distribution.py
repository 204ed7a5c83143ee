"""Devices and machines that train together, by `tf.distribute`."""

import json
import os
from typing import Any

from audiornn.errors import AudioRNNError


def cluster() -> dict[str, Any]:
    """The cluster that TF_CONFIG describes, and which of its tasks this process is; empty without it.

    Raises
    ------
    AudioRNNError
        If TF_CONFIG is not JSON.
    """
    text = os.environ.get("TF_CONFIG", "")
    try:
        return json.loads(text) if text else {}
    except ValueError as error:
        raise AudioRNNError(f"TF_CONFIG holds {text!r}, but must be JSON: {error}") from None


def is_chief() -> bool:
    """Whether this process writes: it is the chief of a cluster, its first worker if it has no chief, or alone."""
    config = cluster()
    task = config.get("task", {})
    if "chief" in config.get("cluster", {}):
        return task.get("type") == "chief"
    return task.get("index", 0) == 0


def strategy(name: str) -> Any:
    """The strategy that `train.strategy` names.

    `auto` is `multiworker` where TF_CONFIG describes a cluster, `mirrored` where there are several GPUs, or else
    `default`. Must be called before anything is computed: workers find each other when TensorFlow starts.

    Raises
    ------
    AudioRNNError
        If `multiworker` is asked for without TF_CONFIG.
    """
    from audiornn.backend import GPUS, tf

    if name == "auto":
        name = "multiworker" if cluster() else "mirrored" if len(GPUS) > 1 else "default"
    if name == "multiworker":
        if not cluster():
            raise AudioRNNError(
                "train.strategy is 'multiworker', but TF_CONFIG, which describes the cluster, is not set"
            )
        return tf.distribute.MultiWorkerMirroredStrategy()
    return tf.distribute.MirroredStrategy() if name == "mirrored" else tf.distribute.get_strategy()
