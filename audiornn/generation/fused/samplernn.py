"""The fused engine of `samplernn`."""

from typing import Any

import numpy as np

from audiornn.codec import CODES
from audiornn.generation.fused import lpc_prior
from audiornn.generation.fused.engine import keep, take
from audiornn.generation.fused.lpc_prior import Arrays, add_log_p, room, see
from audiornn.generation.fused.tiers import (
    FRAME,
    INPUTS,
    _array,
    _bytes,
    _FusedTiers,
    _know,
    _leave,
    _look,
    _relu,
    _tables,
    f32,
)
from audiornn.kernels.elementwise import spread
from audiornn.kernels.gru import gru
from audiornn.kernels.jit import njit
from audiornn.kernels.matmul import multiply, pack, spaced


@njit(nogil=True, cache=True)
def _samplernn(
    weights: Any,
    states: Any,
    logits: Any,
    uniform: Any,
    temperature: Any,
    limits: Any,
    given: Any,
    kept: Any,
) -> Any:
    """The kernel of `FusedSampleRNN`; see `FusedEngine.kernel`."""
    tiers, recurrent_weights, recurrent_bias, tables, hidden, hidden_bias, head, head_bias, prior = weights
    past, phase, cores, left, prior_state = states
    plan, dense, remembered = tiers[0], hidden.shape[1], past.shape[1]
    streams, n = len(logits), max(given.shape[1], uniform.shape[1])
    predicts = len(prior_state[0]) > 0
    space = room(prior, streams)
    codes = np.empty((streams, n), np.uint8)
    recent = np.empty((streams, remembered + n), np.uint8)
    recent[:, :remembered] = past
    inputs = np.empty((streams, plan[:, INPUTS].max()), np.float32)
    gates = np.empty((streams, recurrent_bias.shape[1]), np.float32)
    recurrent = np.empty((streams, recurrent_bias.shape[1]), np.float32)
    x = np.empty((streams, hidden_bias.size), np.float32)
    y = np.empty((streams, hidden_bias.size), np.float32)
    scratch = np.empty(CODES, np.float32)
    for t in range(n):
        take(logits, uniform, temperature, limits, given, t, codes, scratch)
        now = remembered + t
        recent[:, now] = codes[:, t]
        for tier in range(len(plan)):
            if phase[0] % plan[tier, FRAME] == 0:
                _look(tiers, tier, recent, now, phase[0], left, inputs, gates)
                spread(recurrent_bias[tier], recurrent)
                multiply(recurrent_weights[tier], cores[tier], recurrent)
                gru(gates, recurrent, cores[tier])
                _leave(tiers, tier, cores[tier], left)
        _know(plan, phase[0], left, tables, recent, now, dense, x)
        if predicts:
            see(codes, t, prior, prior_state, space)
            multiply(prior[1], space[1], x)
        phase[0] = (phase[0] + 1) % plan[0, FRAME]
        for s in range(streams):
            _relu(x[s])
        spread(hidden_bias, y)
        multiply(hidden, x, y)
        for s in range(streams):
            _relu(y[s])
        spread(head_bias, logits)
        multiply(head, y, logits)
        if predicts:
            add_log_p(prior, space, logits)
        keep(logits, t, kept)
    past[:] = recent[:, n:]
    return codes


class FusedSampleRNN(_FusedTiers):
    """Generate with `samplernn` models."""

    kernel = _samplernn

    @property
    def weight_bytes(self) -> int:
        """Bytes of weights that a sample of one stream reads; of what is read at ticks, its share."""
        _, recurrent, recurrent_bias, tables, *layers, prior = self.weights
        ticks = self.tick_bytes([_bytes(recurrent[0], recurrent_bias[0])] * len(recurrent))
        return ticks + _bytes(*layers, prior[1]) + tables[:, 0].nbytes

    def pack_weights(self, model: Any, bfloat16: bool) -> Arrays:
        """Tiers, recurrent matrices, tables of the view, and the layers at sample level."""
        cells = [core.gru for core in model.tiers.cores]
        units = cells[0].units
        biases = np.stack([np.r_[np.zeros(2 * units, f32), _array(cell.recurrent_bias)] for cell in cells])
        return (
            self.pack_tiers(model, cells, 3, bfloat16),
            pack(np.stack([spaced(_array(cell.recurrent_kernel), 3) for cell in cells]), bfloat16),
            spaced(biases, 3),
            _tables(model.lookback),
            pack(_array(model.hidden.kernel), bfloat16),
            spaced(_array(model.hidden.bias)),
            pack(_array(model.head.kernel), bfloat16),
            _array(model.head.bias),
            lpc_prior.weights(model.prior, 1, bfloat16),
        )
