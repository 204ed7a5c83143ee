"""Backward-adaptive linear prediction: what classical audio coding knows of the next sample, from past codes alone.

Audio is locally predictable by linear combination of its past. The combination is renewed every few samples from the
codes that are already there, as in ITU-T G.728, so that generation can do the same with the codes that it draws. Three
stages, each learning from the error of the one before:

1. Linear predictors of several orders and windows, by the autocorrelation method (Levinson 1947, Durbin 1960). An order
   beyond the pitch period, 64 and more at 8 kHz, predicts voiced speech from its last period, too.
2. Their mixture, by least squares over the last hundred errors, each weighted by how loud it is (a small recursive
   ridge regression towards the mean of all).
3. A normalised LMS filter over what is left, as in the cascades of lossless audio coders (Ghido & Tabus 2013).

One compiled function consumes codes one after the other, in blocks for training and singly in generation: both forms
are the same by construction. Needs Numba.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiornn.codec import CODES, mu_law_decode
from audiornn.kernels.jit import njit

f32 = np.float32

FALL = 16  # samples at the newest end of a window over which it falls to zero
RIDGE = 3e-4  # white noise added to the signal before a predictor is computed, as a share of its power
MIX_FORGET, MIX_RIDGE = 0.99, 0.2  # of the mixture
LOUDNESS = 1e-3  # below this mean error a sample weighs no more in the mixture
LMS_ORDER, LMS_RATE = 16, 0.005
DECAYS = (0.5, 0.8, 0.95, 0.99)  # of the running means of the main prediction's error
MAIN_DECAY = 1  # which of them every other predictor's error is followed with
SCALE_START = 0.01
STRIDE = 8
WRAP = 1 << 20  # the sample counter starts again; all renewals divide it
DEFAULT = ((64, 256, 8), (32, 200, 4), (16, 128, 4), (96, 400, 16), (48, 160, 8))

# Numbers of the plan, one row a predictor, and places of the state's parts.
ORDER, WINDOW, RENEWAL, PLACE = range(4)


class Predictor:
    """A cascade of linear predictors that follow a stream of codes.

    Parameters
    ----------
    predictors
        Of each of the first stage's predictors: its order, the window in codes that it is computed from (longer than
        the order and than 16), and after how many codes it is renewed (a power of two up to 1024).

    Attributes
    ----------
    size
        Numbers of a stream's state.
    outputs
        Predictions a code: the cascade's, the mixture's, and each single predictor's.
    features
        Numbers that `advance` gives for each code; see there.
    """

    def __init__(self, predictors: Sequence[Sequence[int]] = DEFAULT) -> None:
        self.predictors = tuple(tuple(int(n) for n in p) for p in predictors)
        if not self.predictors:
            raise ValueError("at least one predictor is needed")
        for p in self.predictors:
            if len(p) != 3:
                raise ValueError(f"predictor {list(p)} must be [order, window, renewal]")
            order, window, renewal = p
            if not (1 <= order < window and window > FALL):
                raise ValueError(f"predictor {list(p)}: its window must be longer than its order and than {FALL}")
            if not (1 <= renewal <= 1024 and renewal & (renewal - 1) == 0):
                raise ValueError(f"predictor {list(p)}: its renewal must be a power of two, 1 to 1024")
        k = len(self.predictors)
        self.outputs = k + 2
        self.features = self.outputs + len(DECAYS) + k + 1 + 1
        self.longest = max(window for _, window, _ in self.predictors)
        orders = [order for order, _, _ in self.predictors]
        self.plan = np.zeros((k, 4), np.int64)
        self.windows = np.zeros((k, self.longest), f32)
        for i, (order, window, renewal) in enumerate(self.predictors):
            self.plan[i] = order, window, renewal, sum(orders[:i])
            self.windows[i, :window] = _window(window)
        # count, fill | history | coefficients | mixture R, r, w | LMS weights, inputs | predictions | errors
        parts = [2, 2 * self.longest, sum(orders), k * k, k, k, LMS_ORDER, LMS_ORDER, self.outputs, len(DECAYS) + k + 1]
        self.places = np.cumsum([0, *parts])
        self.size = int(self.places[-1])
        self.tables = (self.plan, self.windows, self.places, AMPLITUDES)

    def initial_state(self, streams: int) -> NDArray[np.float32]:
        """State float32 [streams, size] before the first code."""
        state = np.zeros((streams, self.size), f32)
        state[:, self.places[9] :] = SCALE_START
        return state

    def scratch(self) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Room for `consume` to work in."""
        k = len(self.predictors)
        return np.empty((5, 2 * self.longest + STRIDE), f32), np.empty((k + 2, k))

    def advance(self, codes: NDArray[Any], state: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """Consume codes.

        Parameters
        ----------
        codes
            Integers [streams, n], 0 to 255.
        state
            float32 [streams, size], as `initial_state` or the last call gave it.

        Returns
        -------
        What is known of the next sample after each code, float32 [streams, n, features]: predictions of its amplitude,
        in [-1, 1]: the whole cascade's, the mixture's, each predictor's; running means of the cascade's absolute error
        by `DECAYS`, then of the others' errors by 0.8; last the cascade's error for the code just consumed. And the
        state after the last code, float32 [streams, size].
        """
        codes, after = np.ascontiguousarray(codes, np.uint8), np.array(state, f32, order="C")
        features = np.empty((*codes.shape, self.features), f32)
        for stream in range(len(codes)):
            consume(codes[stream], after[stream], features[stream], self.tables, *self.scratch())
        return features, after


AMPLITUDES = mu_law_decode(np.arange(CODES)).astype(f32)


def _window(n: int) -> NDArray[np.float64]:
    """Rises as a squared sine over the older codes, falls as a cosine over the newest `FALL`."""
    rise = np.sin(np.pi / 2 * (np.arange(n - FALL) + 0.5) / (n - FALL)) ** 2
    return np.concatenate([rise, np.cos(np.pi / 2 * (np.arange(FALL) + 0.5) / FALL)])


@njit(nogil=True, fastmath=True, cache=True)
def consume(codes: Any, state: Any, features: Any, tables: Any, scratch: Any, small: Any) -> None:
    """Advance one stream by codes uint8 [n]: `state` [size] in place, `features` [n, features] filled.

    `tables` are the predictor's, `scratch` and `small` as its `scratch` made them.
    """
    plan, windows, places, amplitudes = tables
    k, longest = plan.shape[0], windows.shape[1]
    count = state[places[0] : places[1]]
    history = state[places[1] : places[2]]
    coefficients = state[places[2] : places[3]]
    moments, products = state[places[3] : places[4]].reshape(k, k), state[places[4] : places[5]]
    weights = state[places[5] : places[6]]
    taps, inputs = state[places[6] : places[7]], state[places[7] : places[8]]
    predictions, errors = state[places[8] : places[9]], state[places[9] :]
    slow = errors.size - k - 1  # errors of the cascade come first, by DECAYS
    windowed, correlation, solution, spare, backward = scratch[0], scratch[1], scratch[2], scratch[3], scratch[4]
    deviation, half, triangle = small[0], small[1], small[2:]
    for t in range(codes.size):
        x = amplitudes[codes[t]]
        residual = x - predictions[0]

        # The mixture learns from how the single predictions lay around their mean.
        mean = f32(0)
        for i in range(k):
            mean += predictions[2 + i]
        mean /= f32(k)
        loud = f32(LOUDNESS) + errors[slow]
        weight = f32(1) / (loud * loud)
        trace = 0.0
        for i in range(k):
            d = predictions[2 + i] - mean
            deviation[i] = d
            for j in range(i + 1):
                moments[i, j] = f32(MIX_FORGET) * moments[i, j] + weight * d * f32(deviation[j])
            products[i] = f32(MIX_FORGET) * products[i] + weight * d * (x - mean)
            trace += moments[i, i]
        _solve(moments, MIX_RIDGE * trace / k + 1e-6, products, weights, triangle, half)

        energy = f32(1e-4)
        for i in range(LMS_ORDER):
            energy += inputs[i] * inputs[i]
        gain = f32(LMS_RATE) * residual / energy
        for i in range(LMS_ORDER):
            taps[i] += gain * inputs[i]
        for i in range(LMS_ORDER - 1, 0, -1):
            inputs[i] = inputs[i - 1]
        inputs[0] = x - predictions[1]

        for i in range(slow):
            errors[i] = f32(DECAYS[i]) * errors[i] + f32(1 - DECAYS[i]) * abs(residual)
        for i in range(k + 1):
            error = abs(x - predictions[1 + i])
            errors[slow + i] = f32(DECAYS[MAIN_DECAY]) * errors[slow + i] + f32(1 - DECAYS[MAIN_DECAY]) * error

        # The amplitude joins the history, of which at least the longest window is at hand in one piece.
        fill = int(count[1])
        if fill == history.size - longest:
            history[:longest] = history[fill : fill + longest]
            fill = 0
        history[fill + longest] = x
        fill += 1
        count[1] = fill
        number = int(count[0]) + 1
        count[0] = number % WRAP
        newest = fill + longest

        mean = f32(0)
        for i in range(k):
            order, window, renewal, place = plan[i]
            a = coefficients[place : place + order]
            if number % renewal == 0:
                piece = history[newest - window : newest]
                for j in range(window):
                    windowed[j] = piece[j] * windows[i, j]
                windowed[window : window + order + STRIDE] = 0
                _correlate(windowed, window, correlation[: order + 1])
                _levinson(correlation, order, solution, spare, backward)
                for j in range(order):  # the oldest sample first, as in the history
                    a[order - 1 - j] = solution[j]
            p = min(max(_dot(a, history[newest - order : newest]), f32(-1)), f32(1))
            predictions[2 + i] = p
            mean += p
        mean /= f32(k)
        mixed = mean
        for i in range(k):
            mixed += weights[i] * (predictions[2 + i] - mean)
        mixed = min(max(mixed, f32(-1)), f32(1))
        predictions[1] = mixed
        predictions[0] = min(max(mixed + _dot(taps, inputs), f32(-1)), f32(1))

        out = features[t]
        for i in range(predictions.size):
            out[i] = predictions[i]
        for i in range(errors.size):
            out[predictions.size + i] = errors[i]
        out[out.size - 1] = residual


@njit(nogil=True, fastmath=True, inline="always")
def _dot(a: Any, b: Any) -> Any:
    total = f32(0)
    for i in range(a.size):
        total += a[i] * b[i]
    return total


@njit(nogil=True, fastmath=True)
def _correlate(x: Any, n: int, r: Any) -> None:
    """Autocorrelation r[lag] of x[:n], behind which there are at least `STRIDE` more zeros than lags."""
    r[:] = 0
    for i in range(0, n, STRIDE):  # eight products a sum held in a register; the lags lie side by side in vectors
        x0, x1, x2, x3, x4, x5, x6, x7 = x[i], x[i + 1], x[i + 2], x[i + 3], x[i + 4], x[i + 5], x[i + 6], x[i + 7]
        y = x[i:]
        for lag in range(r.size):
            r[lag] += (
                x0 * y[lag]
                + x1 * y[lag + 1]
                + x2 * y[lag + 2]
                + x3 * y[lag + 3]
                + x4 * y[lag + 4]
                + x5 * y[lag + 5]
                + x6 * y[lag + 6]
                + x7 * y[lag + 7]
            )


@njit(nogil=True, fastmath=True)
def _levinson(r: Any, order: int, a: Any, b: Any, backward: Any) -> None:
    """Coefficients a[0 .. order - 1] of the predictor of a signal whose autocorrelation is r[0 .. order].

    b holds them in reverse, and `backward` r, so that all loops run forward over neighbours.
    """
    for i in range(order + 1):
        backward[i] = r[order - i]
    a[:order] = 0
    error = r[0] * f32(1 + RIDGE) + f32(1e-9)
    for i in range(order):
        # a[:i] predicts from the last i samples: a[j] weighs the sample j + 1 back.
        past = backward[order - i : order]
        k = r[i + 1]
        for j in range(i):
            k -= a[j] * past[j]
        k /= error
        if not abs(k) < f32(1):  # round-off: what there is predicts already
            return
        for j in range(i):
            b[j] = a[i - 1 - j]
        for j in range(i):
            a[j] -= k * b[j]
        a[i] = k
        error *= f32(1) - k * k


@njit(nogil=True, fastmath=True)
def _solve(moments: Any, ridge: float, products: Any, weights: Any, triangle: Any, half: Any) -> None:
    """Weights of (moments + ridge) weights = products, by Cholesky's decomposition; moments' lower half counts."""
    n = products.size
    for i in range(n):
        for j in range(i + 1):
            s = moments[i, j] + (ridge if i == j else 0.0)
            for m in range(j):
                s -= triangle[i, m] * triangle[j, m]
            triangle[i, j] = np.sqrt(max(s, 1e-12)) if i == j else s / triangle[j, j]
    for i in range(n):
        s = products[i] + 0.0
        for m in range(i):
            s -= triangle[i, m] * half[m]
        half[i] = s / triangle[i, i]
    for i in range(n - 1, -1, -1):
        s = half[i]
        for m in range(i + 1, n):
            s -= triangle[m, i] * weights[m]
        weights[i] = s / triangle[i, i]
