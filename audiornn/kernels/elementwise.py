"""Elementwise operations: exponentials, activations, biases, table look-ups.

The scalar functions (`exp`, `log`, `sigmoid`, `tanh`) become vector instructions inside loops over arrays, if the
loop's function is a `kernel`: plain `njit` checks for division by zero, which prevents it. docs/performance.md has the
timings.
"""

from typing import Any

import numpy as np

from audiornn.kernels.arrays import Float32, UInt8
from audiornn.kernels.jit import f32, kernel, scalar_kernel


@scalar_kernel
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


@scalar_kernel
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


@scalar_kernel
def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x)) of a float32."""
    return f32(1) / (f32(1) + exp(min(max(-x, f32(-80)), f32(80))))


@scalar_kernel
def tanh(x: Any) -> Any:
    """tanh of a float32."""
    return f32(1) - f32(2) / (f32(1) + exp(min(max(f32(2) * x, f32(-80)), f32(80))))


@scalar_kernel
def one_minus_exp(x: Any) -> Any:
    """1 - exp(-x) of a float32 >= 0: by its series where the difference would cancel."""
    x = min(x, f32(40))
    series = f32(1 / 24) - x * f32(1 / 120)
    series = f32(1 / 6) - x * series
    series = f32(1 / 2) - x * series
    series = x * (f32(1) - x * series)
    return series if x < f32(0.2) else f32(1) - exp(-x)


@kernel
def add(x: Float32, y: Float32) -> None:
    """Add x float32 [n] to y."""
    for i in range(x.size):
        y[i] += x[i]


@kernel
def silu(x: Float32) -> None:
    """x sigmoid(x) of float32 [n], in place."""
    for i in range(x.size):
        x[i] = x[i] / (f32(1) + exp(min(max(-x[i], f32(-80)), f32(80))))


@kernel
def relu(x: Float32) -> None:
    """max(x, 0) of float32 [n], in place."""
    for i in range(x.size):
        x[i] = max(x[i], f32(0))


@kernel
def broadcast_bias(row: Float32, y: Float32) -> None:
    """Set every row of y float32 [streams, n] to `row` float32 [n]: biases, where sums begin."""
    for s in range(y.shape[0]):
        into = y[s]
        for i in range(into.size):
            into[i] = row[i]


@kernel
def add_table_rows(tables: Float32, codes: UInt8, y: Float32) -> None:
    """Add the sum over lags of `tables[lag, codes[stream, lag]]` to each stream's row of y float32 [streams, n].

    The product with one-hot codes: tables float32 [lags, 256, n], codes [streams, lags].
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
