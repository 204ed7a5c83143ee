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

from typing import Generic, NamedTuple, TypeVar

import numpy as np

from audiornn.codec import CODES, mu_law_decode
from audiornn.kernels.arrays import Float32, Float64, Int64, UInt8
from audiornn.kernels.jit import f32, njit
from audiornn.kernels.normal_equations import STRIDE, autocorrelate, dot, levinson_durbin, solve_ridge

MIX_FORGET, MIX_RIDGE = 0.99, 0.2  # of the mixture
MIN_ERROR_LEVEL = 1e-3  # below this mean error a sample weighs no more in the mixture
LMS_ORDER, LMS_RATE = 16, 0.005
DECAYS = (0.5, 0.8, 0.95, 0.99)  # of the running means of the cascade's absolute error
MAIN_DECAY = 1  # which of them the errors of the other predictions are averaged with
COUNTER_PERIOD = 1 << 20  # the sample counter starts again; all update intervals divide it
AMPLITUDES = mu_law_decode(np.arange(CODES)).astype(f32)

Part = TypeVar("Part")


class FeatureColumns(NamedTuple):
    """Columns of what `Predictor.process` gives for each code: what is known of the next sample.

    Attributes
    ----------
    cascade
        The prediction of the whole cascade, an amplitude in [-1, 1].
    mixture
        That of the mixture.
    single_predictions
        Those of the single predictors.
    other_predictions
        All but the cascade's: the mixture's and the single predictors'.
    cascade_errors
        Running means of the cascade's absolute error, one for each of `DECAYS`.
    main_error
        That of them with the decay `MAIN_DECAY`.
    other_errors
        Running means of the absolute errors of `other_predictions`, with the decay `MAIN_DECAY`.
    residual
        The cascade's error for the code that was just processed.
    """

    cascade: int
    mixture: int
    single_predictions: slice
    other_predictions: slice
    cascade_errors: slice
    main_error: int
    other_errors: slice
    residual: int


def feature_columns(predictors: int) -> FeatureColumns:
    """The columns for a number of single predictors."""
    errors = 2 + predictors
    other_errors = errors + len(DECAYS)
    residual = other_errors + 1 + predictors
    return FeatureColumns(
        cascade=0,
        mixture=1,
        single_predictions=slice(2, errors),
        other_predictions=slice(1, errors),
        cascade_errors=slice(errors, other_errors),
        main_error=errors + MAIN_DECAY,
        other_errors=slice(other_errors, residual),
        residual=residual,
    )


class PredictorState(NamedTuple, Generic[Part]):
    """Parts of a stream's state, or, as `Predictor.layout`, where they are in it."""

    sample_count: Part  # [1], modulo `COUNTER_PERIOD`
    history_fill: Part  # [1], samples in the history beyond the longest window
    history: Part  # [2 * longest window], the latest samples last
    coefficients: Part  # of all single predictors, the oldest sample's first
    moments: Part  # [k, k] of the k single predictions around their mean
    products: Part  # [k] of these with the sample
    mixture_weights: Part  # [k]
    lms_weights: Part  # [LMS_ORDER]
    lms_inputs: Part  # [LMS_ORDER], the mixture's last errors
    features: Part  # all columns of `FeatureColumns` but the residual


class PredictorTables(NamedTuple):
    """What is the same for all streams and all samples; k single predictors."""

    orders: Int64  # [k]
    window_lengths: Int64  # [k]
    update_intervals: Int64  # [k], in samples
    coefficient_offsets: Int64  # [k], in `PredictorState.coefficients`
    windows: Float32  # [k, longest window]
    layout: PredictorState[slice]
    columns: FeatureColumns
    amplitudes: Float32  # [256], by code


class PredictorScratch(NamedTuple):
    """Room for `step_codes` to work in; n is more than twice the longest window."""

    windowed: Float32  # [n]
    correlation: Float32  # [n]
    solution: Float32  # [n]
    reversed_coefficients: Float32  # [n]
    reversed_correlation: Float32  # [n]
    deviation: Float64  # [k]
    forward_solution: Float64  # [k]
    cholesky: Float64  # [k, k]


@njit(nogil=True, fastmath=True, inline="always")
def _state_parts(state: Float32, layout: PredictorState[slice], k: int) -> PredictorState[Float32]:
    """Views of the parts of one stream's flat state."""
    return PredictorState(
        state[layout.sample_count],
        state[layout.history_fill],
        state[layout.history],
        state[layout.coefficients],
        state[layout.moments].reshape(k, k),
        state[layout.products],
        state[layout.mixture_weights],
        state[layout.lms_weights],
        state[layout.lms_inputs],
        state[layout.features],
    )


