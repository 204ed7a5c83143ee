"""What the fused engines of `samplernn` and `linear` share; names are those of `audiornn.models.layers.tiers`.

What the network at sample level sees of the last codes is a sum of table rows, one table for each code of its view: a
third of all products or more are saved. A tier multiplies the embedded codes of its window instead. That is a few
hundredths of the products, as it only happens at its ticks, and tables for it would fill the processor's last cache.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiornn.generation.fused import lpc_prior
from audiornn.generation.fused.engine import FusedEngine
from audiornn.generation.fused.lpc_prior import Arrays
from audiornn.kernels.elementwise import lookup, spread
from audiornn.kernels.jit import block, njit
from audiornn.kernels.matmul import BLOCK, aligned, multiply, pack, padded, spaced
from audiornn.models.base import State

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
            lpc_prior.state(prior, np.asarray(state["prior"])[streams] if prior else None),
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
