"""The fused engine of `audiornn`."""

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
from audiornn.kernels.arrays import Float32, Float64, Packed, UInt8
from audiornn.kernels.elementwise import add_table_rows, broadcast_bias
from audiornn.kernels.gru import gru
from audiornn.kernels.jit import f32, njit
from audiornn.kernels.matmul import matmul_add, pack, pad_gates
from audiornn.models import base


class Weights(NamedTuple):
    """What the loop reads; p = round_up_to_block(units), a gate begins at each p."""

    code_tables: Float32  # [layers, 1, 256, 3p], input products of each code
    input_kernels: Packed  # of all layers but the first
    input_biases: Float32  # [layers, 3p]
    recurrent_kernels: Packed  # of all layers
    recurrent_biases: Float32  # [layers, 3p]
    head: Packed
    head_bias: Float32  # [256]
    prior: PriorWeights | None


class State(NamedTuple):
    """Mutable state of the loop, and scratch arrays."""

    h: Float32  # [layers, streams, units]
    inputs: Float32  # [streams, 3p]
    recurrent: Float32  # [layers, streams, 3p], products of h
    prior: PriorState | None


@njit(nogil=True, cache=True)
def _loop(weights: Weights, state: State, draws: Draws, logits: Float32, trace: Float32) -> UInt8:
    """See `FusedEngine.loop`."""
    code_tables, input_kernels, input_biases = weights.code_tables, weights.input_kernels, weights.input_biases
    recurrent_kernels, recurrent_biases = weights.recurrent_kernels, weights.recurrent_biases
    head, head_bias, prior = weights.head, weights.head_bias, weights.prior
    h, inputs, recurrent, prior_state = state.h, state.inputs, state.recurrent, state.prior
    layers = len(h)
    streams, n = len(logits), max(draws.forced.shape[1], draws.uniform.shape[1])
    codes = np.empty((streams, n), np.uint8)
    sampling_weights = np.empty(CODES, np.float32)
    for t in range(n):
        choose_codes(logits, draws, t, codes, sampling_weights)
        update_prior(prior, prior_state, codes, t)
        for layer in range(layers):
            broadcast_bias(input_biases[layer], inputs)
            add_table_rows(code_tables[layer], codes[:, t : t + 1], inputs)
            if layer:
                matmul_add(input_kernels[layer - 1], h[layer - 1], inputs)
            else:
                add_prior_input(prior, prior_state, inputs)
            # The state's products of this sample and, below, of the next: the second time the matrix is in the cache.
            if t % 2 == 0:
                broadcast_bias(recurrent_biases[layer], recurrent[layer])
                matmul_add(recurrent_kernels[layer], h[layer], recurrent[layer])
            gru(inputs, recurrent[layer], h[layer])
            if t % 2 == 0:
                broadcast_bias(recurrent_biases[layer], recurrent[layer])
                matmul_add(recurrent_kernels[layer], h[layer], recurrent[layer])
        broadcast_bias(head_bias, logits)
        matmul_add(head, h[layers - 1], logits)
        add_prior_log_probs(prior, prior_state, logits)
        record_logits(logits, t, trace)
    return codes


class FusedAudioRNN(FusedEngine):
    """Generate with `audiornn` models."""

    loop = _loop
    weights: Weights

    def pack_state(self, state: base.State, streams: slice) -> State:
        """See `State`."""
        h, prior = np.stack([np.asarray(part)[streams] for part in state["grus"]]), self.model.prior
        columns = self.weights.recurrent_biases.shape[1]
        return State(
            h=h,
            inputs=np.empty((h.shape[1], columns), f32),
            recurrent=np.empty((*h.shape[:2], columns), f32),
            prior=pack_prior_state(prior, np.asarray(state["prior"])[streams] if prior else None),
        )

    def pack_weights(self, model: Any, bfloat16: bool) -> Weights:
        """See `Weights`; computed in double precision."""

        def array(variable: Any) -> Float64:
            return np.asarray(variable, np.float64)

        def folded(norm: Any) -> tuple[Float64, Float64]:
            scale = array(norm.gamma) / np.sqrt(array(norm.moving_variance) + norm.epsilon)
            return scale, array(norm.beta) - array(norm.moving_mean) * scale

        units = model.sizes["units"]
        amplitude = np.arange(CODES)[:, None] / (CODES - 1)
        kernel, bias = (array(w) for w in model.dense.weights)
        scale, shift = folded(model.norms[0])
        first = np.maximum(amplitude * kernel + bias, 0) * scale + shift
        tables, inputs, input_biases, recurrent, recurrent_biases = [], [], [], [], []
        for i, layer in enumerate(model.grus):
            kernel, bias = array(layer.kernel), array(layer.bias)
            table = amplitude * kernel[-1]
            if i:
                scale, shift = folded(model.norms[i])
                bias = bias + shift @ kernel[:-1]
                inputs.append(pad_gates(kernel[:-1] * scale[:, None], 3))
            else:
                table = table + first @ kernel[:-1]
            input_biases.append(pad_gates(bias, 3))
            tables.append(pad_gates(table, 3))
            recurrent.append(pad_gates(array(layer.recurrent_kernel), 3))
            recurrent_biases.append(pad_gates(np.r_[np.zeros(2 * units), array(layer.recurrent_bias)], 3))
        scale, shift = folded(model.norms[-1])
        kernel, bias = (array(w) for w in model.head.weights)
        return Weights(
            code_tables=np.stack(tables)[:, None].astype(f32),
            input_kernels=pack(np.reshape(inputs, (len(inputs), units, recurrent[0].shape[1])), bfloat16),
            input_biases=np.stack(input_biases).astype(f32),
            recurrent_kernels=pack(np.stack(recurrent), bfloat16),
            recurrent_biases=np.stack(recurrent_biases).astype(f32),
            head=pack(kernel * scale[:, None], bfloat16),
            head_bias=(bias + shift @ kernel).astype(f32),
            prior=pack_prior(model.prior, 3, bfloat16),
        )
