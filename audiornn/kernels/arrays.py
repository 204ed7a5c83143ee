"""The arrays that kernels get: their types, and where they begin in memory."""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

UInt8: TypeAlias = NDArray[np.uint8]  # codes
Int64: TypeAlias = NDArray[np.int64]
Float32: TypeAlias = NDArray[np.float32]
Float64: TypeAlias = NDArray[np.float64]
Packed: TypeAlias = NDArray[np.float32] | NDArray[np.uint16]  # by `audiornn.kernels.matmul.pack`

LINE = 64  # bytes of a cache line


def empty_aligned(shape: int | tuple[int, ...], dtype: Any = np.float32) -> NDArray[Any]:
    """An array that begins with a cache line: kernels read it faster, and TensorFlow uses it without a copy."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.empty(size + LINE, np.uint8)
    start = -raw.ctypes.data % LINE
    return raw[start : start + size].view(dtype).reshape(shape)


def aligned(array: NDArray[Any]) -> NDArray[Any]:
    """A contiguous copy that begins with a cache line."""
    copy = empty_aligned(array.shape, array.dtype)
    copy[...] = array
    return copy
