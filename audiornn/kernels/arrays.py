"""Types of the arrays that kernels get."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

UInt8: TypeAlias = NDArray[np.uint8]  # codes
Int64: TypeAlias = NDArray[np.int64]
Float32: TypeAlias = NDArray[np.float32]
Float64: TypeAlias = NDArray[np.float64]
Packed: TypeAlias = NDArray[np.float32] | NDArray[np.uint16]  # by `audiornn.kernels.matmul.pack`
