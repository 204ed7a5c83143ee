"""Loss of every code, and calibration of the probabilities."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tqdm import tqdm

from audiornn.backend import tf
from audiornn.codec import CODES
from audiornn.codec_metrics import BITS_PER_NAT
from audiornn.common.array_types import Codes, Floats, Tensor
from audiornn.dataset.windows import WindowLayout
from audiornn.models.base import AudioModel
from audiornn.training.scores import averages, default_batch_size, logits_and_labels, per_target_metrics

CONFIDENCES = np.linspace(0, 1, 21)  # bin edges for the probability of the likeliest code
PROBABILITIES = np.concatenate([[0], 10 ** np.linspace(-5, 0, 21)])  # for that of any code
CALIBRATION_STRIDE = 8  # calibration uses every 8th target


@dataclass
class Reliability:
    """Reliability diagram: predicted probabilities in bins, and observed frequencies.

    Attributes
    ----------
    edges
        Bin edges, float [bins + 1].
    counts, predicted, observed
        Float [bins]: number of predictions, sum of their probabilities, number that came true.
    """

    edges: Floats
    counts: Floats = field(init=False)
    predicted: Floats = field(init=False)
    observed: Floats = field(init=False)

    def __post_init__(self) -> None:
        self.counts, self.predicted, self.observed = np.zeros([3, len(self.edges) - 1])

    def add(self, probabilities: ArrayLike, outcomes: ArrayLike) -> None:
        """Add predictions: probabilities float [n], and outcomes 0 or 1 [n]."""
        classes = len(self.edges) - 1
        which = np.clip(np.searchsorted(self.edges, probabilities, side="right") - 1, 0, classes - 1)
        for total, weights in ((self.counts, None), (self.predicted, probabilities), (self.observed, outcomes)):
            total += np.bincount(which, weights, minlength=classes)

    @property
    def error(self) -> float:
        """Expected calibration error: mean gap between probability and frequency (Guo et al. 2017)."""
        return float(np.abs(self.predicted - self.observed).sum() / max(1.0, self.counts.sum()))


@dataclass(frozen=True)
class CodeLosses:
    """How well a model predicts every code of some recordings.

    Attributes
    ----------
    scores
        As `audiornn.training.scores.averages` returns them.
    bits
        Loss of each code of each recording in bits, float32 [n] each; NaN if the code is not a target.
    top_code, all_codes
        Reliability of the probability of the likeliest code, and of all codes.
    """

    scores: dict[str, float]
    bits: list[NDArray[np.float32]]
    top_code: Reliability
    all_codes: Reliability


def evaluate_codes(
    model: AudioModel, recordings: Sequence[Codes], layout: WindowLayout, batch_size: int | None = None
) -> CodeLosses:
    """Evaluate a model on whole recordings, in the same windows as shards of this layout, and keep every loss.

    Parameters
    ----------
    recordings
        Codes uint8 [n] each.
    layout
        Of the windows.
    batch_size
        Windows per batch.
    """
    context = layout.context
    batch_size = batch_size or default_batch_size(layout.length)

    @tf.function
    def forward(codes: Tensor, targets: Tensor) -> tuple[Tensor, ...]:
        logits, labels, mask = logits_and_labels(model, codes, targets, context)
        metrics = per_target_metrics(logits, labels)
        return (*metrics, mask, tf.nn.softmax(logits[:, ::CALIBRATION_STRIDE]), labels[:, ::CALIBRATION_STRIDE])

    bits = [np.full(len(codes), np.nan, np.float32) for codes in recordings]
    top_code, all_codes, sums = Reliability(CONFIDENCES), Reliability(PROBABILITIES), np.zeros(4)
    bounds = [(i, first, last) for i, codes in enumerate(recordings) for first, last in layout.windows(0, len(codes))]
    for begin in tqdm(range(0, len(bounds), batch_size), "loss of every code", unit="batch", disable=None):
        windows = np.zeros([batch_size, layout.length], np.uint8)
        targets = np.zeros(batch_size, np.int32)
        for row, (i, first, last) in enumerate(bounds[begin : begin + batch_size]):
            windows[row, : last - first] = recordings[i][first:last]
            targets[row] = last - first - context
        results = forward(tf.constant(windows), tf.constant(targets))
        nats, hits, top5, mask, p, labels = (tensor.numpy() for tensor in results)
        for row, (i, first, last) in enumerate(bounds[begin : begin + batch_size]):
            bits[i][first + context : last] = nats[row, : targets[row]] * BITS_PER_NAT
        sums += [*(float(metric[mask].sum(dtype=np.float64)) for metric in (nats, hits, top5)), mask.sum()]
        used = mask[:, ::CALIBRATION_STRIDE]
        top_code.add(p[used].max(-1), hits[:, ::CALIBRATION_STRIDE][used])
        all_codes.add(p[used].ravel(), (labels[used][:, None] == np.arange(CODES)).ravel())
    return CodeLosses(scores=averages(*sums.tolist()), bits=bits, top_code=top_code, all_codes=all_codes)
