"""The fused engine of `samplernn`."""

from typing import Any, NamedTuple

import numpy as np

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
from audiornn.kernels.elementwise import broadcast_bias, relu
from audiornn.kernels.gru import gru
from audiornn.kernels.jit import f32, njit
from audiornn.kernels.matmul import matmul_add, pack, pad_gates
from audiornn.models import base


class Weights(NamedTuple):
    """What the loop reads; p = round_up_to_block(units), a gate begins at each p."""

    tiers: TierWeights
    recurrent_kernels: Packed  # of all tiers
    recurrent_biases: Float32  # [tiers, 3p]
    code_tables: Float32  # [lookback, 256, columns], what the sample level sees of each code
    hidden: Packed
    hidden_bias: Float32  # [columns]
    head: Packed
    head_bias: Float32  # [256]
    prior: PriorWeights | None


class State(NamedTuple):
    """Mutable state of the loop, and scratch arrays."""

    tiers: TierState
    gates: Float32  # [streams, 3p]
    recurrent: Float32  # [streams, 3p]
    x: Float32  # [streams, columns]
    layer_output: Float32  # [streams, columns]
    prior: PriorState | None


@njit(nogil=True, cache=True)
def _loop(weights: Weights, state: State, draws: Draws, logits: Float32, trace: Float32) -> UInt8:
    """See `FusedEngine.loop`."""
    tiers, recurrent_kernels, recurrent_biases = weights.tiers, weights.recurrent_kernels, weights.recurrent_biases
    code_tables, hidden, hidden_bias = weights.code_tables, weights.hidden, weights.hidden_bias
    head, head_bias, prior = weights.head, weights.head_bias, weights.prior
    tier_state, gates, recurrent, x, y = state.tiers, state.gates, state.recurrent, state.x, state.layer_output
    frames, history, cores, phase = tiers.plan.frames, tier_state.history, tier_state.cores, tier_state.phase
    prior_state = state.prior
    streams, n = len(logits), max(draws.forced.shape[1], draws.uniform.shape[1])
    codes = np.empty((streams, n), np.uint8)
    sampling_weights = np.empty(CODES, np.float32)
    for t in range(n):
        choose_codes(logits, draws, t, codes, sampling_weights)
        push_codes(history, codes, t)
        for tier in range(len(frames)):
            if phase[0] % frames[tier] == 0:
                tier_input(tiers, tier_state, tier, gates)
                broadcast_bias(recurrent_biases[tier], recurrent)
                matmul_add(recurrent_kernels[tier], cores[tier], recurrent)
                gru(gates, recurrent, cores[tier])
                upsample(tiers, tier_state, tier, cores[tier])
        sample_level_input(tier_state, frames[-1], code_tables, hidden.shape[1], x)
        update_prior(prior, prior_state, codes, t)
        add_prior_input(prior, prior_state, x)
        phase[0] = (phase[0] + 1) % frames[0]
        for s in range(streams):
            relu(x[s])
        broadcast_bias(hidden_bias, y)
        matmul_add(hidden, x, y)
        for s in range(streams):
            relu(y[s])
        broadcast_bias(head_bias, logits)
        matmul_add(head, y, logits)
        add_prior_log_probs(prior, prior_state, logits)
        record_logits(logits, t, trace)
    return codes


class FusedSampleRNN(FusedEngine):
    """Generate with `samplernn` models."""

    loop = _loop
    weights: Weights

    def pack_state(self, state: base.State, streams: slice) -> State:
        """See `State`."""
        prior, tiers = self.model.prior, pack_tier_state(self.weights.tiers, state, streams)
        n, columns = len(tiers.history), self.weights.hidden_bias.size
        gates = self.weights.recurrent_biases.shape[1]
        return State(
            tiers=tiers,
            gates=np.empty((n, gates), f32),
            recurrent=np.empty((n, gates), f32),
            x=np.empty((n, columns), f32),
            layer_output=np.empty((n, columns), f32),
            prior=pack_prior_state(prior, np.asarray(state["prior"])[streams] if prior else None),
        )

    def pack_weights(self, model: Any, bfloat16: bool) -> Weights:
        """See `Weights`."""

        def array(variable: Any) -> Float32:
            return np.asarray(variable, f32)

        cells = [core.gru for core in model.tiers.cores]
        units = cells[0].units
        biases = np.stack([np.r_[np.zeros(2 * units, f32), array(cell.recurrent_bias)] for cell in cells])
        return Weights(
            tiers=pack_tiers(model, cells, 3, bfloat16),
            recurrent_kernels=pack(np.stack([pad_gates(array(cell.recurrent_kernel), 3) for cell in cells]), bfloat16),
            recurrent_biases=pad_gates(biases, 3),
            code_tables=pack_code_tables(model.lookback),
            hidden=pack(array(model.hidden.kernel), bfloat16),
            hidden_bias=pad_gates(array(model.hidden.bias)),
            head=pack(array(model.head.kernel), bfloat16),
            head_bias=array(model.head.bias),
            prior=pack_prior(model.prior, 1, bfloat16),
        )
