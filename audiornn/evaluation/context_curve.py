"""Loss against context length."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from audiornn.backend import tf
from audiornn.codec_metrics import BITS_PER_NAT
from audiornn.common.array_types import Codes, Floats, Tensor
from audiornn.common.files import atomic_file
from audiornn.models.base import AudioModel
from audiornn.training import scores

NEGLIGIBLE_BITS = 0.01  # smaller differences in bits per sample are ignored


@dataclass(frozen=True)
class ContextPoint:
    """Bits per sample with the state reset `context` codes before the target.

    All points of a curve use the same targets. `standard_error` is that of the mean, as if the targets were
    independent. `difference` is the paired difference from the training context, or from the longest one if the
    recordings are shorter: its error is smaller, since hard targets are hard at any context.
    """

    context: int
    bits_per_sample: float
    standard_error: float
    difference: float
    difference_error: float
    targets: int


def context_lengths(longest: int, training_context: int) -> list[int]:
    """Powers of two up to `longest`, `longest` itself, and the training context if it is not longer."""
    powers = {1 << i for i in range(longest.bit_length())}
    return sorted(powers | {longest} | ({training_context} if training_context <= longest else set()))


def longest_context(lengths: Sequence[int], training_context: int, targets: int) -> int:
    """Longest context of a curve: twice the training context, or what the recordings' lengths allow.

    At least `targets` codes must have that many codes before them or, in short recordings, half of those with a context
    of one code.
    """

    def eligible(context: int) -> int:
        return sum(max(0, length - context) for length in lengths)

    wanted = min(targets, max(1, eligible(1) // 2))
    low, high = 1, 2 * training_context
    while low < high:  # the number of eligible codes falls with the context
        middle = (low + high + 1) // 2
        low, high = (middle, high) if eligible(middle) >= wanted else (low, middle - 1)
    return low


def context_curve(
    model: AudioModel, recordings: Sequence[Codes], training_context: int, targets: int = 512, seed: int = 0
) -> list[ContextPoint]:
    """Bits per sample against context length.

    For each context c and each of a fixed set of random targets, the model starts from the initial state, reads exactly
    c codes and predicts the next. This costs c codes per target; there is no shortcut, as a state that is carried over
    has seen more than c codes.

    Parameters
    ----------
    model
        Any model.
    recordings
        Codes uint8 [n] each; targets are drawn from all codes that have the longest context before them.
    training_context
        The context that the model was trained with.
    targets
        Maximum number of targets; the standard error falls with its square root, the time grows with it.
    seed
        Random seed of the targets.

    Returns
    -------
    Points by context, from 1 to twice the training context, or as far as the recordings allow; see `longest_context`.

    Examples
    --------
    >>> import audiornn, numpy as np                                                   # doctest: +SKIP
    >>> curve = context_curve(audiornn.load("models"), [np.load("a.npy")], 1000)       # doctest: +SKIP
    >>> [(point.context, round(point.bits_per_sample, 2)) for point in curve[:2]]      # doctest: +SKIP
    [(1, 6.12), (2, 5.87)]
    """
    longest = longest_context([len(codes) for codes in recordings], training_context, targets)
    starts = np.cumsum([0, *(max(0, len(codes) - longest) for codes in recordings)])
    random = np.random.default_rng(seed)
    positions = np.sort(random.choice(starts[-1], min(targets, int(starts[-1])), replace=False, shuffle=False))
    which = np.searchsorted(starts, positions, side="right") - 1
    pieces = [
        recordings[i][first : first + longest + 1] for i, first in zip(which, positions - starts[which], strict=True)
    ]
    windows = np.stack(pieces)

    contexts = tqdm(context_lengths(longest, training_context), "context curve", unit="context", disable=None)
    nats = {c: _nll_of_last_code(model, windows[:, longest - c :]) for c in contexts}
    reference = nats[min(training_context, longest)]
    curve = []
    for c, losses in nats.items():
        bits, error = _mean_and_error(losses * BITS_PER_NAT)
        difference, difference_error = _mean_and_error((losses - reference) * BITS_PER_NAT)
        curve.append(
            ContextPoint(
                context=c,
                bits_per_sample=bits,
                standard_error=error,
                difference=difference,
                difference_error=difference_error,
                targets=len(windows),
            )
        )
    return curve


def _nll_of_last_code(model: AudioModel, windows: Codes) -> Floats:
    """Negative log-likelihood in nats of the last code of each window uint8 [n, length], from the initial state."""
    size = max(1, scores.WINDOW_CODES // windows.shape[1])
    size = -(-len(windows) // -(-len(windows) // size))
    padded = np.concatenate([windows, windows[: -len(windows) % size]])  # another size would be compiled again

    @tf.function
    def nll(codes: Tensor) -> Tensor:
        logits = model(codes[:, :-1], num_last=1)[:, 0]
        return tf.nn.sparse_softmax_cross_entropy_with_logits(tf.cast(codes[:, -1], tf.int32), logits)

    compiled = nll.get_concrete_function(tf.TensorSpec([size, windows.shape[1]], tf.uint8))
    results = [compiled(tf.constant(padded[i : i + size])).numpy() for i in range(0, len(padded), size)]
    return np.concatenate(results)[: len(windows)].astype(np.float64)


def _mean_and_error(values: Floats) -> tuple[float, float]:
    """Mean and standard error (0 for a single value) of values [n]."""
    return float(values.mean()), float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else 0.0


def write_curve(path: str | Path, curve: Sequence[ContextPoint]) -> None:
    """Write a context curve as csv, a line per context."""
    with atomic_file(path) as partial:
        pd.DataFrame(list(curve)).to_csv(partial, index=False, lineterminator="\r\n")


def describe_curve(curve: Sequence[ContextPoint], training_context: int) -> str:
    """Summary of a context curve in a sentence."""
    last = curve[-1]
    at = next((point for point in curve if point.context == training_context), last)
    enough = next(point for point in curve if point.difference <= max(NEGLIGIBLE_BITS, 2 * point.difference_error))
    text = (
        f"{at.bits_per_sample:.3f} bits per sample with {at.context} codes before the target "
        f"(± {at.standard_error:.3f}, {at.targets} targets)"
    )
    if enough.context < at.context:
        text += f"; {enough.context} codes suffice"
    if last.context > at.context:
        text += f"; {last.difference:+.3f} ± {last.difference_error:.3f} with {last.context} codes"
    if last.context < 2 * training_context:
        text += f"; the test recordings are too short for twice the training context, {2 * training_context}"
    return text
