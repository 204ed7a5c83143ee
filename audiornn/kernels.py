"""Compiled building blocks of fast generation on a CPU: matrix products, exponentials, draws. Needs Numba.

A network that generates one sample after the other multiplies a few large matrices with a few small vectors. BLAS
libraries spend more time on preparing such products than on computing them, and round differently for one vector than
for eight. The product here keeps its sums in registers, reads the weights once, in the order in which they lie in
memory, and sums each element in the same order however many streams run side by side: a stream's samples do not depend
on its neighbours.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

LANES = 16  # floats of a vector; LLVM splits it where the processor's registers are shorter
VECTORS = 4  # vectors of a block
BLOCK = LANES * VECTORS  # outputs that are computed together
ROWS = 4  # streams that share a pass over the weights

f32 = np.float32


def padded(n: int) -> int:
    """The next multiple of a block's outputs."""
    return -(-n // BLOCK) * BLOCK


def pack(matrix: NDArray[Any], bfloat16: bool = False) -> NDArray[Any]:
    """A matrix [inputs, outputs] as `multiply` wants it: [blocks, inputs, 64], filled up with zeros.

    With `bfloat16` the upper halves of the floats, rounded to nearest, as uint16: half the bytes to read, 8 bits of
    mantissa.
    """
    inputs, outputs = matrix.shape
    full = np.zeros((inputs, padded(outputs)), f32)
    full[:, :outputs] = matrix
    blocks = np.ascontiguousarray(full.reshape(inputs, -1, BLOCK).transpose(1, 0, 2))
    if bfloat16:
        bits = blocks.view(np.uint32)
        blocks = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)  # ties to even
    raw = np.empty(blocks.nbytes + 64, np.uint8)
    start = -raw.ctypes.data % 64  # cache lines, and whole vectors
    aligned = raw[start : start + blocks.nbytes].view(blocks.dtype).reshape(blocks.shape)
    aligned[...] = blocks
    return aligned


def _tile(rows: int, bfloat16: bool) -> Any:
    """A function `(weights, inputs, x, y, y_row)` that adds `x @ weights` to `y` for one block and `rows` streams.

    All arguments are addresses in bytes or counts in floats; rows of x lie `inputs` apart, those of y `y_row`.
    """
    scalar, index, half = ir.FloatType(), ir.IntType(64), ir.IntType(16)
    vector, wide = ir.VectorType(scalar, LANES), ir.VectorType(ir.IntType(32), LANES)
    zeros = ir.Constant(wide, [0] * LANES)
    first = ir.Constant(ir.IntType(32), 0)

    @intrinsic
    def tile(typing_context: Any, weights: Any, inputs: Any, x: Any, y: Any, y_row: Any) -> Any:
        signature = types.void(*[types.intp] * 5)

        def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
            weights, inputs, x, y, y_row = arguments

            def number(n: int) -> Any:
                return ir.Constant(index, n)

            def load(base: Any, offset: Any, size: int, kind: Any, align: int) -> Any:
                pointer = b.inttoptr(b.add(base, b.mul(offset, number(size))), ir.PointerType())
                loaded = b.load(pointer, typ=kind)
                loaded.align = align
                return loaded

            fma = cgutils.get_or_insert_function(
                b.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fma.v{LANES}f32"
            )
            offsets = [[b.add(b.mul(y_row, number(r)), number(v * LANES)) for v in range(VECTORS)] for r in range(rows)]
            begin = [[load(y, offset, 4, vector, 4) for offset in row] for row in offsets]
            entry, loop, done = b.block, b.append_basic_block("product"), b.append_basic_block("store")
            b.branch(loop)

            b.position_at_end(loop)
            i = b.phi(index)
            i.add_incoming(number(0), entry)
            sums = [[b.phi(vector) for _ in range(VECTORS)] for _ in range(rows)]
            columns = []
            for v in range(VECTORS):
                offset = b.add(b.mul(i, number(BLOCK)), number(v * LANES))
                if bfloat16:
                    halves = load(weights, offset, 2, ir.VectorType(half, LANES), 32)
                    bits = b.shl(b.zext(halves, wide), ir.Constant(wide, [16] * LANES))
                    columns.append(b.bitcast(bits, vector))
                else:
                    columns.append(load(weights, offset, 4, vector, 64))
            added = []
            for r in range(rows):
                value = load(x, b.add(b.mul(inputs, number(r)), i), 4, scalar, 4)
                lone = b.insert_element(ir.Constant(vector, ir.Undefined), value, first)
                spread = b.shuffle_vector(lone, ir.Constant(vector, ir.Undefined), zeros)
                added.append([b.call(fma, [columns[v], spread, sums[r][v]]) for v in range(VECTORS)])
            following = b.add(i, number(1))
            i.add_incoming(following, b.block)
            for r in range(rows):
                for v in range(VECTORS):
                    sums[r][v].add_incoming(begin[r][v], entry)
                    sums[r][v].add_incoming(added[r][v], b.block)
            b.cbranch(b.icmp_signed("<", following, inputs), loop, done)

            b.position_at_end(done)
            for r in range(rows):
                for v in range(VECTORS):
                    pointer = b.inttoptr(b.add(y, b.mul(offsets[r][v], number(4))), ir.PointerType())
                    b.store(added[r][v], pointer).align = 4
            return context.get_dummy_value()

        return signature, generate

    return tile


