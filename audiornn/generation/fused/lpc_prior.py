"""Linear prediction in compiled loops: what networks see of it, and the distributions around it.

Names are those of `audiornn.models.layers.lpc_prior` and `audiornn.models.layers.logistic_mixture`; the predictors are
in `audiornn.kernels.linear_prediction`.
"""

from typing import Any, NamedTuple

import numpy as np

from audiornn.codec import CODES, MU
from audiornn.kernels.arrays import Float32, Packed, UInt8
from audiornn.kernels.elementwise import exp, log, one_minus_exp, tanh
from audiornn.kernels.jit import f32, kernel, njit
from audiornn.kernels.linear_prediction import DECAYS, FeatureColumns, PredictorScratch, PredictorTables, step_codes
from audiornn.kernels.matmul import matmul_add, pack, pad_gates
from audiornn.models.layers.logistic_mixture import EDGES, MAX_LOG_WIDTH, UNIFORM_SHARE, WIDTHS
from audiornn.models.layers.lpc_prior import (
    EMBEDDING_FREQUENCIES,
    ERROR_SHARE,
    LOG_FACTOR,
    LOG_OFFSET,
    MIN_AMPLITUDE,
    NetworkInputColumns,
    Prior,
)

LOG_CODES = np.log(CODES)
NUM_ERROR_MEANS = len(DECAYS)


@kernel
def error_scale(features: Float32, columns: FeatureColumns) -> Any:
    """The unit in which the next sample lies around the prediction."""
    return f32(ERROR_SHARE) * features[columns.main_error] + f32(MIN_AMPLITUDE)


@kernel
def _position_features(features: Float32, columns: FeatureColumns, out: Float32) -> None:
    """Loudness of the error, and where the prediction is: float32 [n_position_features]."""
    p, errors = features[columns.cascade], features[columns.cascade_errors]
    n = NUM_ERROR_MEANS
    for i in range(n):
        out[i] = f32(LOG_FACTOR) * log(errors[i] + f32(MIN_AMPLITUDE)) + f32(LOG_OFFSET)
    interval = (abs(p) + f32(1 / MU)) * f32(2 * LOG_CODES / MU)
    out[n] = f32(LOG_FACTOR) * log(interval / error_scale(features, columns))
    companded = np.copysign(log(f32(1) + f32(MU) * abs(p)) / f32(LOG_CODES), p)
    out[n + 1] = companded
    waves = EMBEDDING_FREQUENCIES.size
    for i in range(waves):
        out[n + 2 + i] = np.sin(companded * EMBEDDING_FREQUENCIES[i])
        out[n + 2 + waves + i] = np.cos(companded * EMBEDDING_FREQUENCIES[i])


@kernel
def network_inputs(
    amplitudes: Float32,
    errors: Float32,
    features: Float32,
    columns: FeatureColumns,
    input_columns: NetworkInputColumns,
    out: Float32,
) -> None:
    """What a network sees, in units of the scale around the prediction, or as logarithms.

    Parameters
    ----------
    amplitudes, errors
        The last samples and the cascade's errors for them, latest first, float32 [n] each.
    features
        What the predictors know of the next sample, float32 [n_features].
    columns
        Of `features`.
    input_columns
        Of `out`.
    out
        float32 [n_inputs]; the companded samples in it are left as they are.
    """
    predictions, mean_errors = features[columns.other_predictions], features[columns.other_errors]
    samples, past_errors, others = (
        out[input_columns.samples],
        out[input_columns.errors],
        out[input_columns.other_predictions],
    )
    relative_errors, around = out[input_columns.relative_errors], out[: input_columns.other_predictions.stop]
    p, inverse = features[columns.cascade], f32(1) / error_scale(features, columns)
    for i in range(samples.size):
        samples[i] = (amplitudes[i] - p) * inverse
        past_errors[i] = errors[i] * inverse
    for i in range(others.size):
        others[i] = (predictions[i] - p) * inverse
    for i in range(around.size):  # asinh
        size = abs(around[i])
        around[i] = np.copysign(log(size + np.sqrt(size * size + f32(1))), around[i])
    main = log(features[columns.main_error] + f32(MIN_AMPLITUDE))
    for i in range(relative_errors.size):
        relative_errors[i] = log(mean_errors[i] + f32(MIN_AMPLITUDE)) - main
    _position_features(features, columns, out[input_columns.position])


