"""What a trained model makes of the test part, looked at closely.

How much of the past it uses (`context_curve`); the loss of every sample, and whether its probabilities can be believed
(`survey`); the seconds that it predicts best and worst (`extremes`); whether generated codes are distributed as real
ones (`divergence`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiornn.backend import tf
from audiornn.codec import CODES
from audiornn.dataset import windows as windows_module
from audiornn.evaluation import scores as scores_module
from audiornn.evaluation.scores import default_batch, logits_and_labels
from audiornn.models.base import AudioModel

BITS = 1 / math.log(2)
CONFIDENCES = np.linspace(0, 1, 21)  # edges of the classes of the likeliest code's probability
PROBABILITIES = np.concatenate([[0], 10 ** np.linspace(-5, 0, 21)])  # of any code's
EVERY = 8  # of so many targets one is taken to see whether probabilities can be believed


@dataclass
class Reliability:
    """Predicted probabilities in classes, and how often what was predicted came true.

    Attributes
    ----------
    edges
        Of the classes, float [classes + 1].
    counts, predicted, observed
        Float [classes]: how many predictions a class holds, the sum of their probabilities, how many came true.
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.float64] = field(init=False)
    predicted: NDArray[np.float64] = field(init=False)
    observed: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        self.counts, self.predicted, self.observed = np.zeros([3, len(self.edges) - 1])

    def add(self, probabilities: NDArray[Any], came: NDArray[Any]) -> None:
        """Count predictions: probabilities float [n], and whether each came true, 0 or 1 [n]."""
        classes = len(self.edges) - 1
        which = np.clip(np.searchsorted(self.edges, probabilities, side="right") - 1, 0, classes - 1)
        for total, weights in ((self.counts, None), (self.predicted, probabilities), (self.observed, came)):
            total += np.bincount(which, weights, minlength=classes)

    @property
    def error(self) -> float:
        """The expected calibration error: the mean gap between probability and frequency (Guo et al. 2017)."""
        return float(np.abs(self.predicted - self.observed).sum() / max(1.0, self.counts.sum()))


@dataclass(frozen=True)
class Survey:
    """What a model makes of every sample of a part.

    Attributes
    ----------
    scores
        As of `audiornn.evaluation.scores.evaluate_dataset`.
    bits
        Loss of each code of each recording, float32 [n] each; NaN where there was no target.
    likeliest, every
        Reliability of the probability of the likeliest code, and of that of any code.
    """

    scores: dict[str, float]
    bits: list[NDArray[np.float32]]
    likeliest: Reliability
    every: Reliability


def survey(
    model: AudioModel,
    recordings: Sequence[NDArray[np.uint8]],
    *,
    context: int,
    span: int,
    shift: int,
    batch: int | None = None,
) -> Survey:
    """Score a model on whole recordings, in the windows that the shards of such a layout hold, and keep every loss.

    Parameters
    ----------
    recordings
        Codes uint8 [n] each.
    context, span, shift
        Layout of the windows; see `audiornn.dataset.shards`.
    batch
        Windows a batch.
    """
    batch = batch or default_batch(context + span)

    @tf.function
    def look(codes: Any, targets: Any) -> tuple:
        logits, labels, mask = logits_and_labels(model, codes, targets, context)
        marks = scores_module.per_target_metrics(logits, labels)
        return (*marks, mask, tf.nn.softmax(logits[:, ::EVERY]), labels[:, ::EVERY])

    kept = [np.full(len(codes), np.nan, np.float32) for codes in recordings]
    likeliest, every, sums = Reliability(CONFIDENCES), Reliability(PROBABILITIES), np.zeros(4)
    places = [
        (i, first, last)
        for i, codes in enumerate(recordings)
        for first, last in windows_module.windows(0, len(codes), context, span, shift)
    ]
    for begin in range(0, len(places), batch):
        windows = np.zeros([batch, context + span], np.uint8)
        targets = np.zeros(batch, np.int32)
        for row, (i, first, last) in enumerate(places[begin : begin + batch]):
            windows[row, : last - first] = recordings[i][first:last]
            targets[row] = last - first - context
        found = [part.numpy() for part in look(tf.constant(windows), tf.constant(targets))]
        nats, hits, top5, mask, p, labels = found
        for row, (i, first, last) in enumerate(places[begin : begin + batch]):
            kept[i][first + context : last] = nats[row, : targets[row]] * BITS
        sums += [*(float(mark[mask].sum(dtype=np.float64)) for mark in (nats, hits, top5)), mask.sum()]
        some = mask[:, ::EVERY]
        likeliest.add(p[some].max(-1), hits[:, ::EVERY][some])
        every.add(p[some].ravel(), (labels[some][:, None] == np.arange(CODES)).ravel())
    return Survey(scores_module.averages(*sums.tolist()), kept, likeliest, every)
