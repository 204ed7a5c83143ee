"""The fused engine of `lpcmix`; names are those of `audiornn.models.lpcmix`."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiornn.codec import CODES
from audiornn.generation.fused.engine import Arrays, FusedEngine, keep, take
from audiornn.generation.fused.lpc_prior import MEANS, mixture, relate, unit
from audiornn.kernels.elementwise import add, silu, spread
from audiornn.kernels.gru import gru
from audiornn.kernels.jit import njit
from audiornn.kernels.linear_prediction import consume
from audiornn.kernels.matmul import multiply, pack, padded, spaced
from audiornn.models.base import State
from audiornn.models.layers.logistic_mixture import MU
from audiornn.models.layers.lpc_prior import PLACE

f32 = np.float32
COMPANDED = (2 * np.arange(CODES) / MU - 1).astype(f32)


@njit(nogil=True, cache=True)
def _lpcmix(
    weights: Any,
    states: Any,
    logits: Any,
    uniform: Any,
    temperature: Any,
    limits: Any,
    given: Any,
    kept: Any,
) -> Any:
    """The kernel of `FusedLPCMix`; see `FusedEngine.kernel`."""
    tables, companded, layers, biases, head, head_bias, frame_weights, frame_biases, numbers = weights
    first, residual = layers
    frame_input, frame_recurrent, condition_weights = frame_weights
    predictor, scratch, small, amplitudes, errors, past, memory, condition, phase = states
    history, hop, outputs, components = numbers
    streams, n = len(logits), max(given.shape[1], uniform.shape[1])
    codes = np.empty((streams, n), np.uint8)
    known = np.empty((streams, 1, 2 * outputs + MEANS), np.float32)
    inputs = np.empty((streams, first.shape[1]), np.float32)
    frame = np.empty((streams, frame_input.shape[1]), np.float32)
    gates = np.empty((streams, frame_biases.shape[1]), np.float32)
    recurrent = np.empty((streams, frame_biases.shape[1]), np.float32)
    hidden = np.empty((streams, biases.shape[1]), np.float32)
    more = np.empty((streams, biases.shape[1]), np.float32)
    mixtures = np.empty((streams, head_bias.size), np.float32)
    sums = np.empty((2, logits.shape[1] + 1), np.float32)
    weighed = np.empty(logits.shape[1], np.float32)
    end = inputs.shape[1] - history
    for t in range(n):
        take(logits, uniform, temperature, limits, given, t, codes, weighed)
        for s in range(streams):
            consume(codes[s, t : t + 1], predictor[s], known[s], tables, scratch, small)
            for i in range(history - 1, 0, -1):
                amplitudes[s, i] = amplitudes[s, i - 1]
                errors[s, i] = errors[s, i - 1]
                past[s, i] = past[s, i - 1]
            k, x = known[s, 0], inputs[s]
            amplitudes[s, 0] = tables[3][codes[s, t]]
            errors[s, 0] = k[-1]
            past[s, 0] = companded[codes[s, t]]
            relate(amplitudes[s], errors[s], k, outputs, x[:end])
            x[end:] = past[s]
            if phase[0] == 0:
                frame[s, :history] = past[s]
                frame[s, history : 2 * history] = x[history : 2 * history]
                frame[s, 2 * history :] = x[end - PLACE : end]
        if phase[0] == 0:
            spread(frame_biases[0], gates)
            multiply(frame_input, frame, gates)
            spread(frame_biases[1], recurrent)
            multiply(frame_recurrent, memory, recurrent)
            gru(gates, recurrent, memory)
            condition[:] = 0
            multiply(condition_weights, memory, condition)
        phase[0] = (phase[0] + 1) % hop
        spread(biases[0], hidden)
        multiply(first, inputs, hidden)
        for s in range(streams):
            add(condition[s], hidden[s])
            silu(hidden[s])
        for layer in range(residual.shape[0]):
            spread(biases[1 + layer], more)
            multiply(residual[layer], hidden, more)
            for s in range(streams):
                silu(more[s])
                add(more[s], hidden[s])
        spread(head_bias, mixtures)
        multiply(head, hidden, mixtures)
        for s in range(streams):
            k = known[s, 0]
            mixture(mixtures[s, : 3 * components], k[0], unit(k, outputs), sums, logits[s])
        keep(logits, t, kept)
    return codes


class FusedLPCMix(FusedEngine):
    """Generate with `lpcmix` models."""

    kernel = _lpcmix

    @property
    def weight_bytes(self) -> int:
        """Bytes of weights that a sample of one stream reads; of what is read once a frame, its share."""
        _, _, layers, biases, head, head_bias, frame, frame_biases, _ = self.weights
        each = sum(part.nbytes for part in (*layers, biases, head, head_bias))
        return each + sum(part.nbytes for part in (*frame, frame_biases)) // self.model.hop

    def pack_state(self, state: State, streams: slice) -> Arrays:
        """Predictors; last amplitudes, errors and companded amplitudes, latest first; GRU, conditioning, phase."""
        s = {key: np.array(part[streams]) for key, part in state.items()}
        amplitudes = np.ascontiguousarray(s["amplitudes"][:, ::-1])
        past = np.sign(amplitudes) * np.log1p(MU * np.abs(amplitudes)) / np.log(CODES)
        condition = np.zeros((len(amplitudes), padded(self.model.hidden)), f32)
        condition[:, : self.model.hidden] = s["condition"]
        return (
            s["predictor"],
            *self.model.predictor.scratch(),
            amplitudes,
            np.ascontiguousarray(s["errors"][:, ::-1]),
            past.astype(f32),
            s["gru"],
            condition,
            s["phase"][:1].astype(np.int64),
        )

    def pack_weights(self, model: Any, bfloat16: bool) -> tuple[Any, ...]:
        """Tables of the predictors and the codes; matrices packed, gates and layers padded to whole blocks."""
        hidden, units = model.hidden, model.units

        def array(variable: Any) -> NDArray[np.float32]:
            return np.asarray(variable, f32)

        cell = model.gru
        recurrent_bias = np.r_[np.zeros(2 * units, f32), array(cell.recurrent_bias)]
        return (
            model.predictor.tables,
            COMPANDED,
            (
                pack(array(model.first.kernel), bfloat16),
                pack(np.reshape([array(layer.kernel) for layer in model.residual], (-1, hidden, hidden)), bfloat16),
            ),
            spaced(np.stack([array(layer.bias) for layer in [model.first, *model.residual]])),
            pack(array(model.head.kernel), bfloat16),
            spaced(array(model.head.bias)),
            tuple(
                pack(kernel, bfloat16)
                for kernel in (
                    spaced(array(cell.kernel), 3),
                    spaced(array(cell.recurrent_kernel), 3),
                    array(model.condition.kernel),
                )
            ),
            spaced(np.stack([array(cell.bias), recurrent_bias]), 3),
            (model.history, model.hop, model.predictor.outputs, model.mixture),
        )
