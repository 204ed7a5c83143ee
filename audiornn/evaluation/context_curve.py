"""Loss against context length."""

import csv
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiornn.backend import tf
from audiornn.evaluation import scores
from audiornn.evaluation.per_code import BITS
from audiornn.files import atomic_file
from audiornn.models.base import AudioModel

ALIKE = 0.01  # bits per sample that are no difference


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
    size = max(1, scores.WINDOW_CODES // windows.shape[1])
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