@njit(nogil=True, fastmath=True, cache=True)
def step_codes(
    codes: UInt8, state: Float32, features: Float32, tables: PredictorTables, scratch: PredictorScratch
) -> None:
    """Advance one stream by codes uint8 [n]: `state` [state_size] in place, `features` [n, n_features] filled.

    `tables` are the predictor's, `scratch` as its `scratch` made it.
    """
    # Taken out of the records once: in the loop each look would count references.
    orders, window_lengths, offsets = tables.orders, tables.window_lengths, tables.coefficient_offsets
    update_intervals, windows, amplitudes, columns = (
        tables.update_intervals,
        tables.windows,
        tables.amplitudes,
        tables.columns,
    )
    windowed, correlation, solution = scratch.windowed, scratch.correlation, scratch.solution
    reversed_solution, reversed_correlation = scratch.reversed_coefficients, scratch.reversed_correlation
    deviation, forward, cholesky = scratch.deviation, scratch.forward_solution, scratch.cholesky
    k, longest = windows.shape
    parts = _state_parts(state, tables.layout, k)
    sample_count, history_fill, history = parts.sample_count, parts.history_fill, parts.history
    coefficients, moments, products = parts.coefficients, parts.moments, parts.products
    mixture_weights, lms_weights, lms_inputs = parts.mixture_weights, parts.lms_weights, parts.lms_inputs
    latest = parts.features
    single_predictions, other_predictions = latest[columns.single_predictions], latest[columns.other_predictions]
    cascade_errors, other_errors = latest[columns.cascade_errors], latest[columns.other_errors]
    for t in range(codes.size):
        x = amplitudes[codes[t]]
        residual = x - latest[columns.cascade]

        # The mixture learns from how the single predictions lay around their mean.
        mean = f32(0)
        for i in range(k):
            mean += single_predictions[i]
        mean /= f32(k)
        error_level = f32(MIN_ERROR_LEVEL) + other_errors[0]
        weight = f32(1) / (error_level * error_level)
        trace = 0.0
        for i in range(k):
            d = single_predictions[i] - mean
            deviation[i] = d
            for j in range(i + 1):
                moments[i, j] = f32(MIX_FORGET) * moments[i, j] + weight * d * f32(deviation[j])
            products[i] = f32(MIX_FORGET) * products[i] + weight * d * (x - mean)
            trace += moments[i, i]
        solve_ridge(moments, MIX_RIDGE * trace / k + 1e-6, products, mixture_weights, cholesky, forward)

        energy = f32(1e-4)
        for i in range(LMS_ORDER):
            energy += lms_inputs[i] * lms_inputs[i]
        gain = f32(LMS_RATE) * residual / energy
        for i in range(LMS_ORDER):
            lms_weights[i] += gain * lms_inputs[i]
        for i in range(LMS_ORDER - 1, 0, -1):
            lms_inputs[i] = lms_inputs[i - 1]
        lms_inputs[0] = x - latest[columns.mixture]

        for i in range(cascade_errors.size):
            cascade_errors[i] = f32(DECAYS[i]) * cascade_errors[i] + f32(1 - DECAYS[i]) * abs(residual)
        for i in range(other_errors.size):
            error = abs(x - other_predictions[i])
            other_errors[i] = f32(DECAYS[MAIN_DECAY]) * other_errors[i] + f32(1 - DECAYS[MAIN_DECAY]) * error

        # The amplitude joins the history, of which at least the longest window is at hand in one piece.
        fill = int(history_fill[0])
        if fill == history.size - longest:
            history[:longest] = history[fill : fill + longest]
            fill = 0
        history[fill + longest] = x
        fill += 1
        history_fill[0] = fill
        number = int(sample_count[0]) + 1
        sample_count[0] = number % COUNTER_PERIOD
        newest = fill + longest

        mean = f32(0)
        for i in range(k):
            order, window, offset = orders[i], window_lengths[i], offsets[i]
            a = coefficients[offset : offset + order]
            if number % update_intervals[i] == 0:
                piece = history[newest - window : newest]
                for j in range(window):
                    windowed[j] = piece[j] * windows[i, j]
                windowed[window : window + order + STRIDE] = 0
                autocorrelate(windowed, window, correlation[: order + 1])
                levinson_durbin(correlation, order, solution, reversed_solution, reversed_correlation)
                for j in range(order):  # the oldest sample first, as in the history
                    a[order - 1 - j] = solution[j]
            p = min(max(dot(a, history[newest - order : newest]), f32(-1)), f32(1))
            single_predictions[i] = p
            mean += p
        mean /= f32(k)
        mixed = mean
        for i in range(k):
            mixed += mixture_weights[i] * (single_predictions[i] - mean)
        mixed = min(max(mixed, f32(-1)), f32(1))
        latest[columns.mixture] = mixed
        latest[columns.cascade] = min(max(mixed + dot(lms_weights, lms_inputs), f32(-1)), f32(1))

        out = features[t]
        for i in range(latest.size):
            out[i] = latest[i]
        out[columns.residual] = residual
