"""The fused engine of `audiornn`."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiornn.codec import CODES
from audiornn.generation.fused import lpc_prior
from audiornn.generation.fused.engine import FusedEngine, keep, take
from audiornn.generation.fused.lpc_prior import Arrays, add_log_p, room, see
from audiornn.kernels.elementwise import lookup, spread
from audiornn.kernels.gru import gru
from audiornn.kernels.jit import njit
from audiornn.kernels.matmul import multiply, pack, spaced
from audiornn.models.base import State


@njit(nogil=True, cache=True)
def _audiornn(
    weights: Any,
    states: Any,
    logits: Any,
    uniform: Any,
    temperature: Any,
    limits: Any,
    given: Any,
    kept: Any,
) -> Any:
    """The kernel of `FusedAudioRNN`; see `FusedEngine.kernel`."""
    tables, input_weights, input_bias, recurrent_weights, recurrent_bias, head, head_bias, prior = weights
    state, prior_state = states
    layers, streams, _ = state.shape
    n = max(given.shape[1], uniform.shape[1])
    predicts = len(prior_state[0]) > 0
    codes = np.empty((streams, n), np.uint8)
    inputs = np.empty((streams, recurrent_bias.shape[1]), np.float32)
    recurrent = np.empty((layers, streams, recurrent_bias.shape[1]), np.float32)
    scratch = np.empty(logits.shape[1], np.float32)
    space = room(prior, streams)
    for t in range(n):
        take(logits, uniform, temperature, limits, given, t, codes, scratch)
        if predicts:
            see(codes, t, prior, prior_state, space)
        for layer in range(layers):
            spread(input_bias[layer], inputs)
            lookup(tables[layer], codes[:, t : t + 1], inputs)
            if layer:
                multiply(input_weights[layer - 1], state[layer - 1], inputs)
            elif predicts:
                multiply(prior[1], space[1], inputs)
            # The state's products of this sample and, below, of the next: the second time the matrix is in the cache.
            if t % 2 == 0:
                spread(recurrent_bias[layer], recurrent[layer])
                multiply(recurrent_weights[layer], state[layer], recurrent[layer])
            gru(inputs, recurrent[layer], state[layer])
            if t % 2 == 0:
                spread(recurrent_bias[layer], recurrent[layer])
                multiply(recurrent_weights[layer], state[layer], recurrent[layer])
        spread(head_bias, logits)
        multiply(head, state[layers - 1], logits)
        if predicts:
            add_log_p(prior, space, logits)
        keep(logits, t, kept)
    return codes


class FusedAudioRNN(FusedEngine):
    """Generate with `audiornn` models."""

    kernel = _audiornn

    @property
    def weight_bytes(self) -> int:
        """Bytes of weights that a sample of one stream reads."""
        tables, *matrices, prior = self.weights
        return sum(part.nbytes for part in matrices) + tables[..., 0, :].nbytes + prior[1].nbytes

    def pack_state(self, state: State, streams: slice) -> Arrays:
        """States [layers, streams, units], and the prior's."""
        n = len(self.model.grus)
        predictor = np.asarray(state[n])[streams] if self.model.prior else None
        return np.stack([np.asarray(part)[streams] for part in state[:n]]), lpc_prior.state(self.model.prior, predictor)

    def pack_weights(self, model: Any, bfloat16: bool) -> Arrays:
        """Tables [layers, 1, 256, 3p], packed matrices by layer, biases; computed in double precision."""

        def array(variable: Any) -> NDArray[np.float64]:
            return np.asarray(variable, np.float64)

        def folded(norm: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
            scale = array(norm.gamma) / np.sqrt(array(norm.moving_variance) + norm.epsilon)
            return scale, array(norm.beta) - array(norm.moving_mean) * scale

        units = model.sizes["units"]
        amplitude = np.arange(CODES)[:, None] / (CODES - 1)
        kernel, bias = (array(w) for w in model.dense.weights)
        scale, shift = folded(model.norms[0])
        first = np.maximum(amplitude * kernel + bias, 0) * scale + shift
        tables, inputs, input_bias, recurrent, recurrent_bias = [], [], [], [], []
        for i, layer in enumerate(model.grus):
            kernel, bias = array(layer.kernel), array(layer.bias)
            table = amplitude * kernel[-1]
            if i:
                scale, shift = folded(model.norms[i])
                bias = bias + shift @ kernel[:-1]
                inputs.append(spaced(kernel[:-1] * scale[:, None], 3))
            else:
                table = table + first @ kernel[:-1]
            input_bias.append(spaced(bias, 3))
            tables.append(spaced(table, 3))
            recurrent.append(spaced(array(layer.recurrent_kernel), 3))
            recurrent_bias.append(spaced(np.r_[np.zeros(2 * units), array(layer.recurrent_bias)], 3))
        scale, shift = folded(model.norms[-1])
        kernel, bias = (array(w) for w in model.head.weights)
        return (
            np.stack(tables)[:, None].astype(np.float32),
            pack(np.reshape(inputs, (len(inputs), units, recurrent[0].shape[1])), bfloat16),
            np.stack(input_bias).astype(np.float32),
            pack(np.stack(recurrent), bfloat16),
            np.stack(recurrent_bias).astype(np.float32),
            pack(kernel * scale[:, None], bfloat16),
            (bias + shift @ kernel).astype(np.float32),
            lpc_prior.weights(model.prior, 3, bfloat16),
        )
