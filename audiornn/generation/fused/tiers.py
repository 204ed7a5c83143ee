"""What the fused engines of `samplernn` and `linear` share; names are those of `audiornn.models.layers.tiers`.

What the network at sample level sees of the last codes is a sum of table rows, one table for each code of its view: a
third of all products or more are saved. A tier multiplies the embedded codes of its window instead. That is a few
hundredths of the products, as it only happens at its ticks, and tables for it would fill the processor's last cache.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from audiornn.kernels.arrays import Float32, Int64, Packed, UInt8, aligned
from audiornn.kernels.elementwise import add_table_rows, broadcast_bias
from audiornn.kernels.jit import f32, njit
from audiornn.kernels.matmul import OUTPUTS_PER_BLOCK, matmul_add, pack, pad_gates, round_up_to_block
from audiornn.models.base import State
from audiornn.models.layers.tiers import LookBack


class TierPlan(NamedTuple):
    """Sizes of each tier, [tiers] each, and where its matrices begin among those of all tiers."""

    frames: Int64  # codes
    windows: Int64  # codes
    inputs: Int64  # values that its core is given
    input_offsets: Int64
    input_sizes: Int64
    upsample_offsets: Int64
    upsample_sizes: Int64


class TierWeights(NamedTuple):
    """What is read of all tiers but their recurrences."""

    plan: TierPlan
    embedding: Float32  # [256, width]
    input_kernels: Packed  # of the cores' first layers, one after the other
    input_biases: Float32  # [tiers, columns]
    upsample_kernels: Packed  # one after the other
    upsample_biases: Float32  # [tiers, columns]


class TierState(NamedTuple):
    """State of all tiers, and scratch arrays."""

    history: UInt8  # [streams, history_length], the last codes, the latest last
    phase: Int64  # [1], codes since the slowest tier's tick
    cores: Float32  # [tiers, .., streams, units]
    conditioning: Float32  # [tiers, streams, columns], the vectors for the next tier, one after the other
    inputs: Float32  # [streams, the most inputs of a tier]


@njit(nogil=True, cache=True)
def push_codes(history: UInt8, codes: UInt8, t: int) -> None:
    """Let `codes[:, t]` join a history [streams, n], whose oldest codes leave it."""
    last = history.shape[1] - 1
    for s in range(len(codes)):
        for i in range(last):
            history[s, i] = history[s, i + 1]
        history[s, last] = codes[s, t]


@njit(nogil=True, cache=True)
def tier_input(weights: TierWeights, state: TierState, tier: int, x: Float32) -> None:
    """What a tier's core is given, times the core's first matrix: x float32 [streams, columns]."""
    plan, embedding, history = weights.plan, weights.embedding, state.history
    conditioning, inputs = state.conditioning, state.inputs
    width, window, n = embedding.shape[1], plan.windows[tier], plan.inputs[tier]
    first = history.shape[1] - window
    for s in range(len(x)):
        for i in range(window):
            inputs[s, i * width : (i + 1) * width] = embedding[history[s, first + i]]
        if tier:
            units = n - window * width
            begin = state.phase[0] % plan.frames[tier - 1] // plan.frames[tier] * units
            inputs[s, window * width : n] = conditioning[tier - 1, s, begin : begin + units]
    begin = plan.input_offsets[tier]
    kernel = weights.input_kernels[begin : begin + plan.input_sizes[tier]].reshape(-1, n, OUTPUTS_PER_BLOCK)
    broadcast_bias(weights.input_biases[tier], x)
    matmul_add(kernel, inputs, x)


@njit(nogil=True, cache=True)
def upsample(weights: TierWeights, state: TierState, tier: int, h: Float32) -> None:
    """The vectors for the next tier, from a tier's new state h [streams, units]."""
    begin, out = weights.plan.upsample_offsets[tier], state.conditioning[tier]
    size = weights.plan.upsample_sizes[tier]
    kernel = weights.upsample_kernels[begin : begin + size].reshape(-1, h.shape[1], OUTPUTS_PER_BLOCK)
    broadcast_bias(weights.upsample_biases[tier], out)
    matmul_add(kernel, h, out)


