"""Distributed training by `tf.distribute`."""

import os
from typing import TYPE_CHECKING

from audiornn.common.errors import AudioRNNError
from audiornn.dataset.manifest import SplitManifest
from audiornn.params import Train

if TYPE_CHECKING:
    import tensorflow as tf

LARGE = 8e9  # bytes of the training split, which a machine may no longer keep in memory from one epoch to the next
MAX_IMBALANCE = 1.05  # windows of the worker with the most, relative to the mean: the others train on padding meanwhile


def cluster() -> "tf.distribute.cluster_resolver.TFConfigClusterResolver | None":
    """The cluster that TF_CONFIG describes, and which of its tasks this process is; None without it.

    Raises
    ------
    AudioRNNError
        If TF_CONFIG is not JSON, or not what TensorFlow expects.
    """
    from audiornn.backend import tf

    text = os.environ.get("TF_CONFIG", "")
    if not text:
        return None
    resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
    try:
        if not resolver.cluster_spec():
            return None
        task = resolver.task_type, resolver.task_id
    except (ValueError, TypeError, AttributeError) as error:
        raise AudioRNNError(f"TF_CONFIG holds {text!r}, but must be JSON with cluster and task: {error}") from None
    if None in task:
        raise AudioRNNError(f"TF_CONFIG holds {text!r}, but must have a task with type and index")
    return resolver


def is_chief() -> bool:
    """Whether this process writes results: the chief of a cluster, or its first worker, or the only process."""
    resolver = cluster()
    if resolver is None:
        return True
    return resolver.task_type == "chief" if "chief" in resolver.cluster_spec().jobs else resolver.task_id == 0


def own_shards(params: Train, split: SplitManifest) -> tuple[int, int]:
    """Which shards of the training split this process reads: `worker` and `workers` of `audiornn.dataset.shards.read`.

    With `train.shard_policy` data, and without a cluster, it reads all of them: batches are those of one machine. With
    file each worker reads its own, so that all together read the data once. `auto` is file if the split has LARGE bytes
    or more, and no worker would have more than MAX_IMBALANCE times the windows of the mean.
    """
    policy, resolver = params.shard_policy, cluster()
    if resolver is None or params.strategy not in ("auto", "multiworker") or policy == "data":
        return 0, 1
    jobs = resolver.cluster_spec().as_dict()
    workers = sum(len(jobs.get(job, [])) for job in ("chief", "worker"))
    windows = [sum(shard.windows for shard in split.shards[worker::workers]) for worker in range(workers)]
    if policy == "auto" and (split.bytes < LARGE or max(windows) * workers > MAX_IMBALANCE * sum(windows)):
        return 0, 1
    return resolver.task_id + (len(jobs.get("chief", [])) if resolver.task_type == "worker" else 0), workers


def strategy(name: str) -> "tf.distribute.Strategy":
    """The strategy that `train.strategy` names.

    `auto` is `multiworker` if TF_CONFIG describes a cluster, `mirrored` if there are several GPUs, else `default`. Must
    be called first, as workers connect when TensorFlow starts.

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
