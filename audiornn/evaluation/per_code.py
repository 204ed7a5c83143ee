"""Loss of every code, and calibration of the probabilities."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from audiornn.array_types import Codes, Floats, Tensor
from audiornn.backend import tf
from audiornn.codec import CODES
from audiornn.dataset.windows import WindowLayout
from audiornn.evaluation.scores import averages, default_batch, logits_and_labels, per_target_metrics
from audiornn.models.base import AudioModel

BITS = 1 / math.log(2)
CONFIDENCES = np.linspace(0, 1, 21)  # edges of the classes of the likeliest code's probability
PROBABILITIES = np.concatenate([[0], 10 ** np.linspace(-5, 0, 21)])  # of any code's
CALIBRATION_STRIDE = 8  # calibration uses every 8th target


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

    edges: Floats
    counts: Floats = field(init=False)
    predicted: Floats = field(init=False)
    observed: Floats = field(init=False)

    def __post_init__(self) -> None:
        self.counts, self.predicted, self.observed = np.zeros([3, len(self.edges) - 1])

    def add(self, probabilities: ArrayLike, outcomes: ArrayLike) -> None:
        """Count predictions: probabilities float [n], and whether each came true, 0 or 1 [n]."""
        classes = len(self.edges) - 1
        which = np.clip(np.searchsorted(self.edges, probabilities, side="right") - 1, 0, classes - 1)
        for total, weights in ((self.counts, None), (self.predicted, probabilities), (self.observed, outcomes)):
            total += np.bincount(which, weights, minlength=classes)

    @property
    def error(self) -> float:
        """The expected calibration error: the mean gap between probability and frequency (Guo et al. 2017)."""
        return float(np.abs(self.predicted - self.observed).sum() / max(1.0, self.counts.sum()))


@dataclass(frozen=True)
class CodeLosses:
    """How well a model predicts every code of some recordings.

    Attributes
    ----------
    scores
        As of `audiornn.evaluation.scores.averages`.
    bits
        Loss of each code of each recording, float32 [n] each; NaN where there was no target.
    top_code, all_codes
        Reliability of the probability of the likeliest code, and of that of any code.
    """

    scores: dict[str, float]
    bits: list[NDArray[np.float32]]
    top_code: Reliability
    all_codes: Reliability


def evaluate_codes(
    model: AudioModel, recordings: Sequence[Codes], layout: WindowLayout, batch: int | None = None
) -> CodeLosses:
    """Score a model on whole recordings, in the windows that the shards of such a layout hold, and keep every loss.

    Parameters
    ----------
    recordings
        Codes uint8 [n] each.
    layout
        Of the windows.
    batch
        Windows per batch.
    """
    context = layout.context
    batch = batch or default_batch(layout.length)

    @tf.function
    def forward(codes: Tensor, targets: Tensor) -> tuple[Tensor, ...]:
        logits, labels, mask = logits_and_labels(model, codes, targets, context)
        metrics = per_target_metrics(logits, labels)
        return (*metrics, mask, tf.nn.softmax(logits[:, ::CALIBRATION_STRIDE]), labels[:, ::CALIBRATION_STRIDE])

    kept = [np.full(len(codes), np.nan, np.float32) for codes in recordings]
    top_code, all_codes, sums = Reliability(CONFIDENCES), Reliability(PROBABILITIES), np.zeros(4)
    bounds = [(i, first, last) for i, codes in enumerate(recordings) for first, last in layout.windows(0, len(codes))]
    for begin in range(0, len(bounds), batch):
        windows = np.zeros([batch, layout.length], np.uint8)
        targets = np.zeros(batch, np.int32)
        for row, (i, first, last) in enumerate(bounds[begin : begin + batch]):
            windows[row, : last - first] = recordings[i][first:last]
            targets[row] = last - first - context
        found = [tensor.numpy() for tensor in forward(tf.constant(windows), tf.constant(targets))]
        nats, hits, top5, mask, p, labels = found
        for row, (i, first, last) in enumerate(bounds[begin : begin + batch]):
            kept[i][first + context : last] = nats[row, : targets[row]] * BITS
        sums += [*(float(metric[mask].sum(dtype=np.float64)) for metric in (nats, hits, top5)), mask.sum()]
        some = mask[:, ::CALIBRATION_STRIDE]
        top_code.add(p[some].max(-1), hits[:, ::CALIBRATION_STRIDE][some])
        all_codes.add(p[some].ravel(), (labels[some][:, None] == np.arange(CODES)).ravel())
    return CodeLosses(averages(*sums.tolist()), kept, top_code, all_codes)
