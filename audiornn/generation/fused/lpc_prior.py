"""Linear prediction in compiled loops: what networks see of it, and the distributions around it.

Names are those of `audiornn.models.layers.lpc_prior` and `audiornn.models.layers.logistic_mixture`; the predictors are
in `audiornn.kernels.linear_prediction`.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiornn.codec import CODES
from audiornn.kernels.elementwise import exp, log, one_minus_exp, tanh
from audiornn.kernels.jit import block, njit
from audiornn.kernels.linear_prediction import AMPLITUDES, DECAYS, MAIN_DECAY, consume
from audiornn.kernels.matmul import pack, spaced
from audiornn.models.layers.logistic_mixture import EDGES, FLOOR, MU, WIDEST, WIDTHS
from audiornn.models.layers.lpc_prior import PLACE, SCALE, SMALLEST, WAVES

f32 = np.float32
Arrays = tuple[Any, ...]
LOG_CODES = np.log(CODES)
MEANS = len(DECAYS)


@block
def unit(known: Any, outputs: int) -> Any:
    """As `prior.scale`: the unit in which the next sample lies around the prediction."""
    return f32(SCALE) * known[outputs + MAIN_DECAY] + f32(SMALLEST)


@block
def _place(known: Any, outputs: int, into: Any) -> None:
    """As `prior.place`: float32 [PLACE]."""
    p = known[0]
    for i in range(MEANS):
        into[i] = f32(0.3) * log(known[outputs + i] + f32(SMALLEST)) + f32(1)
    interval = (abs(p) + f32(1 / MU)) * f32(2 * LOG_CODES / MU)
    into[MEANS] = f32(0.3) * log(interval / unit(known, outputs))
    companded = np.copysign(log(f32(1) + f32(MU) * abs(p)) / f32(LOG_CODES), p)
    into[MEANS + 1] = companded
    waves = WAVES.size
    for i in range(waves):
        into[MEANS + 2 + i] = np.sin(companded * WAVES[i])
        into[MEANS + 2 + waves + i] = np.cos(companded * WAVES[i])


@block
def relate(amplitudes: Any, errors: Any, known: Any, outputs: int, into: Any) -> None:
    """What a network sees, in units of the scale around the prediction, or as logarithms.

    Parameters
    ----------
    amplitudes, errors
        The last samples and the cascade's errors for them, latest first, float32 [n] each.
    known
        What the predictors know of the next sample, float32 [features].
    outputs
        How many predictions that begins with.
    into
        float32 [2 n + 2 (outputs - 1) + PLACE]: samples, errors, the other predictions, their reliability, the place.
    """
    n, others = amplitudes.size, outputs - 1
    p, inverse = known[0], f32(1) / unit(known, outputs)
    for i in range(n):
        into[i] = (amplitudes[i] - p) * inverse
        into[n + i] = errors[i] * inverse
    for i in range(others):
        into[2 * n + i] = (known[1 + i] - p) * inverse
    end = 2 * n + others
    for i in range(end):  # asinh
        size = abs(into[i])
        into[i] = np.copysign(log(size + np.sqrt(size * size + f32(1))), into[i])
    main = log(known[outputs + MAIN_DECAY] + f32(SMALLEST))
    for i in range(others):
        into[end + i] = log(known[outputs + MEANS + i] + f32(SMALLEST)) - main
    _place(known, outputs, into[end + others :])


@block
def mixture(outputs: Any, p: Any, scale: Any, sums: Any, logits: Any) -> None:
    """log P of each code: `logistic.logits` for one sample. `sums` float32 [2, 257] is overwritten."""
    components = outputs.size // 3
    largest = outputs[0]
    for m in range(components):
        largest = max(largest, outputs[m])
    total = f32(0)
    for m in range(components):
        total += exp(max(outputs[m] - largest, f32(-80)))
    below, above = sums[0], sums[1]
    n = logits.size
    for i in range(n):
        logits[i] = f32(FLOOR / CODES)
    inverse_scale = f32(1) / scale
    for m in range(components):
        weight = exp(max(outputs[m] - largest, f32(-80))) / total * f32(1 - FLOOR)
        inverse = exp(f32(-WIDEST) * tanh(outputs[components + m] / f32(WIDEST)))
        centre = outputs[2 * components + m]
        for i in range(n + 1):  # sigmoid(z) and sigmoid(-z), each to the last digits
            z = ((EDGES[i] - p) * inverse_scale - centre) * inverse
            e = exp(min(max(-z, f32(-40)), f32(40)))
            low = f32(1) / (f32(1) + e)
            below[i] = low
            above[i] = e * low
        factor = inverse_scale * inverse
        for i in range(n):
            logits[i] += weight * below[i + 1] * above[i] * one_minus_exp(WIDTHS[i] * factor)
    for i in range(n):
        logits[i] = log(logits[i])


def weights(prior: Any, parts: int, bfloat16: bool) -> Arrays:
    """A `Prior` as the functions below want it, or, for None, arrays of the same kinds that hold nothing.

    What networks see is multiplied by its matrix [n, parts * units], of which each part begins at a multiple of
    `padded(units)`.
    """
    if prior is None:
        blank = np.zeros((0, 4), np.int64), np.zeros((0, 0), f32), np.zeros(0, np.int64), AMPLITUDES
        return blank, pack(np.zeros((1, 0)), bfloat16), np.zeros(3, f32), 0
    shape = np.array([0, np.asarray(prior.shape)[0], 0], f32)
    view = spaced(np.asarray(prior.view.kernel), parts)
    return prior.predictor.tables, pack(view, bfloat16), shape, prior.predictor.outputs


def state(prior: Any, predictor: NDArray[np.float32] | None) -> Arrays:
    """A prior's state as `see` wants it: the predictor's float32 [streams, size], and room to work in."""
    if prior is None:
        return np.zeros((0, 0), f32), np.zeros((0, 0), f32), np.zeros((0, 0))
    return np.array(predictor, f32), *prior.predictor.scratch()


@njit(nogil=True, cache=True)
def room(prior: Any, streams: int) -> Any:
    """Arrays for `see` and `add_log_p`: what is known, what networks see, a distribution, and sums for it."""
    outputs = prior[3]
    known = np.empty((streams, 1, 2 * outputs + MEANS), np.float32)
    x = np.empty((streams, 2 * outputs + PLACE), np.float32)
    return known, x, np.empty(CODES, np.float32), np.empty((2, CODES + 1), np.float32)


@njit(nogil=True, cache=True)
def see(codes: Any, t: int, prior: Any, states: Any, room: Any) -> None:
    """Let each stream's predictor consume `codes[stream, t]`; the room then has what is known, and is to be seen."""
    tables, _, _, outputs = prior
    predictor, scratch, small = states
    known, x, _, _ = room
    for s in range(len(codes)):
        consume(codes[s, t : t + 1], predictor[s], known[s], tables, scratch, small)
        k = known[s, 0]
        amplitude = tables[3][codes[s, t] : codes[s, t] + 1]
        relate(amplitude, k[k.size - 1 :], k, outputs, x[s])


@njit(nogil=True, cache=True)
def add_log_p(prior: Any, room: Any, logits: Any) -> None:
    """Add log P of each code by linear prediction to each stream's logits [streams, 256]."""
    _, _, shape, outputs = prior
    known, _, log_p, sums = room
    for s in range(len(logits)):
        mixture(shape, known[s, 0, 0], unit(known[s, 0], outputs), sums, log_p)
        for i in range(log_p.size):
            logits[s, i] += log_p[i]
