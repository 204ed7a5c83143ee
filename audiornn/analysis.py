"""What a trained model makes of the test part, looked at closely.

How much of the past it uses (`context_curve`); the loss of every sample, and whether its probabilities can be believed
(`survey`); the seconds that it predicts best and worst (`extremes`); whether generated codes are distributed as real
ones (`divergence`).
"""

import csv
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import distance

from audiornn import evaluation, shards
from audiornn.audio import WaveWriter
from audiornn.backend import tf
from audiornn.codec import CODES
from audiornn.diagnostics import SILENT_DBFS
from audiornn.files import atomic_file, slug
from audiornn.models.base import AudioModel
from audiornn.parts import Part

BITS = 1 / math.log(2)
CONFIDENCES = np.linspace(0, 1, 21)  # edges of the classes of the likeliest code's probability
PROBABILITIES = np.concatenate([[0], 10 ** np.linspace(-5, 0, 21)])  # of any code's
EVERY = 8  # of so many targets one is taken to see whether probabilities can be believed
ALIKE = 0.01  # bits per sample that are no difference


# --------------------------------------------------------------------------------------------------------- context


@dataclass(frozen=True)
class ContextPoint:
    """Bits per sample where the state was reset `context` codes before the target.

    The same targets are behind every point of a curve. `standard_error` is that of the mean over them, as if they were
    independent. `difference` is taken target by target from the training context, or from the longest one where the
    recordings are shorter: its error is smaller, since what makes a target hard makes it so at any context.
    """

    context: int
    bits_per_sample: float
    standard_error: float
    difference: float
    difference_error: float
    targets: int


def context_lengths(longest: int, trained: int) -> list[int]:
    """Powers of two up to `longest`, `longest` itself, and the training context where it is no longer."""
    powers = {1 << i for i in range(longest.bit_length())}
    return sorted(powers | {longest} | ({trained} if trained <= longest else set()))


