"""Matrix products with packed weights, for one or a few streams on a CPU.

A network that generates one sample after the other multiplies a few large matrices with a few small vectors. BLAS
libraries spend more time on setting up such products than on computing them, and round differently for one vector than
for eight. The product here keeps its sums in registers, reads the weights once, in the order in which they lie in
memory, and sums each element in the same order however many streams run side by side: a stream's samples do not depend
on its neighbours. `benchmarks/kernels.py` measures it beside
plain Numba loops, which take two to nine times as long, and BLAS.
"""

from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from audiornn.kernels.arrays import Float32, Packed, aligned
from audiornn.kernels.jit import f32, njit

LANES = 16  # floats of a vector; LLVM splits it where the processor's registers are shorter
VECTORS_PER_BLOCK = 4
OUTPUTS_PER_BLOCK = LANES * VECTORS_PER_BLOCK  # outputs that are computed together
PREFETCH_BYTES = 4096  # from the weights in use to those that are fetched: prefetching by hardware ends at each page


def _has_avx512() -> bool:
    """Whether Numba compiles for AVX-512."""
    chosen: str | None = config.CPU_FEATURES  # type: ignore[attr-defined]
    features = binding.get_host_cpu_features().flatten() if chosen is None else chosen
    return "+avx512f" in features.split(",")


# Vectors of sums that stay in registers beside weights and inputs: AVX-512 has 32 registers of 16 floats; AVX2 has 16
# of 8, and NEON 32 of 4.
SUMS = 16 if _has_avx512() else 4


