"""Bits per sample, accuracy and top-5 accuracy of a model's predictions."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from audiornn.array_types import Tensor
from audiornn.backend import tf
from audiornn.dataset import shards
from audiornn.dataset.shards import Manifest
from audiornn.models.base import AudioModel

WINDOW_CODES = 1 << 15  # codes per batch where no batch size is given


def default_batch(window: int) -> int:
    """Windows per batch in evaluation: about 32,000 codes."""
    return max(1, WINDOW_CODES // window)


def target_mask(targets: Tensor, span: int) -> Tensor:
    """Bool [batch, span]: which of a window's last `span` codes are targets, from their numbers, int [batch]."""
    return tf.range(span)[None] < targets[:, None]


def logits_and_labels(
    model: AudioModel, codes: Tensor, targets: Tensor, context: int, training: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Logits and what they should predict.

    Parameters
    ----------
    codes
        Windows uint8 [batch, context + span].
    targets
        int32 [batch], how many of the last `span` codes are targets.

    Returns
    -------
    Logits float32 [batch, span, 256], labels int32 [batch, span], mask bool [batch, span].
    """
    span = codes.shape[1] - context
    real = tf.range(codes.shape[1] - 1)[None] < (context + targets - 1)[:, None]
    logits = model(codes[:, :-1], training=training, valid=real, last=span)
    return logits, tf.cast(codes[:, context:], tf.int32), target_mask(targets, span)


def per_target_metrics(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Nats, whether the code was the likeliest, and whether it was among five, float32 [batch, span] each.

    Parameters
    ----------
    logits
        float32 [batch, span, 256].
    labels
        The codes to predict, int32 [batch, span].
    """
    nats = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    likeliest = tf.cast(tf.math.top_k(logits, 5).indices == labels[..., None], tf.float32)
    return nats, likeliest[..., 0], tf.reduce_max(likeliest, -1)


def batch_sums(model: AudioModel, codes: Tensor, targets: Tensor, context: int) -> Tensor:
    """Sums over a batch of nats, top-1 hits, top-5 hits and targets, float32 [4]; see `logits_and_labels`."""
    logits, labels, mask = logits_and_labels(model, codes, targets, context)
    weight = tf.cast(mask, tf.float32)
    metrics = per_target_metrics(logits, labels)
    return tf.stack([*(tf.reduce_sum(metric * weight) for metric in metrics), tf.reduce_sum(weight)])


def evaluate_dataset(data: "tf.data.Dataset", score_batch: Callable[[Tensor, Tensor], Tensor]) -> dict[str, float]:
    """`bits_per_sample`, `accuracy`, `top5_accuracy` (in 0 to 1) and number of `targets` of a data set.

    Parameters
    ----------
    data
        Batches of codes and targets; see `logits_and_labels`.
    score_batch
        Gives the sums of a batch, as `batch_sums` does.
    """
    total = np.zeros(4)
    for codes, targets in data:
        total += score_batch(codes, targets).numpy()
    return averages(*total.tolist())


def averages(nats: float, hits: float, top5: float, targets: float) -> dict[str, float]:
    """Averages from sums over targets; see `evaluate_dataset`."""
    return {
        "bits_per_sample": nats / targets / math.log(2),
        "accuracy": hits / targets,
        "top5_accuracy": top5 / targets,
        "targets": int(targets),
    }


def evaluate(
    model: AudioModel, manifest: Manifest, batch: int | None = None, splits: Sequence[str] = ("validation", "test")
) -> dict[str, dict[str, float]]:
    """Score a model on splits of a folder of shards; the state starts anew in each window."""
    batch = batch or default_batch(manifest.layout.length)
    context = manifest.layout.context
    score_batch = tf.function(lambda codes, targets: batch_sums(model, codes, targets, context))
    return {split: evaluate_dataset(shards.read(manifest, split, batch), score_batch) for split in splits}