def reach(lengths: Sequence[int], trained: int, targets: int) -> int:
    """The longest context of a curve: twice the training context, or what recordings of these lengths allow.

    A curve ends where fewer than `targets` of their codes have so many codes before them; where even a context of one
    code has no more, at that which half of them have.
    """

    def eligible(context: int) -> int:
        return sum(max(0, length - context) for length in lengths)

    wanted = min(targets, max(1, eligible(1) // 2))
    low, high = 1, 2 * trained
    while low < high:  # the number of eligible codes falls with the context
        middle = (low + high + 1) // 2
        low, high = (middle, high) if eligible(middle) >= wanted else (low, middle - 1)
    return low


def context_curve(
    model: AudioModel, recordings: Sequence[NDArray[np.uint8]], trained: int, targets: int = 512, seed: int = 0
) -> list[ContextPoint]:
    """Bits per sample against the number of past codes that the model sees.

    From a fresh state the model reads exactly c codes and predicts the next, for each c and each of a number of targets
    drawn at random, which are the same for every c. A target costs c codes of computing, and no shortcut is taken: a
    state that was carried on would know more than c codes.

    Parameters
    ----------
    model
        Any model.
    recordings
        Codes uint8 [n] each; targets are drawn from all places that have the longest context before them.
    trained
        The training context.
    targets
        How many, at most; the standard error falls with their square root, the time grows with them.
    seed
        Of the draw.

    Returns
    -------
    Points by context, from 1 to twice the training context, or as far as the recordings allow; see `reach`.

    Examples
    --------
    >>> import audiornn, numpy as np                                                   # doctest: +SKIP
    >>> curve = context_curve(audiornn.load("models"), [np.load("a.npy")], 1000)       # doctest: +SKIP
    >>> [(point.context, round(point.bits_per_sample, 2)) for point in curve[:2]]      # doctest: +SKIP
    [(1, 6.12), (2, 5.87)]
    """
    longest = reach([len(codes) for codes in recordings], trained, targets)
    starts = np.cumsum([0, *(max(0, len(codes) - longest) for codes in recordings)])
    draw = np.random.default_rng(seed)
    places = np.sort(draw.choice(starts[-1], min(targets, int(starts[-1])), replace=False, shuffle=False))
    which = np.searchsorted(starts, places, side="right") - 1
    pieces = [
        recordings[i][first : first + longest + 1] for i, first in zip(which, places - starts[which], strict=True)
    ]
    windows = np.stack(pieces)

    nats = {c: _surprise(model, windows[:, longest - c :]) for c in context_lengths(longest, trained)}
    reference = nats[min(trained, longest)]
    curve = []
    for c, found in nats.items():
        bits, error = _mean(found * BITS)
        difference, its_error = _mean((found - reference) * BITS)
        curve.append(ContextPoint(c, bits, error, difference, its_error, len(windows)))
    return curve


def _surprise(model: AudioModel, windows: NDArray[np.uint8]) -> NDArray[np.float64]:
    """-log P in nats of the last code of each window uint8 [n, length], from a fresh state."""
    size = max(1, evaluation.WINDOW_CODES // windows.shape[1])
    size = -(-len(windows) // -(-len(windows) // size))
    filled = np.concatenate([windows, windows[: -len(windows) % size]])  # another size would be compiled anew

    @tf.function
    def surprise(codes: Any) -> Any:
        logits = model(codes[:, :-1], last=1)[:, 0]
        return tf.nn.sparse_softmax_cross_entropy_with_logits(tf.cast(codes[:, -1], tf.int32), logits)

    compiled = surprise.get_concrete_function(tf.TensorSpec([size, windows.shape[1]], tf.uint8))
    results = [compiled(tf.constant(filled[i : i + size])).numpy() for i in range(0, len(filled), size)]
    return np.concatenate(results)[: len(windows)].astype(np.float64)


def _mean(values: NDArray[np.float64]) -> tuple[float, float]:
    """Mean of [n] values and its standard error, 0 for a single one."""
    return float(values.mean()), float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else 0.0


def write_curve(path: str | Path, curve: Sequence[ContextPoint]) -> None:
    """Write a context curve as csv, a line a context."""
    with atomic_file(path) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(ContextPoint.__dataclass_fields__))
        writer.writeheader()
        writer.writerows(asdict(point) for point in curve)


def describe_curve(curve: Sequence[ContextPoint], trained: int) -> str:
    """What a context curve says, in a sentence or two."""
    last = curve[-1]
    at = next((point for point in curve if point.context == trained), last)
    enough = next(point for point in curve if point.difference <= max(ALIKE, 2 * point.difference_error))
    text = (
        f"with {at.context} codes before the target {at.bits_per_sample:.3f} bits per sample "
        f"(± {at.standard_error:.3f}, {at.targets} targets)"
    )
    if enough.context < at.context:
        text += f"; {enough.context} codes do as well"
    if last.context > at.context:
        text += f"; with {last.context} it is {last.difference:+.3f} ± {last.difference_error:.3f}"
    if last.context < 2 * trained:
        text += f"; the test recordings are too short for twice the training context, {2 * trained}"
    return text


# ---------------------------------------------------------------------------------------------------------- survey


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
        As of `audiornn.evaluation.score`.
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
        Layout of the windows; see `audiornn.shards`.
    batch
        Windows a batch.
    """
    batch = batch or evaluation.default_batch(context + span)

    @tf.function
    def look(codes: Any, targets: Any) -> tuple:
        logits, labels, mask = evaluation.predict(model, codes, targets, context)
        marks = evaluation.marks(logits, labels)
        return (*marks, mask, tf.nn.softmax(logits[:, ::EVERY]), labels[:, ::EVERY])

    kept = [np.full(len(codes), np.nan, np.float32) for codes in recordings]
    likeliest, every, sums = Reliability(CONFIDENCES), Reliability(PROBABILITIES), np.zeros(4)
    places = [
        (i, first, last)
        for i, codes in enumerate(recordings)
        for first, last in shards.windows(0, len(codes), context, span, shift)
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
    return Survey(evaluation.scores(*sums.tolist()), kept, likeliest, every)


# --------------------------------------------------------------------------------------------------------- extremes


@dataclass(frozen=True)
class Passage:
    """A piece of a recording and the loss of each of its codes.

    `wave` is float [n], `bits` float [n]; `recording` counts from 0 within the part, `start` is in codes.
    """

    title: str
    recording: int
    start: int
    wave: NDArray[np.float64]
    bits: NDArray[np.float32]

    def write(self, folder: str | Path, sample_rate: int) -> None:
        """Write it as 16-bit wav, named by its title."""
        with WaveWriter(Path(folder) / f"{slug(self.title)}.wav", sample_rate, "PCM_16") as writer:
            writer(self.wave)


def extremes(bits: Sequence[NDArray[np.float32]], part: Part, seconds: float = 1.0) -> list[Passage]:
    """The passage that was predicted best, and the one that was predicted worst, among those with sound.

    Parameters
    ----------
    bits
        As of `Survey`, for the recordings of `part`.
    seconds
        Length of a passage; shorter where no recording has as many targets in a row.

    Returns
    -------
    The best and the worst; both are the same where there is but one.
    """
    rate = part.settings["sample_rate"]
    runs = [np.flatnonzero(np.isfinite(loss)) for loss in bits]
    length = max(1, min(round(seconds * rate), max((len(run) for run in runs), default=1)))
    found: list[tuple[bool, float, int, int]] = []  # whether there is sound, mean loss, recording, start
    for i, loss in enumerate(bits):
        if len(loss) < length:
            continue
        means = _moving_mean(loss.astype(np.float64), length)
        loud = _moving_mean(part.wave(i) ** 2, length)
        for pick in (np.argmin, np.argmax):
            for audible in (True, False):
                usable = np.isfinite(means) & ((loud > 10 ** (SILENT_DBFS / 10)) | (not audible))
                if usable.any():
                    start = int(np.flatnonzero(usable)[pick(means[usable])])
                    found.append((audible, float(means[start]), i, start))
    candidates = [place for place in found if place[0]] or found
    chosen = (min(candidates, key=lambda place: place[1]), max(candidates, key=lambda place: place[1]))
    return [
        Passage(f"predicted {name}", i, start, part.wave(i)[start : start + length], bits[i][start : start + length])
        for name, (_, _, i, start) in zip(("best", "worst"), chosen, strict=True)
    ]


def _moving_mean(values: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    """Means over `length` consecutive values of [n], by where they begin; NaN where one of them is."""
    valid = np.isfinite(values)
    sums = np.cumsum(np.concatenate([[0.0], np.where(valid, values, 0)]))
    missing = np.cumsum(np.concatenate([[0], ~valid]))
    means = np.maximum(sums[length:] - sums[:-length], 0) / length
    return np.where(missing[length:] == missing[:-length], means, np.nan)


# ------------------------------------------------------------------------------------------------------------ codes


def divergence(counts: ArrayLike, others: ArrayLike) -> float:
    """Jensen-Shannon divergence in bits between two distributions of codes, given as counts [256].

    0 for the same distribution, 1 for two that have no code in common. A small sample of a distribution is some way off
    it by chance: about `255 / (8 n ln 2)` for `n` samples beside very many.
    """
    return float(distance.jensenshannon(np.asarray(counts, float), np.asarray(others, float), base=2) ** 2)


def count(codes: ArrayLike) -> NDArray[np.int64]:
    """How often each code is among codes of any shape: int [256]."""
    return np.bincount(np.ravel(codes), minlength=CODES)