_one, _four = _tile(1, False), _tile(ROWS, False)
_one_half, _four_half = _tile(1, True), _tile(ROWS, True)


@njit(nogil=True, cache=True)
def multiply(weights: Any, x: Any, y: Any) -> None:
    """Add `x @ weights` to `y`.

    Parameters
    ----------
    weights
        As `pack` made it of [inputs, outputs]: float32, or uint16 for bfloat16.
    x
        float32 [streams, inputs], contiguous, inputs >= 1.
    y
        float32 [streams, padded(outputs)], contiguous.
    """
    streams, inputs = x.shape
    row = y.shape[1]
    size = weights.itemsize
    for block in range(weights.shape[0]):
        w = weights.ctypes.data + block * inputs * BLOCK * size
        s = 0
        while s < streams:
            at_x, at_y = x.ctypes.data + s * inputs * 4, y.ctypes.data + (s * row + block * BLOCK) * 4
            if s + ROWS <= streams:
                if size == 2:
                    _four_half(w, inputs, at_x, at_y, row)
                else:
                    _four(w, inputs, at_x, at_y, row)
                s += ROWS
            else:
                if size == 2:
                    _one_half(w, inputs, at_x, at_y, row)
                else:
                    _one(w, inputs, at_x, at_y, row)
                s += 1


@njit(nogil=True, fastmath=True, inline="always")
def exp(x: Any) -> Any:
    """exp of a float32 in [-87, 87] to a relative error of 1e-7, in operations that LLVM can vectorise.

    2^n exp(r) with the integer n nearest to x / ln 2, and the polynomial of Cephes' expf for the rest (Moshier 1992).
    """
    n = np.floor(x * f32(1.44269504) + f32(0.5))
    r = x - n * f32(0.693359375) + n * f32(2.12194440e-4)
    p = f32(1.9875691500e-4)
    p = p * r + f32(1.3981999507e-3)
    p = p * r + f32(8.3334519073e-3)
    p = p * r + f32(4.1665795894e-2)
    p = p * r + f32(1.6666665459e-1)
    p = p * r + f32(5.0000001201e-1)
    p = p * r * r + r + f32(1)
    return p * np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(f32)


@njit(nogil=True, fastmath=True, inline="always")
def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x)) of a float32."""
    return f32(1) / (f32(1) + exp(min(max(-x, f32(-80)), f32(80))))


@njit(nogil=True, fastmath=True, inline="always")
def tanh(x: Any) -> Any:
    """tanh of a float32."""
    return f32(1) - f32(2) / (f32(1) + exp(min(max(f32(2) * x, f32(-80)), f32(80))))


@njit(nogil=True, fastmath=True, cache=True)
def gru(gates: Any, candidate: Any, state: Any) -> None:
    """Advance GRU states in place.

    Parameters
    ----------
    gates
        float32 [streams, 3 * p], p = padded(units): sums of z, of r, and the candidate's part without the state.
    candidate
        float32 [streams, p]: the candidate's recurrent part.
    state
        float32 [streams, units].
    """
    streams, units = state.shape
    p = candidate.shape[1]
    for s in range(streams):
        g, c, h = gates[s], candidate[s], state[s]
        for i in range(units):
            z = sigmoid(g[i])
            new = tanh(g[2 * p + i] + sigmoid(g[p + i]) * c[i])
            h[i] = new + z * (h[i] - new)


@njit(nogil=True, cache=True)
def draw(logits: Any, temperature: Any, top_k: int, top_p: float, uniform: Any, weights: Any) -> int:
    """A code drawn from `softmax(logits / temperature)`, restricted to likely codes, by inversion.

    Parameters
    ----------
    logits
        float32 [n].
    temperature
        0 takes the likeliest code.
    top_k
        Draw from this many likeliest codes; 0 or n: from all.
    top_p
        Draw from the fewest likeliest codes that together have at least this probability (Holtzman et al. 2020); 1:
        from all. Applied to what `top_k` leaves.
    uniform
        In [0, 1).
    weights
        float32 [n], overwritten.
    """
    n = logits.size
    best = 0
    for i in range(1, n):
        if logits[i] > logits[best]:
            best = i
    if temperature <= 0:
        return best
    _weigh(logits, logits[best], f32(1) / f32(temperature), weights)
    if 0 < top_k < n or top_p < 1:
        order = np.argsort(-weights, kind="mergesort")  # stable: of equal codes the lower comes first
        kept = top_k if 0 < top_k < n else n
        total = 0.0
        for i in range(kept):
            total += weights[order[i]]
        if top_p < 1:
            reached = 0.0
            for i in range(kept):
                reached += weights[order[i]]
                if reached >= top_p * total:
                    kept = i + 1
                    break
        for i in range(kept, n):
            weights[order[i]] = 0
    total = 0.0
    for i in range(n):
        total += weights[i]
    goal, reached = uniform * total, 0.0
    for i in range(n):
        reached += weights[i]
        if reached > goal:
            return i
    return best  # only where round-off eats the last weights


@njit(nogil=True, fastmath=True)
def _weigh(logits: Any, largest: Any, factor: Any, weights: Any) -> None:
    for i in range(logits.size):
        x = (logits[i] - largest) * factor
        weights[i] = exp(max(x, f32(-80))) if x > f32(-80) else f32(0)
