"""The fast engines of `samplernn` and `linear` models; see `audiornn.fused` for engines, `audiornn.models` for names.

What the network at sample level sees of the last codes is a sum of table rows, one table for each code of its view: a
third of all products or more are saved. A tier multiplies the embedded codes of its window instead. That is a few
hundredths of the products, as it only happens at its ticks, and tables for it would fill the processor's last cache.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiornn import fused_prior
from audiornn.codec import CODES
from audiornn.fused import FusedEngine, keep, take
from audiornn.fused_prior import Arrays, add_log_p, room, see
from audiornn.jit import njit
from audiornn.kernels import (
    BLOCK,
    add,
    aligned,
    block,
    gru,
    lookup,
    multiply,
    one_minus_exp,
    pack,
    padded,
    sigmoid,
    silu,
    spaced,
    spread,
)
from audiornn.models.base import State
from audiornn.models.linear import FLOOR, RGLRU, SHARPNESS

f32 = np.float32
# Columns of the plan, a row a tier: codes of its frame and its window, values that its core is given, numbers of the
# core's and of the upsampling's matrix, and where these begin among those of all tiers.
FRAME, WINDOW, INPUTS, CORE, UPSAMPLE, CORE_AT, UPSAMPLE_AT = range(7)


@njit(nogil=True, cache=True)
def _look(tiers: Any, tier: int, recent: Any, now: int, phase: int, left: Any, inputs: Any, x: Any) -> None:
    """A tier's input times its core's first matrix: x float32 [streams, columns].

    `recent` are codes up to number `now`, `left` what each tier has left for the next; `inputs` is room.
    """
    plan, embedding, core_weights, core_bias, _, _ = tiers
    width, seen, given = embedding.shape[1], plan[tier, WINDOW], plan[tier, INPUTS]
    for s in range(len(x)):
        for i in range(seen):
            inputs[s, i * width : (i + 1) * width] = embedding[recent[s, now + 1 - seen + i]]
        if tier:
            units = given - seen * width
            place = phase % plan[tier - 1, FRAME] // plan[tier, FRAME] * units
            inputs[s, seen * width : given] = left[tier - 1, s, place : place + units]
    begin = plan[tier, CORE_AT]
    weights = core_weights[begin : begin + plan[tier, CORE]].reshape(-1, given, BLOCK)
    spread(core_bias[tier], x)
    multiply(weights, inputs, x)


@njit(nogil=True, cache=True)
def _leave(tiers: Any, tier: int, h: Any, left: Any) -> None:
    """What a tier whose core has come to h [streams, units] leaves for the next."""
    plan, _, _, _, upsample_weights, upsample_bias = tiers
    begin = plan[tier, UPSAMPLE_AT]
    weights = upsample_weights[begin : begin + plan[tier, UPSAMPLE]].reshape(-1, h.shape[1], BLOCK)
    spread(upsample_bias[tier], left[tier])
    multiply(weights, h, left[tier])


@njit(nogil=True, cache=True)
def _know(plan: Any, phase: int, left: Any, tables: Any, recent: Any, now: int, dense: int, x: Any) -> None:
    """What is known at sample level without linear prediction: x float32 [streams, padded(dense)]."""
    last, lags = len(plan) - 1, len(tables)
    begin = phase % plan[last, FRAME] * dense
    for s in range(len(x)):
        x[s, :dense] = left[last, s, begin : begin + dense]
        x[s, dense:] = 0
    lookup(tables, recent[:, now + 1 - lags : now + 1], x)


@block
def _relu(x: Any) -> None:
    """max(x, 0) of float32 [n], in place."""
    for i in range(x.size):
        x[i] = max(x[i], f32(0))


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


def _array(variable: Any) -> NDArray[np.float32]:
    return np.asarray(variable, f32)


def _bytes(*parts: Any) -> int:
    return sum(part.nbytes for part in parts)


class _FusedTiers(FusedEngine):
    """What the engines of both families share."""

    def pack_state(self, state: State, streams: slice) -> Arrays:
        """Last codes, phase, cores' states [tiers, (layers,) streams, units], what tiers have left, the prior's."""
        tiers, upsample_bias = state["tiers"], self.weights[0][-1]
        vectors = [np.asarray(part)[streams] for part in tiers["left"]]
        left = np.zeros((len(vectors), len(vectors[0]), upsample_bias.shape[1]), f32)
        for into, part in zip(left, vectors, strict=True):
            flat = part.reshape(len(part), -1)
            into[:, : flat.shape[1]] = flat
        prior = self.model.prior
        return (
            np.asarray(state["recent"])[streams].astype(np.uint8),
            np.asarray(state["phase"])[:1].astype(np.int64),
            np.ascontiguousarray(np.array(tiers["cores"], f32)[..., streams, :]),
            left,
            fused_prior.state(prior, np.asarray(state["prior"])[streams] if prior else None),
        )

    def pack_tiers(self, model: Any, firsts: list[Any], parts: int, bfloat16: bool) -> Arrays:
        """Plan, embedding, and what all tiers have: the cores' first matrices and the upsampling's, each in one array.

        `firsts` are the layers of the first matrices, whose columns have so many parts.
        """
        tiers = model.tiers
        cores = [pack(spaced(_array(layer.kernel), parts), bfloat16) for layer in firsts]
        upsample = [pack(_array(layer.kernel), bfloat16) for layer in tiers.upsample]
        plan = np.zeros((len(cores), 7), np.int64)
        for i, (core, up) in enumerate(zip(cores, upsample, strict=True)):
            plan[i, :UPSAMPLE] = tiers.frames[i], tiers.windows[i], core.shape[1], core.size
            plan[i, UPSAMPLE] = up.size
        plan[1:, CORE_AT], plan[1:, UPSAMPLE_AT] = plan[:-1, CORE].cumsum(), plan[:-1, UPSAMPLE].cumsum()
        bias = np.zeros((len(cores), max(padded(layer.units) for layer in tiers.upsample)), f32)
        for row, layer in zip(bias, tiers.upsample, strict=True):
            row[: layer.units] = _array(layer.bias)
        return (
            plan,
            _array(tiers.embedding.table),
            aligned(np.concatenate([core.ravel() for core in cores])),
            spaced(np.stack([_array(layer.bias) for layer in firsts]), parts),
            aligned(np.concatenate([up.ravel() for up in upsample])),
            bias,
        )

    def tick_bytes(self, rest: list[int]) -> int:
        """Bytes that ticks read, a sample's share; `rest` is what a tier's core reads but for its first matrix."""
        plan, _, core_weights, _, upsample_weights, _ = self.weights[0]
        each = core_weights.itemsize * (plan[:, CORE] + plan[:, UPSAMPLE]) + rest
        assert upsample_weights.itemsize == core_weights.itemsize
        return int((each // plan[:, FRAME]).sum())


def _tables(lookback: Any) -> NDArray[np.float32]:
    """Products of every code at every place of a view with its kernel: [length, 256, padded(width)]."""
    products = np.asarray(lookback.embedding.table, np.float64) @ np.asarray(lookback.kernel, np.float64)
    return spaced(products.astype(f32))


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
            fused_prior.weights(model.prior, 1, bfloat16),
        )


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
            fused_prior.weights(model.prior, 1, bfloat16),
        )
