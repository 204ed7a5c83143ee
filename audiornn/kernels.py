"""Compiled building blocks of fast generation on a CPU: matrix products, gates, exponentials, draws. Needs Numba.

A network that generates one sample after the other multiplies a few large matrices with a few small vectors. BLAS
libraries spend more time on preparing such products than on computing them, and round differently for one vector than
for eight. The product here keeps its sums in registers, reads the weights once, in the order in which they lie in
memory, and sums each element in the same order however many streams run side by side: a stream's samples do not depend
on its neighbours.

What the blocks cost is in docs/performance.md. The scalar functions (`exp`, `log`, `sigmoid`, `tanh`) become vector
instructions inside loops over arrays, if the loop's function is a `block`: plain `njit` would look for divisions by
zero, which keeps LLVM from that.
"""

import os
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from audiornn.jit import njit

LANES = 16  # floats of a vector; LLVM splits it where the processor's registers are shorter
VECTORS = 4  # vectors of a block
BLOCK = LANES * VECTORS  # outputs that are computed together
AHEAD = 4096  # bytes from the weights in use to those that are fetched: the processor's own foresight ends at each page

f32 = np.float32

# Streams run in threads. Loops over arrays may be reordered, and divide by zero, so that they become vector code.
block: Any = partial(njit, nogil=True, cache=True, fastmath=True, error_model="numpy")
_scalar: Any = partial(njit, nogil=True, fastmath=True, error_model="numpy")


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def padded(n: int) -> int:
    """The next multiple of a block's outputs."""
    return -(-n // BLOCK) * BLOCK


def spaced(matrix: NDArray[Any], parts: int = 1) -> NDArray[Any]:
    """Columns [.., parts * n] with each part, such as a gate, at a multiple of a block's outputs, and zeros between."""
    before, n = matrix.shape[:-1], matrix.shape[-1] // parts
    split = matrix.reshape(*before, parts, n)
    full = np.pad(split, [(0, 0)] * (split.ndim - 1) + [(0, padded(n) - n)])
    return full.reshape(*before, parts * padded(n))


def aligned(array: NDArray[Any]) -> NDArray[Any]:
    """A contiguous copy that begins with a cache line."""
    raw = np.empty(array.nbytes + 64, np.uint8)
    start = -raw.ctypes.data % 64
    copy = raw[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def pack(matrices: NDArray[Any], bfloat16: bool = False) -> NDArray[Any]:
    """Matrices [.., inputs, outputs] as `multiply` wants each: [.., blocks, inputs, 64], filled up with zeros.

    With `bfloat16` the upper halves of the floats, rounded to nearest, as uint16: half the bytes to read, 8 bits of
    mantissa.
    """
    full = spaced(np.asarray(matrices, f32))
    split = full.reshape(*full.shape[:-1], full.shape[-1] // BLOCK, BLOCK)
    blocks = np.ascontiguousarray(np.moveaxis(split, -2, -3))
    if bfloat16:
        bits = blocks.view(np.uint32)
        blocks = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)  # ties to even
    return aligned(blocks)


def _tile(rows: int) -> Any:
    """A function `(weights, block, x, x_row, y, y_row)` that adds `x @ weights` to `y`: one block, `rows` streams.

    Weights are an array as `pack` makes it; x and y addresses in bytes, their rows `x_row` and `y_row` bytes apart.
    """
    scalar, index = ir.FloatType(), ir.IntType(64)
    vector, wide = ir.VectorType(scalar, LANES), ir.VectorType(ir.IntType(32), LANES)
    halves = ir.VectorType(ir.IntType(16), LANES)

    def number(n: int) -> Any:
        return ir.Constant(index, n)

    def integer(n: int) -> Any:
        return ir.Constant(ir.IntType(32), n)

    @intrinsic
    def tile(typing_context: Any, weights: Any, block: Any, x: Any, x_row: Any, y: Any, y_row: Any) -> Any:
        signature = types.void(weights, *[types.intp] * 5)
        size = weights.dtype.bitwidth // 8  # 2: bfloat16

        def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
            array, block, x, x_row, y, y_row = arguments
            array = context.make_array(signature.args[0])(context, b, array)
            inputs = b.extract_value(array.shape, 1)
            start = b.mul(b.mul(block, inputs), number(BLOCK * size))
            weights = b.add(b.ptrtoint(array.data, index), start)

            def at(base: Any, offset: Any) -> Any:
                return b.inttoptr(b.add(base, offset), ir.PointerType())

            def load(base: Any, offset: Any, kind: Any, align: int) -> Any:
                loaded = b.load(at(base, offset), typ=kind)
                loaded.align = align
                return loaded

            def function(name: str, result: Any, arguments: list[Any]) -> Any:
                return cgutils.get_or_insert_function(b.module, ir.FunctionType(result, arguments), name)

            fma = function(f"llvm.fma.v{LANES}f32", vector, [vector] * 3)
            prefetch = function("llvm.prefetch.p0", ir.VoidType(), [ir.PointerType(), *[ir.IntType(32)] * 3])
            offsets = [
                [b.add(b.mul(y_row, number(r)), number(v * LANES * 4)) for v in range(VECTORS)] for r in range(rows)
            ]
            begin = [[load(y, offset, vector, 4) for offset in row] for row in offsets]
            entry, loop, done = b.block, b.append_basic_block("product"), b.append_basic_block("store")
            b.branch(loop)

            b.position_at_end(loop)
            i = b.phi(index)
            i.add_incoming(number(0), entry)
            sums = [[b.phi(vector) for _ in range(VECTORS)] for _ in range(rows)]
            line = b.mul(i, number(BLOCK * size))  # the weights of one input
            columns = []
            for v in range(VECTORS):
                offset = b.add(line, number(v * LANES * size))
                if size == 2:
                    bits = b.shl(b.zext(load(weights, offset, halves, 2), wide), ir.Constant(wide, [16] * LANES))
                    columns.append(b.bitcast(bits, vector))
                else:
                    columns.append(load(weights, offset, vector, 4))
            for ahead in range(AHEAD, AHEAD + BLOCK * size, 64):
                far = at(weights, b.add(line, number(ahead)))
                b.call(prefetch, [far, integer(0), integer(3), integer(1)])
            added = []
            for r in range(rows):
                value = load(x, b.add(b.mul(x_row, number(r)), b.mul(i, number(4))), scalar, 4)
                lone = b.insert_element(ir.Constant(vector, ir.Undefined), value, integer(0))
                spread = b.shuffle_vector(lone, ir.Constant(vector, ir.Undefined), ir.Constant(wide, [0] * LANES))
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
                    b.store(added[r][v], at(y, offsets[r][v])).align = 4
            return context.get_dummy_value()

        return signature, generate

    return tile


_one, _two, _four = _tile(1), _tile(2), _tile(4)


@njit(nogil=True, cache=True)
def multiply(weights: Any, x: Any, y: Any) -> None:
    """Add `x @ weights` to `y`.

    Parameters
    ----------
    weights
        As `pack` made it of [inputs, outputs]: float32, or uint16 for bfloat16.
    x
        float32 [streams, inputs or more], rows contiguous, inputs >= 1; what stands behind the inputs is not read.
    y
        float32 [streams, padded(outputs)], rows contiguous.
    """
    streams, x_row, y_row = x.shape[0], x.strides[0], y.strides[0]
    for block in range(weights.shape[0]):
        at_x, at_y = x.ctypes.data, y.ctypes.data + block * BLOCK * 4
        s = 0
        while s < streams:
            if s + 4 <= streams:
                _four(weights, block, at_x + s * x_row, x_row, at_y + s * y_row, y_row)
                s += 4
            elif s + 2 <= streams:
                _two(weights, block, at_x + s * x_row, x_row, at_y + s * y_row, y_row)
                s += 2
            else:
                _one(weights, block, at_x + s * x_row, x_row, at_y + s * y_row, y_row)
                s += 1


@_scalar
def exp(x: Any) -> Any:
    """exp of a float32 in [-87, 87] to a relative error of 2e-7.

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


@_scalar
def log(x: Any) -> Any:
    """Natural logarithm of a normal float32 > 0 to an error of 2e-7, absolute below 1 in size, relative above.

    n ln 2 + log(m) with m in [sqrt(1/2), sqrt(2)), and the polynomial of Cephes' logf (Moshier 1992).
    """
    bits = np.int32(f32(x).view(np.int32) - np.int32(0x3F3504F3))  # the bits of sqrt(1/2)
    n = f32(bits >> np.int32(23))
    m = np.int32((bits & np.int32(0x7FFFFF)) + np.int32(0x3F3504F3)).view(f32) - f32(1)
    p = f32(7.0376836292e-2)
    p = p * m - f32(1.1514610310e-1)
    p = p * m + f32(1.1676998740e-1)
    p = p * m - f32(1.2420140846e-1)
    p = p * m + f32(1.4249322787e-1)
    p = p * m - f32(1.6668057665e-1)
    p = p * m + f32(2.0000714765e-1)
    p = p * m - f32(2.4999993993e-1)
    p = p * m + f32(3.3333331174e-1)
    square = m * m
    return m + (p * m * square - f32(0.5) * square - n * f32(2.12194440e-4)) + n * f32(0.693359375)


@_scalar
def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x)) of a float32."""
    return f32(1) / (f32(1) + exp(min(max(-x, f32(-80)), f32(80))))


@_scalar
def tanh(x: Any) -> Any:
    """tanh of a float32."""
    return f32(1) - f32(2) / (f32(1) + exp(min(max(f32(2) * x, f32(-80)), f32(80))))


@_scalar
def one_minus_exp(x: Any) -> Any:
    """1 - exp(-x) of a float32 >= 0: where little is left of the 1, by its series."""
    x = min(x, f32(40))
    series = f32(1 / 24) - x * f32(1 / 120)
    series = f32(1 / 6) - x * series
    series = f32(1 / 2) - x * series
    series = x * (f32(1) - x * series)
    return series if x < f32(0.2) else f32(1) - exp(-x)


@block
def add(x: Any, y: Any) -> None:
    """Add x float32 [n] to y."""
    for i in range(x.size):
        y[i] += x[i]


@block
def silu(x: Any) -> None:
    """x sigmoid(x) of float32 [n], in place."""
    for i in range(x.size):
        x[i] = x[i] / (f32(1) + exp(min(max(-x[i], f32(-80)), f32(80))))


@block
def spread(row: Any, y: Any) -> None:
    """Set every row of y float32 [streams, n] to `row` float32 [n]: biases, where sums begin."""
    for s in range(y.shape[0]):
        into = y[s]
        for i in range(into.size):
            into[i] = row[i]


@block
def lookup(tables: Any, codes: Any, y: Any) -> None:
    """Add the sum over lags of `tables[lag, codes[stream, lag]]` to each stream's row of y float32 [streams, n].

    The product with embedded codes: tables float32 [lags, 256, n], codes [streams, lags].
    """
    lags = codes.shape[1]
    fours = lags - lags % 4
    for s in range(codes.shape[0]):
        into = y[s]
        for lag in range(0, fours, 4):
            a, b = tables[lag, codes[s, lag]], tables[lag + 1, codes[s, lag + 1]]
            c, d = tables[lag + 2, codes[s, lag + 2]], tables[lag + 3, codes[s, lag + 3]]
            for i in range(into.size):
                into[i] += (a[i] + b[i]) + (c[i] + d[i])
        for lag in range(fours, lags):
            a = tables[lag, codes[s, lag]]
            for i in range(into.size):
                into[i] += a[i]


@block
def gru(inputs: Any, recurrent: Any, state: Any) -> None:
    """Advance GRU states in place.

    Parameters
    ----------
    inputs
        float32 [streams, 3p], p = padded(units): the input's products and biases for update gate z, reset gate r and
        candidate, each from a multiple of p on.
    recurrent
        float32 [streams, 3p]: the state's products, and the bias that the reset gate acts on, in the same order.
    state
        float32 [streams, units].
    """
    p = inputs.shape[1] // 3
    for s in range(state.shape[0]):
        # Slices, as LLVM must see that no index is negative.
        x_z, x_r, x_c = inputs[s, :p], inputs[s, p : 2 * p], inputs[s, 2 * p :]
        h_z, h_r, h_c = recurrent[s, :p], recurrent[s, p : 2 * p], recurrent[s, 2 * p :]
        h = state[s]
        for i in range(h.size):
            z = sigmoid(x_z[i] + h_z[i])
            new = tanh(x_c[i] + sigmoid(x_r[i] + h_r[i]) * h_c[i])
            h[i] = new + z * (h[i] - new)


@block
def _amount(weights: Any, threshold: Any, by_count: bool) -> Any:
    """How many weights reach a threshold, or what they add up to."""
    amount = f32(0)
    if by_count:
        for weight in weights:
            amount += f32(1) if weight >= threshold else f32(0)
    else:
        for weight in weights:
            amount += weight if weight >= threshold else f32(0)
    return amount


@block
def _restrict(weights: Any, top_k: int, top_p: float) -> None:
    """Set all weights in [0, 1] to 0 but the `top_k` largest, and of these the fewest with `top_p` of their sum.

    Of equal weights the first are kept. The threshold is found bit by bit: positive floats are ordered as their bits.
    """
    for by_count in (True, False):
        goal = f32(top_k) if by_count else f32(top_p) * _amount(weights, f32(0), by_count)
        if not 0 < top_k < weights.size if by_count else top_p >= 1:
            continue
        low, high = 0, 0x3F800001  # above the bits of 1
        while high - low > 1:
            middle = (low + high) // 2
            if _amount(weights, np.int32(middle).view(f32), by_count) >= goal:
                low = middle
            else:
                high = middle
        threshold = np.int32(low).view(f32)
        kept = _amount(weights, np.int32(high).view(f32), by_count)
        for i in range(weights.size):
            if weights[i] == threshold and kept < goal:
                kept += f32(1) if by_count else threshold
            elif weights[i] <= threshold:
                weights[i] = 0


class Limits(NamedTuple):
    """What draws are restricted to.

    Attributes
    ----------
    top_k
        The so many likeliest codes; 0 or 256: all.
    top_p
        The fewest likeliest codes that together have at least this probability, above 0 (Holtzman et al. 2020); 1: all.
        Applied to what `top_k` leaves.
    certain
        Probability of the likeliest code from which on a draw is left as the model has it: neither temperature (but 0)
        nor the other limits apply. A model is that certain in pauses, and what it then thinks unlikely is their end:
        without this, whatever makes a voice clearer makes pauses longer. 1: nothing is left alone.
    """

    top_k: int = 0
    top_p: float = 1.0
    certain: float = 1.0


UNLIMITED = Limits()


@block
def _exponentials(logits: Any, largest: Any, factor: Any, weights: Any) -> Any:
    """Set weights to exp((logits - largest) * factor) and return their sum."""
    total = f32(0)
    for i in range(logits.size):
        x = (logits[i] - largest) * factor
        weights[i] = exp(max(x, f32(-80))) if x > f32(-80) else f32(0)
    for weight in weights:
        total += weight
    return total


@block
def draw(logits: Any, temperature: Any, limits: Any, uniform: Any, weights: Any) -> int:
    """A code drawn from `softmax(logits / temperature)`, restricted to likely codes, by inversion.

    Parameters
    ----------
    logits
        float32 [n].
    temperature
        0 takes the likeliest code.
    limits
        `Limits`.
    uniform
        float32 in [0, 1).
    weights
        float32 [n], overwritten.
    """
    n = logits.size
    largest = logits[0]
    for i in range(n):
        largest = max(largest, logits[i])
    if temperature <= 0:
        for i in range(n):
            if logits[i] == largest:
                return i
    alone = False
    if limits.certain < 1:
        alone = f32(limits.certain) * _exponentials(logits, largest, f32(1), weights) <= f32(1)
    if not alone:
        _exponentials(logits, largest, f32(1) / f32(temperature), weights)
        if 0 < limits.top_k < n or limits.top_p < 1:
            _restrict(weights, limits.top_k, limits.top_p)
    # Sums of whole vectors say in which of them the code lies: adding up one by one takes ten times as long.
    sums = np.empty(-(-n // LANES), f32)
    total = 0.0
    for group in range(sums.size):
        some = f32(0)
        for weight in weights[group * LANES : (group + 1) * LANES]:
            some += weight
        sums[group] = some
        total += float(some)
    goal, reached, group = uniform * total, 0.0, 0
    while group < sums.size - 1 and reached + sums[group] <= goal:
        reached += sums[group]
        group += 1
    i, end = group * LANES, min((group + 1) * LANES, n)
    while i < end:
        reached += weights[i]
        if reached > goal:
            return i
        i += 1
    i -= 1  # round-off: one by one, the group's weights added up to a little less
    while i > 0 and weights[i] == 0:
        i -= 1
    return i
