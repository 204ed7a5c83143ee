"""Bits per sample, accuracy and top-5 accuracy of a model's predictions."""

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from tqdm import tqdm

from audiornn.backend import tf
from audiornn.common.array_types import Tensor
from audiornn.dataset import shards
from audiornn.dataset.manifest import Manifest
from audiornn.models.base import AudioModel

WINDOW_CODES = 1 << 15  # codes per batch where no batch size is given


def default_batch_size(window: int) -> int:
    """Windows per batch in evaluation: about 32,000 codes."""
    return max(1, WINDOW_CODES // window)


def target_mask(targets: Tensor, num_last: int) -> Tensor:
    """Bool [batch, num_last]: which of a window's last `num_last` codes are targets; `targets` int [batch]."""
    return tf.range(num_last)[None] < targets[:, None]


def logits_and_labels(model: AudioModel, codes: Tensor, targets: Tensor, context: int) -> tuple[Tensor, Tensor, Tensor]:
    """Logits of windows, and the codes that they should predict.

    Parameters
    ----------
    codes
        Windows uint8 [batch, context + num_last].
    targets
        int32 [batch], number of targets among the last `num_last` codes.

    Returns
    -------
    Logits float32 [batch, num_last, 256], labels int32 [batch, num_last], mask bool [batch, num_last].
    """
    num_last = codes.shape[1] - context
    real = tf.range(codes.shape[1] - 1)[None] < (context + targets - 1)[:, None]
    logits = model(codes[:, :-1], padding_mask=real, num_last=num_last)
    return logits, tf.cast(codes[:, context:], tf.int32), target_mask(targets, num_last)


def per_target_metrics(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Loss in nats, top-1 hit and top-5 hit (0 or 1) of each target, float32 [batch, num_last] each.

    Parameters
    ----------
    logits
        float32 [batch, num_last, 256].
    labels
        The codes to predict, int32 [batch, num_last].
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


def evaluate_dataset(
    data: Iterable[tuple[Tensor, Tensor]], score_batch: Callable[[Tensor, Tensor], Tensor]
) -> dict[str, float]:
    """`bits_per_sample`, `accuracy`, `top5_accuracy` (in 0 to 1) and number of `targets` of a data set.

    Parameters
    ----------
    data
        Batches of codes and targets; see `logits_and_labels`.
    score_batch
        Returns the sums of a batch, as `batch_sums` does.
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
    model: AudioModel, manifest: Manifest, batch_size: int | None = None, splits: Sequence[str] = ("validation", "test")
) -> dict[str, dict[str, float]]:
    """Evaluate a model on splits of a folder of shards; every window starts from the initial state."""
    batch_size = batch_size or default_batch_size(manifest.layout.length)
    context = manifest.layout.context
    score_batch = tf.function(lambda codes, targets: batch_sums(model, codes, targets, context))
    results = {}
    for split in splits:
        batches = -(-manifest.splits[split].windows // batch_size)
        data = tqdm(shards.read(manifest, split, batch_size), split, batches, unit="batch", disable=None)
        results[split] = evaluate_dataset(data, score_batch)
    return results
