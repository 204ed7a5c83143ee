"""How well a model predicts: bits per sample, accuracy, top-5 accuracy."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from audiornn.backend import tf
from audiornn.dataset import shards
from audiornn.models.base import AudioModel

WINDOW_CODES = 1 << 15  # codes a batch where no batch size is given


def default_batch(window: int) -> int:
    """Windows a batch for evaluation, so that a batch holds about 32,000 codes."""
    return max(1, WINDOW_CODES // window)


def target_mask(targets: Any, span: int) -> Any:
    """Bool [batch, span]: which of a window's last `span` codes are targets, from their numbers, int [batch]."""
    return tf.range(span)[None] < targets[:, None]


def predict(model: AudioModel, codes: Any, targets: Any, context: int, training: bool = False) -> tuple:
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


def marks(logits: Any, labels: Any) -> tuple:
    """Nats, whether the code was the likeliest, and whether it was among five, float32 [batch, span] each.

    Parameters
    ----------
    logits
        float32 [batch, span, 256].
    labels
        The codes that came, int32 [batch, span].
    """
    nats = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    likeliest = tf.cast(tf.math.top_k(logits, 5).indices == labels[..., None], tf.float32)
    return nats, likeliest[..., 0], tf.reduce_max(likeliest, -1)


def sums(model: AudioModel, codes: Any, targets: Any, context: int) -> Any:
    """Nats, hits, hits among five, and targets of a batch, float32 [4]; arguments as of `predict`."""
    logits, labels, mask = predict(model, codes, targets, context)
    weight = tf.cast(mask, tf.float32)
    return tf.stack([*(tf.reduce_sum(mark * weight) for mark in marks(logits, labels)), tf.reduce_sum(weight)])


def score(data: "tf.data.Dataset", score_batch: Callable[[Any, Any], Any]) -> dict[str, float]:
    """`bits_per_sample`, `accuracy`, `top5_accuracy` (shares in 0 to 1) and number of `targets` over a data set."""
    total = np.zeros(4)
    for codes, targets in data:
        total += score_batch(codes, targets).numpy()
    return scores(*total.tolist())


def scores(nats: float, hits: float, top5: float, targets: float) -> dict[str, float]:
    """What sums over so many targets mean; see `score`."""
    return {
        "bits_per_sample": nats / targets / math.log(2),
        "accuracy": hits / targets,
        "top5_accuracy": top5 / targets,
        "targets": int(targets),
    }


def evaluate(
    model: AudioModel, folder: str | Path, batch: int | None = None, parts: Sequence[str] = ("validation", "test")
) -> dict[str, dict[str, float]]:
    """Score a model on parts of a folder of shards; the state starts anew in each window."""
    manifest = shards.read_manifest(folder)
    batch = batch or default_batch(manifest["context"] + manifest["span"])
    score_batch = tf.function(lambda codes, targets: sums(model, codes, targets, manifest["context"]))
    return {part: score(shards.read(folder, part, batch), score_batch) for part in parts}