@kernel
def mixture_log_probs(mixture: Float32, p: float, scale: float, sums: Float32, log_p: Float32) -> None:
    """log P of each code: `logistic_mixture.logits` for one sample. `sums` float32 [2, 257] is overwritten."""
    components = mixture.size // 3
    largest = mixture[0]
    for m in range(components):
        largest = max(largest, mixture[m])
    total = f32(0)
    for m in range(components):
        total += exp(max(mixture[m] - largest, f32(-80)))
    below, above = sums[0], sums[1]
    n = log_p.size
    for i in range(n):
        log_p[i] = f32(UNIFORM_SHARE / CODES)
    inverse_scale = f32(1) / scale
    for m in range(components):
        weight = exp(max(mixture[m] - largest, f32(-80))) / total * f32(1 - UNIFORM_SHARE)
        inverse = exp(f32(-MAX_LOG_WIDTH) * tanh(mixture[components + m] / f32(MAX_LOG_WIDTH)))
        centre = mixture[2 * components + m]
        for i in range(n + 1):  # sigmoid(z) and sigmoid(-z), each to the last digits
            z = ((EDGES[i] - p) * inverse_scale - centre) * inverse
            e = exp(min(max(-z, f32(-40)), f32(40)))
            low = f32(1) / (f32(1) + e)
            below[i] = low
            above[i] = e * low
        factor = inverse_scale * inverse
        for i in range(n):
            log_p[i] += weight * below[i + 1] * above[i] * one_minus_exp(WIDTHS[i] * factor)
    for i in range(n):
        log_p[i] = log(log_p[i])


class PriorWeights(NamedTuple):
    """What is read of a `Prior`."""

    tables: PredictorTables
    input_columns: NetworkInputColumns
    kernel: Packed  # what networks see -> what is added to their input
    mixture: Float32  # [3], the logistic around the prediction: log weight, log width, centre


class PriorState(NamedTuple):
    """State of the predictors of all streams, and scratch arrays."""

    predictor: Float32  # [streams, state_size]
    scratch: PredictorScratch
    features: Float32  # [streams, 1, n_features]
    network_input: Float32  # [streams, inputs of the view]
    log_p: Float32  # [256]
    sums: Float32  # [2, 257]


def pack_prior(prior: Prior | None, gates: int, bfloat16: bool) -> PriorWeights | None:
    """A `Prior` as `PriorWeights`; each gate of its matrix [n, gates * units] begins with a block of outputs."""
    if prior is None:
        return None
    return PriorWeights(
        tables=prior.predictor.tables,
        input_columns=prior.columns,
        kernel=pack(pad_gates(np.asarray(prior.view.kernel), gates), bfloat16),
        mixture=np.array([0, np.asarray(prior.shape)[0], 0], f32),
    )


def pack_prior_state(prior: Prior | None, predictor: Any) -> PriorState | None:
    """The state of a prior, whose predictors' is float32 [streams, state_size]."""
    if prior is None:
        return None
    state, used = np.array(predictor, f32), prior.predictor
    return PriorState(
        predictor=state,
        scratch=used.scratch(),
        features=np.empty((len(state), 1, used.n_features), f32),
        network_input=np.empty((len(state), prior.columns.companded.stop), f32),
        log_p=np.empty(CODES, f32),
        sums=np.empty((2, CODES + 1), f32),
    )


# Where a model has no prior, both records are None, and what follows compiles to nothing.


@njit(nogil=True, cache=True)
def update_prior(prior: PriorWeights | None, state: PriorState | None, codes: UInt8, t: int) -> None:
    """Let each stream's predictor follow `codes[stream, t]`."""
    if prior is None or state is None:
        return
    tables, scratch, amplitudes, columns = prior.tables, state.scratch, prior.tables.amplitudes, prior.tables.columns
    predictor, features, network_input = state.predictor, state.features, state.network_input
    for s in range(len(codes)):
        step_codes(codes[s, t : t + 1], predictor[s], features[s], tables, scratch)
        latest = features[s, 0]
        amplitude = amplitudes[codes[s, t] : codes[s, t] + 1]
        network_inputs(amplitude, latest[columns.residual :], latest, columns, prior.input_columns, network_input[s])


@njit(nogil=True, cache=True)
def add_prior_input(prior: PriorWeights | None, state: PriorState | None, x: Float32) -> None:
    """Add what networks see of the prediction, times the prior's matrix, to x float32 [streams, columns]."""
    if prior is None or state is None:
        return
    matmul_add(prior.kernel, state.network_input, x)


@njit(nogil=True, cache=True)
def add_prior_log_probs(prior: PriorWeights | None, state: PriorState | None, logits: Float32) -> None:
    """Add log P of each code by linear prediction to each stream's logits [streams, 256]."""
    if prior is None or state is None:
        return
    mixture, columns = prior.mixture, prior.tables.columns
    features, log_p, sums = state.features, state.log_p, state.sums
    for s in range(len(logits)):
        latest = features[s, 0]
        mixture_log_probs(mixture, latest[columns.cascade], error_scale(latest, columns), sums, log_p)
        for i in range(log_p.size):
            logits[s, i] += log_p[i]
