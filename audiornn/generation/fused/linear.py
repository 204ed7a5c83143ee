"""The fused engine of `linear`."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
    _tables,
    f32,
)
from audiornn.kernels.elementwise import add, one_minus_exp, sigmoid, silu, spread
from audiornn.kernels.jit import block, njit
from audiornn.kernels.matmul import multiply, pack, spaced
from audiornn.models.layers.rglru import FLOOR, RGLRU, SHARPNESS


@block
def _normalise(x: Any, into: Any) -> None:
    """x / rms(x) of float32 [n], as `RMSNormalization`; its scale is in the matrix behind."""
    power = f32(0)
    for i in range(into.size):
        power += x[i] * x[i]
    inverse = f32(1) / np.sqrt(power / f32(into.size) + f32(1e-6))
    for i in range(into.size):
        into[i] = x[i] * inverse


@block
def _recur(y: Any, rates: Any, h: Any, into: Any) -> None:
    """Advance the state h float32 [units] of an `RGLRU` in place, into: its gated output.

    y float32 [4p], p = padded(units): value, recurrence gate, input gate, the gate behind; rates: 8 softplus(rate).
    """
    p = y.size // 4
    value, recurrence, gate, behind = y[:p], y[p : 2 * p], y[2 * p : 3 * p], y[3 * p :]
    for i in range(h.size):
        forgets = one_minus_exp(rates[i] * sigmoid(recurrence[i]))
        new = np.sqrt(max(forgets * (f32(2) - forgets), f32(FLOOR))) * sigmoid(gate[i]) * value[i]
        h[i] = h[i] - forgets * h[i] + new
        into[i] = h[i] * behind[i] * sigmoid(behind[i])


@njit(nogil=True, cache=True)
def _linear(
    weights: Any,
    states: Any,
    logits: Any,
    uniform: Any,
    temperature: Any,
    limits: Any,
    given: Any,
    kept: Any,
) -> Any:
    """The kernel of `FusedLinear`; see `FusedEngine.kernel`."""
    tiers, layers, tables, residual, residual_bias, head, head_bias, prior = weights
    gate_weights, gate_bias, rates, output_weights, output_bias = layers
    past, phase, cores, left, prior_state = states
    plan, dense, remembered = tiers[0], head.shape[1], past.shape[1]
    streams, n, units = len(logits), max(given.shape[1], uniform.shape[1]), rates.shape[2]
    predicts = len(prior_state[0]) > 0
    space = room(prior, streams)
    codes = np.empty((streams, n), np.uint8)
    recent = np.empty((streams, remembered + n), np.uint8)
    recent[:, :remembered] = past
    inputs = np.empty((streams, plan[:, INPUTS].max()), np.float32)
    core = np.empty((streams, output_bias.shape[2]), np.float32)
    inner = np.empty((streams, units), np.float32)
    gates = np.empty((streams, gate_bias.shape[2]), np.float32)
    x = np.empty((streams, tables.shape[2]), np.float32)
    y = np.empty((streams, tables.shape[2]), np.float32)
    scratch = np.empty(CODES, np.float32)
    for t in range(n):
        take(logits, uniform, temperature, limits, given, t, codes, scratch)
        now = remembered + t
        recent[:, now] = codes[:, t]
        for tier in range(len(plan)):
            if phase[0] % plan[tier, FRAME] == 0:
                _look(tiers, tier, recent, now, phase[0], left, inputs, core)
                for layer in range(rates.shape[1]):
                    for s in range(streams):
                        _normalise(core[s], inner[s])
                    spread(gate_bias[tier, layer], gates)
                    multiply(gate_weights[tier, layer], inner, gates)
                    for s in range(streams):
                        _recur(gates[s], rates[tier, layer], cores[tier, layer, s], inner[s])
                        add(output_bias[tier, layer], core[s])
                    multiply(output_weights[tier, layer], inner, core)
                _leave(tiers, tier, core[:, :units], left)
        _know(plan, phase[0], left, tables, recent, now, dense, x)
        if predicts:
            see(codes, t, prior, prior_state, space)
            multiply(prior[1], space[1], x)
        phase[0] = (phase[0] + 1) % plan[0, FRAME]
        for s in range(streams):
            silu(x[s])
        for layer in range(len(residual)):
            spread(residual_bias[layer], y)
            multiply(residual[layer], x, y)
            for s in range(streams):
                silu(y[s])
                add(y[s], x[s])
        spread(head_bias, logits)
        multiply(head, x, logits)
        if predicts:
            add_log_p(prior, space, logits)
        keep(logits, t, kept)
    past[:] = recent[:, n:]
    return codes


class FusedLinear(_FusedTiers):
    """Generate with `linear` models."""

    kernel = _linear

    @property
    def weight_bytes(self) -> int:
        """Bytes of weights that a sample of one stream reads; of what is read at ticks, its share."""
        _, layers, tables, *dense, prior = self.weights
        ticks = self.tick_bytes([_bytes(*(part[tier] for part in layers)) for tier in range(len(layers[0]))])
        return ticks + _bytes(*dense, prior[1]) + tables[:, 0].nbytes

    def pack_weights(self, model: Any, bfloat16: bool) -> Arrays:
        """Tiers, recurrences, tables of the view, and the layers at sample level."""
        dense = model.lookback.width
        cores = model.tiers.cores

        def each(get: Callable[[RGLRU], NDArray[Any]]) -> NDArray[np.float32]:
            """Something of all recurrences: [tiers, layers, ..]."""
            return np.stack([np.stack([get(layer).astype(f32) for layer in core.layers]) for core in cores])

        return (
            self.pack_tiers(model, [core.first for core in cores], 1, bfloat16),
            (
                pack(spaced(each(lambda r: _array(r.norm.scale)[:, None] * _array(r.inputs.kernel)), 4), bfloat16),
                spaced(each(lambda r: _array(r.inputs.bias)), 4),
                each(lambda r: SHARPNESS * np.logaddexp(0, np.asarray(r.rate, np.float64))),
                pack(each(lambda r: _array(r.output_layer.kernel)), bfloat16),
                spaced(each(lambda r: _array(r.output_layer.bias))),
            ),
            _tables(model.lookback),
            pack(np.reshape([_array(layer.kernel) for layer in model.residual], (-1, dense, dense)), bfloat16),
            spaced(np.reshape([_array(layer.bias) for layer in model.residual], (-1, dense)).astype(f32)),
            pack(_array(model.head.kernel), bfloat16),
            _array(model.head.bias),
            lpc_prior.weights(model.prior, 1, bfloat16),
        )