def round_up_to_block(n: int) -> int:
    """n rounded up to a multiple of a block's outputs."""
    return -(-n // OUTPUTS_PER_BLOCK) * OUTPUTS_PER_BLOCK


def pad_gates(matrix: NDArray[Any], gates: int = 1) -> NDArray[Any]:
    """Columns [.., gates * n] with each gate at a multiple of a block's outputs, and zeros between."""
    before, n = matrix.shape[:-1], matrix.shape[-1] // gates
    split = matrix.reshape(*before, gates, n)
    full = np.pad(split, [(0, 0)] * (split.ndim - 1) + [(0, round_up_to_block(n) - n)])
    return full.reshape(*before, gates * round_up_to_block(n))


def pack(matrices: NDArray[Any], bfloat16: bool = False) -> Packed:
    """Matrices [.., inputs, outputs] as `matmul_add` wants each: [.., blocks, inputs, 64], filled up with zeros.

    With `bfloat16` the upper halves of the floats, rounded to nearest, as uint16: half the bytes to read, 8 bits of
    mantissa.
    """
    full = pad_gates(np.asarray(matrices, f32))
    split = full.reshape(*full.shape[:-1], full.shape[-1] // OUTPUTS_PER_BLOCK, OUTPUTS_PER_BLOCK)
    blocks = np.ascontiguousarray(np.moveaxis(split, -2, -3))
    if bfloat16:
        bits = blocks.view(np.uint32)
        blocks = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)  # ties to even
    return aligned(blocks)


def _parts(streams: int) -> int:
    """In how many parts a block is computed, so that the sums of each stay in registers."""
    return VECTORS_PER_BLOCK // min(VECTORS_PER_BLOCK, SUMS // streams)


def _build_matmul(streams: int) -> Any:
    """A function `(weights, block, part, x, x_row, y, y_row)` that adds `x @ weights` to `y`: a part of a block.

    A block has `_parts(streams)` parts. Weights are an array as `pack` makes it; x and y addresses in bytes, the latter
    of the block, their rows `x_row` and `y_row` bytes apart.
    """
    vectors = VECTORS_PER_BLOCK // _parts(streams)
    scalar, index = ir.FloatType(), ir.IntType(64)
    vector, wide = ir.VectorType(scalar, LANES), ir.VectorType(ir.IntType(32), LANES)
    halves = ir.VectorType(ir.IntType(16), LANES)

    def number(n: int) -> Any:
        return ir.Constant(index, n)

    def integer(n: int) -> Any:
        return ir.Constant(ir.IntType(32), n)

    @intrinsic
    def tile(typing_context: Any, weights: Any, block: Any, part: Any, x: Any, x_row: Any, y: Any, y_row: Any) -> Any:
        signature = types.void(weights, *[types.intp] * 6)
        size = weights.dtype.bitwidth // 8  # 2: bfloat16

        def build(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
            array, block, part, x, x_row, y, y_row = arguments
            array = context.make_array(signature.args[0])(context, b, array)
            inputs = b.extract_value(array.shape, 1)
            start = b.mul(b.mul(block, inputs), number(OUTPUTS_PER_BLOCK * size))
            start = b.add(start, b.mul(part, number(vectors * LANES * size)))
            weights = b.add(b.ptrtoint(array.data, index), start)
            y = b.add(y, b.mul(part, number(vectors * LANES * 4)))

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
                [b.add(b.mul(y_row, number(r)), number(v * LANES * 4)) for v in range(vectors)] for r in range(streams)
            ]
            begin = [[load(y, offset, vector, 4) for offset in row] for row in offsets]
            entry, loop, done = b.block, b.append_basic_block("product"), b.append_basic_block("store")
            b.branch(loop)

            b.position_at_end(loop)
            i = b.phi(index)
            i.add_incoming(number(0), entry)
            sums = [[b.phi(vector) for _ in range(vectors)] for _ in range(streams)]
            line = b.mul(i, number(OUTPUTS_PER_BLOCK * size))  # the weights of one input
            columns = []
            for v in range(vectors):
                offset = b.add(line, number(v * LANES * size))
                if size == 2:
                    bits = b.shl(b.zext(load(weights, offset, halves, 2), wide), ir.Constant(wide, [16] * LANES))
                    columns.append(b.bitcast(bits, vector))
                else:
                    columns.append(load(weights, offset, vector, 4))
            for ahead in range(PREFETCH_BYTES, PREFETCH_BYTES + vectors * LANES * size, 64):
                far = at(weights, b.add(line, number(ahead)))
                b.call(prefetch, [far, integer(0), integer(3), integer(1)])
            added = []
            for r in range(streams):
                value = load(x, b.add(b.mul(x_row, number(r)), b.mul(i, number(4))), scalar, 4)
                lone = b.insert_element(ir.Constant(vector, ir.Undefined), value, integer(0))
                splat = b.shuffle_vector(lone, ir.Constant(vector, ir.Undefined), ir.Constant(wide, [0] * LANES))
                added.append([b.call(fma, [columns[v], splat, sums[r][v]]) for v in range(vectors)])
            following = b.add(i, number(1))
            i.add_incoming(following, b.block)
            for r in range(streams):
                for v in range(vectors):
                    sums[r][v].add_incoming(begin[r][v], entry)
                    sums[r][v].add_incoming(added[r][v], b.block)
            b.cbranch(b.icmp_signed("<", following, inputs), loop, done)

            b.position_at_end(done)
            for r in range(streams):
                for v in range(vectors):
                    b.store(added[r][v], at(y, offsets[r][v])).align = 4
            return context.get_dummy_value()

        return signature, build

    return tile


_matmul_1, _matmul_2, _matmul_4 = _build_matmul(1), _build_matmul(2), _build_matmul(4)
PARTS_2, PARTS_4 = _parts(2), _parts(4)


@njit(nogil=True, cache=True)
def matmul_add(weights: Packed, x: Float32, y: Float32) -> None:
    """Add `x @ weights` to `y`.

    Parameters
    ----------
    weights
        As `pack` made it of [inputs, outputs]: float32, or uint16 for bfloat16.
    x
        float32 [streams, inputs or more], rows contiguous, inputs >= 1; columns beyond `inputs` are ignored.
    y
        float32 [streams, round_up_to_block(outputs)], rows contiguous.
    """
    streams, x_row, y_row = x.shape[0], x.strides[0], y.strides[0]
    for block in range(weights.shape[0]):
        at_x, at_y = x.ctypes.data, y.ctypes.data + block * OUTPUTS_PER_BLOCK * 4
        s = 0
        while s < streams:
            if s + 4 <= streams:
                for part in range(PARTS_4):
                    _matmul_4(weights, block, part, at_x + s * x_row, x_row, at_y + s * y_row, y_row)
                s += 4
            elif s + 2 <= streams:
                for part in range(PARTS_2):
                    _matmul_2(weights, block, part, at_x + s * x_row, x_row, at_y + s * y_row, y_row)
                s += 2
            else:
                _matmul_1(weights, block, 0, at_x + s * x_row, x_row, at_y + s * y_row, y_row)
                s += 1
