"""The fused engine of `linear`."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from audiornn.codec import CODES
from audiornn.generation.fused.draws import Draws, choose_codes
from audiornn.generation.fused.engine import FusedEngine, record_logits
from audiornn.generation.fused.lpc_prior import (
    PriorState,
    PriorWeights,
    add_prior_input,
    add_prior_log_probs,
    pack_prior,
    pack_prior_state,
    update_prior,
)
from audiornn.generation.fused.tiers import (
    TierState,
    TierWeights,
    pack_code_tables,
    pack_tier_state,
    pack_tiers,
    push_codes,
    sample_level_input,
    tier_input,
    upsample,
)
from audiornn.kernels.arrays import Float32, Packed, UInt8
from audiornn.kernels.elementwise import add, broadcast_bias, one_minus_exp, sigmoid, silu
from audiornn.kernels.jit import f32, kernel, njit
from audiornn.kernels.matmul import matmul_add, pack, pad_gates
from audiornn.models import base
from audiornn.models.layers.rglru import DECAY_POWER, MIN_FORGOTTEN, RGLRU, RMS_EPSILON


class Weights(NamedTuple):
    """What the loop reads; p = round_up_to_block(units), a gate begins at each p."""

    tiers: TierWeights
    gate_kernels: Packed  # of all recurrences, [tiers, layers, ..]
    gate_biases: Float32  # [tiers, layers, 4p]
    rates: Float32  # [tiers, layers, units], 8 softplus(rate)
    output_kernels: Packed  # of all recurrences, [tiers, layers, ..]
    output_biases: Float32  # [tiers, layers, p]
    code_tables: Float32  # [lookback, 256, columns], what the sample level sees of each code
    residual: Packed  # of all residual layers
    residual_biases: Float32  # [residual layers, columns]
    head: Packed
    head_bias: Float32  # [256]
    prior: PriorWeights | None


class State(NamedTuple):
    """Mutable state of the loop, and scratch arrays."""

    tiers: TierState
    core: Float32  # [streams, p]
    inner: Float32  # [streams, units]
    gates: Float32  # [streams, 4p]
    x: Float32  # [streams, columns]
    layer_output: Float32  # [streams, columns]
    prior: PriorState | None


@kernel
def _rms_norm(x: Float32, out: Float32) -> None:
    """x / rms(x) of float32 [n], as `RMSNormalization`; its scale is in the matrix behind."""
    power = f32(0)
    for i in range(out.size):
        power += x[i] * x[i]
    inverse = f32(1) / np.sqrt(power / f32(out.size) + f32(RMS_EPSILON))
    for i in range(out.size):
        out[i] = x[i] * inverse


@kernel
def _rglru_step(y: Float32, rates: Float32, h: Float32, out: Float32) -> None:
    """Advance the state h float32 [units] of an `RGLRU` in place, out: its gated output.

    y float32 [4p], p = round_up_to_block(units): value, recurrence gate, input gate, output gate; rates: 8
    softplus(rate).
    """
    p = y.size // 4
    value, recurrence_gate, input_gate, output_gate = y[:p], y[p : 2 * p], y[2 * p : 3 * p], y[3 * p :]
    for i in range(h.size):
        forgets = one_minus_exp(rates[i] * sigmoid(recurrence_gate[i]))
        one_minus_a_squared = max(forgets * (f32(2) - forgets), f32(MIN_FORGOTTEN))
        new = np.sqrt(one_minus_a_squared) * sigmoid(input_gate[i]) * value[i]
        h[i] = h[i] - forgets * h[i] + new
        out[i] = h[i] * output_gate[i] * sigmoid(output_gate[i])


@njit(nogil=True, cache=True)
def _loop(weights: Weights, state: State, draws: Draws, logits: Float32, trace: Float32) -> UInt8:
    """See `FusedEngine.loop`."""
    tiers, gate_kernels, gate_biases, rates = weights.tiers, weights.gate_kernels, weights.gate_biases, weights.rates
    output_kernels, output_biases, code_tables = weights.output_kernels, weights.output_biases, weights.code_tables
    residual, residual_biases = weights.residual, weights.residual_biases
    head, head_bias, prior = weights.head, weights.head_bias, weights.prior
    tier_state, core, inner, gates = state.tiers, state.core, state.inner, state.gates
    x, y, prior_state = state.x, state.layer_output, state.prior
    frames, history, cores, phase = tiers.plan.frames, tier_state.history, tier_state.cores, tier_state.phase
    layers, units = rates.shape[1], rates.shape[2]
    streams, n = len(logits), max(draws.forced.shape[1], draws.uniform.shape[1])
    codes = np.empty((streams, n), np.uint8)
    sampling_weights = np.empty(CODES, np.float32)
    for t in range(n):
        choose_codes(logits, draws, t, codes, sampling_weights)
        push_codes(history, codes, t)
        for tier in range(len(frames)):
            if phase[0] % frames[tier] == 0:
                tier_input(tiers, tier_state, tier, core)
                for layer in range(layers):
                    for s in range(streams):
                        _rms_norm(core[s], inner[s])
                    broadcast_bias(gate_biases[tier, layer], gates)
                    matmul_add(gate_kernels[tier, layer], inner, gates)
                    for s in range(streams):
                        _rglru_step(gates[s], rates[tier, layer], cores[tier, layer, s], inner[s])
                        add(output_biases[tier, layer], core[s])
                    matmul_add(output_kernels[tier, layer], inner, core)
                upsample(tiers, tier_state, tier, core[:, :units])
        sample_level_input(tier_state, frames[-1], code_tables, head.shape[1], x)
        update_prior(prior, prior_state, codes, t)
        add_prior_input(prior, prior_state, x)
        phase[0] = (phase[0] + 1) % frames[0]
        for s in range(streams):
            silu(x[s])
        for layer in range(len(residual)):
            broadcast_bias(residual_biases[layer], y)
            matmul_add(residual[layer], x, y)
            for s in range(streams):
                silu(y[s])
                add(y[s], x[s])
        broadcast_bias(head_bias, logits)
        matmul_add(head, x, logits)
        add_prior_log_probs(prior, prior_state, logits)
        record_logits(logits, t, trace)
    return codes


class FusedLinear(FusedEngine):
    """Generate with `linear` models."""

    loop = _loop
    weights: Weights

    def pack_state(self, state: base.State, streams: slice) -> State:
        """See `State`."""
        prior, tiers, weights = self.model.prior, pack_tier_state(self.weights.tiers, state, streams), self.weights
        n, columns = len(tiers.history), weights.code_tables.shape[2]
        return State(
            tiers=tiers,
            core=np.empty((n, weights.output_biases.shape[2]), f32),
            inner=np.empty((n, weights.rates.shape[2]), f32),
            gates=np.empty((n, weights.gate_biases.shape[2]), f32),
            x=np.empty((n, columns), f32),
            layer_output=np.empty((n, columns), f32),
            prior=pack_prior_state(prior, np.asarray(state["prior"])[streams] if prior else None),
        )

    def pack_weights(self, model: Any, bfloat16: bool) -> Weights:
        """See `Weights`."""
        dense, cores = model.lookback.width, model.tiers.cores

        def array(variable: Any) -> Float32:
            return np.asarray(variable, f32)

        def each(get: Callable[[RGLRU], NDArray[Any]]) -> Float32:
            """Something of all recurrences: [tiers, layers, ..]."""
            return np.stack([np.stack([get(layer).astype(f32) for layer in core.layers]) for core in cores])

        gate_kernels = pad_gates(each(lambda r: array(r.norm.scale)[:, None] * array(r.inputs.kernel)), 4)
        residual = np.reshape([array(layer.kernel) for layer in model.residual], (-1, dense, dense))
        residual_biases = np.reshape([array(layer.bias) for layer in model.residual], (-1, dense)).astype(f32)
        return Weights(
            tiers=pack_tiers(model, [core.first for core in cores], 1, bfloat16),
            gate_kernels=pack(gate_kernels, bfloat16),
            gate_biases=pad_gates(each(lambda r: array(r.inputs.bias)), 4),
            rates=each(lambda r: DECAY_POWER * np.logaddexp(0, np.asarray(r.rate, np.float64))),
            output_kernels=pack(each(lambda r: array(r.output_layer.kernel)), bfloat16),
            output_biases=pad_gates(each(lambda r: array(r.output_layer.bias))),
            code_tables=pack_code_tables(model.lookback),
            residual=pack(residual, bfloat16),
            residual_biases=pad_gates(residual_biases),
            head=pack(array(model.head.kernel), bfloat16),
            head_bias=array(model.head.bias),
            prior=pack_prior(model.prior, 1, bfloat16),
        )