@njit(nogil=True, cache=True)
def sample_level_input(state: TierState, frame: int, tables: Float32, dense: int, x: Float32) -> None:
    """What is known at sample level without linear prediction: x float32 [streams, round_up_to_block(dense)].

    `frame` is the last tier's, `tables` are those of `pack_code_tables`, and `dense` is the width of both.
    """
    history, vectors, lags = state.history, state.conditioning[-1], len(tables)
    begin = state.phase[0] % frame * dense
    for s in range(len(x)):
        x[s, :dense] = vectors[s, begin : begin + dense]
        x[s, dense:] = 0
    add_table_rows(tables, history[:, history.shape[1] - lags :], x)


def pack_tier_state(weights: TierWeights, state: State, streams: slice) -> TierState:
    """Some streams' state of a `TieredModel` as `TierState`."""
    vectors = [np.asarray(part)[streams] for part in state["tiers"]["conditioning"]]
    conditioning = np.zeros((len(vectors), len(vectors[0]), weights.upsample_biases.shape[1]), f32)
    for into, part in zip(conditioning, vectors, strict=True):
        flat = part.reshape(len(part), -1)
        into[:, : flat.shape[1]] = flat
    return TierState(
        history=np.asarray(state["history"])[streams].astype(np.uint8),
        phase=np.asarray(state["phase"])[:1].astype(np.int64),
        cores=np.ascontiguousarray(np.array(state["tiers"]["cores"], f32)[..., streams, :]),
        conditioning=conditioning,
        inputs=np.empty((len(vectors[0]), int(weights.plan.inputs.max())), f32),
    )


def pack_tiers(model: Any, input_layers: Sequence[Any], gates: int, bfloat16: bool) -> TierWeights:
    """The tiers of a `TieredModel` as `TierWeights`; the cores' `input_layers` have `gates` gates."""
    tiers = model.tiers
    inputs = [pack(pad_gates(np.asarray(layer.kernel, f32), gates), bfloat16) for layer in input_layers]
    upsamples = [pack(np.asarray(layer.kernel, f32), bfloat16) for layer in tiers.upsample]
    input_sizes, upsample_sizes = (np.array([kernel.size for kernel in part], np.int64) for part in (inputs, upsamples))
    biases = np.zeros((len(upsamples), max(round_up_to_block(layer.units) for layer in tiers.upsample)), f32)
    for row, layer in zip(biases, tiers.upsample, strict=True):
        row[: layer.units] = np.asarray(layer.bias, f32)
    plan = TierPlan(
        frames=np.array(tiers.frames, np.int64),
        windows=np.array(tiers.windows, np.int64),
        inputs=np.array([kernel.shape[1] for kernel in inputs], np.int64),
        input_offsets=input_sizes.cumsum() - input_sizes,
        input_sizes=input_sizes,
        upsample_offsets=upsample_sizes.cumsum() - upsample_sizes,
        upsample_sizes=upsample_sizes,
    )
    return TierWeights(
        plan=plan,
        embedding=np.asarray(tiers.embedding.table, f32),
        input_kernels=aligned(np.concatenate([kernel.ravel() for kernel in inputs])),
        input_biases=pad_gates(np.stack([np.asarray(layer.bias, f32) for layer in input_layers]), gates),
        upsample_kernels=aligned(np.concatenate([kernel.ravel() for kernel in upsamples])),
        upsample_biases=biases,
    )


def pack_code_tables(lookback: LookBack) -> Float32:
    """Products of every code at every lag of a view with its kernel: [length, 256, round_up_to_block(width)]."""
    products = np.asarray(lookback.embedding.table, np.float64) @ np.asarray(lookback.kernel, np.float64)
    return pad_gates(products.astype(f32))
