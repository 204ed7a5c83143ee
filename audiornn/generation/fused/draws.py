"""How codes are drawn: temperature, top-k, top-p, and where they do not apply."""

from typing import Any, NamedTuple

import numpy as np

from audiornn.kernels.arrays import Float32, UInt8
from audiornn.kernels.elementwise import exp
from audiornn.kernels.jit import f32, kernel, njit
from audiornn.kernels.matmul import LANES


class Limits(NamedTuple):
    """Restrictions of sampling.

    Attributes
    ----------
    top_k
        Number of likeliest codes; 0 or 256: all.
    top_p
        The smallest set of likeliest codes with at least this total probability, above 0 (nucleus sampling, Holtzman et
        al. 2020); 1: all. Applied after `top_k`.
    confidence_threshold
        If the likeliest code has at least this probability, the code is sampled from the model's own distribution:
        neither temperature (unless 0) nor the other limits apply. Models are that confident in pauses, where the
        unlikely codes are their end: without this, settings that make a voice clearer make pauses longer. 1: never.
    """

    top_k: int = 0
    top_p: float = 1.0
    confidence_threshold: float = 1.0


UNLIMITED = Limits()


class Draws(NamedTuple):
    """How the next codes are chosen: sampled, or forced where `forced` has columns.

    Attributes
    ----------
    uniform
        In [0, 1), [streams, n].
    temperature
        [streams, n].
    limits
        What sampling is restricted to.
    forced
        [streams, n], or [streams, 0].
    """

    uniform: Float32
    temperature: Float32
    limits: Limits
    forced: UInt8


@kernel
def _mass_above(weights: Float32, threshold: float, by_count: bool) -> Any:
    """Number or sum of the weights that reach a threshold."""
    amount = f32(0)
    if by_count:
        for weight in weights:
            amount += f32(1) if weight >= threshold else f32(0)
    else:
        for weight in weights:
            amount += weight if weight >= threshold else f32(0)
    return amount


@kernel
def _mask_top_k_top_p(weights: Float32, top_k: int, top_p: float) -> None:
    """Set all weights in [0, 1] to 0 but the `top_k` largest, and of these the fewest with `top_p` of their sum.

    Among equal weights the first are kept. The threshold is found by bisection on its bits, as positive floats are
    ordered like their bits.
    """
    for by_count in (True, False):
        goal = f32(top_k) if by_count else f32(top_p) * _mass_above(weights, f32(0), by_count)
        if not 0 < top_k < weights.size if by_count else top_p >= 1:
            continue
        low, high = 0, 0x3F800001  # above the bits of 1
        while high - low > 1:
            middle = (low + high) // 2
            if _mass_above(weights, np.int32(middle).view(f32), by_count) >= goal:
                low = middle
            else:
                high = middle
        threshold = np.int32(low).view(f32)
        kept = _mass_above(weights, np.int32(high).view(f32), by_count)
        for i in range(weights.size):
            if weights[i] == threshold and kept < goal:
                kept += f32(1) if by_count else threshold
            elif weights[i] <= threshold:
                weights[i] = 0


@kernel
def _exponentials(logits: Float32, largest: float, factor: float, weights: Float32) -> Any:
    """Set weights to exp((logits - largest) * factor) and return their sum."""
    total = f32(0)
    for i in range(logits.size):
        x = (logits[i] - largest) * factor
        weights[i] = exp(max(x, f32(-80))) if x > f32(-80) else f32(0)
    for weight in weights:
        total += weight
    return total


@kernel
def sample_code(logits: Float32, temperature: float, limits: Limits, uniform: float, weights: Float32) -> int:
    """Sample a code from `softmax(logits / temperature)`, restricted by `limits`, by inversion.

    Parameters
    ----------
    logits
        float32 [n].
    temperature
        0 takes the likeliest code.
    limits
        `Limits`.
    uniform
        float32 in [0, 1).
    weights
        float32 [n], overwritten.
    """
    n = logits.size
    largest = logits[0]
    for i in range(n):
        largest = max(largest, logits[i])
    if temperature <= 0:
        for i in range(n):
            if logits[i] == largest:
                return i
    alone = False
    if limits.confidence_threshold < 1:
        alone = f32(limits.confidence_threshold) * _exponentials(logits, largest, f32(1), weights) <= f32(1)
    if not alone:
        _exponentials(logits, largest, f32(1) / f32(temperature), weights)
        if 0 < limits.top_k < n or limits.top_p < 1:
            _mask_top_k_top_p(weights, limits.top_k, limits.top_p)
    # Sums of whole vectors locate the vector that holds the code: adding up one by one takes ten times as long.
    sums = np.empty(-(-n // LANES), f32)
    total = 0.0
    for group in range(sums.size):
        some = f32(0)
        for weight in weights[group * LANES : (group + 1) * LANES]:
            some += weight
        sums[group] = some
        total += float(some)
    goal, reached, group = uniform * total, 0.0, 0
    while group < sums.size - 1 and reached + sums[group] <= goal:
        reached += sums[group]
        group += 1
    i, end = group * LANES, min((group + 1) * LANES, n)
    while i < end:
        reached += weights[i]
        if reached > goal:
            return i
        i += 1
    i -= 1  # round-off: added one by one, the group's weights came to slightly less
    while i > 0 and weights[i] == 0:
        i -= 1
    return i


@njit(nogil=True, cache=True)
def choose_codes(logits: Float32, draws: Draws, t: int, codes: UInt8, sampling_weights: Float32) -> None:
    """Set `codes[:, t]`: to the forced ones, where there are any, or to those sampled from the logits.

    `sampling_weights` float32 [256] is overwritten.
    """
    uniform, temperature, limits, forced = draws
    for s in range(len(logits)):
        if forced.shape[1]:
            codes[s, t] = forced[s, t]
        else:
            codes[s, t] = sample_code(logits[s], temperature[s, t], limits, uniform[s, t], sampling_weights)
