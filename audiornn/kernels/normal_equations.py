"""Normal equations of linear predictors and their mixture: correlations, and the coefficients that follow from them."""

from typing import Any

import numpy as np

from audiornn.kernels.arrays import Float32, Float64
from audiornn.kernels.jit import f32, njit

RIDGE = 3e-4  # white noise added to the signal before a predictor is computed, as a share of its power
STRIDE = 8  # products that `autocorrelate` adds up together


@njit(nogil=True, fastmath=True, inline="always")
def dot(a: Float32, b: Float32) -> Any:
    total = f32(0)
    for i in range(a.size):
        total += a[i] * b[i]
    return total


@njit(nogil=True, fastmath=True)
def autocorrelate(x: Float32, n: int, r: Float32) -> None:
    """Autocorrelation r[lag] of x[:n], behind which there are at least `STRIDE` more zeros than lags."""
    r[:] = 0
    for i in range(0, n, STRIDE):  # eight products per sum held in a register; the lags lie side by side in vectors
        x0, x1, x2, x3, x4, x5, x6, x7 = x[i], x[i + 1], x[i + 2], x[i + 3], x[i + 4], x[i + 5], x[i + 6], x[i + 7]
        y = x[i:]
        for lag in range(r.size):
            r[lag] += (
                x0 * y[lag]
                + x1 * y[lag + 1]
                + x2 * y[lag + 2]
                + x3 * y[lag + 3]
                + x4 * y[lag + 4]
                + x5 * y[lag + 5]
                + x6 * y[lag + 6]
                + x7 * y[lag + 7]
            )


@njit(nogil=True, fastmath=True)
def levinson_durbin(r: Float32, order: int, a: Float32, b: Float32, reversed_r: Float32) -> None:
    """Coefficients a[0 .. order - 1] of the predictor of a signal whose autocorrelation is r[0 .. order].

    b holds them in reverse, and `reversed_r` r, so that all loops run forward over neighbours.
    """
    for i in range(order + 1):
        reversed_r[i] = r[order - i]
    a[:order] = 0
    error = r[0] * f32(1 + RIDGE) + f32(1e-9)
    for i in range(order):
        # a[:i] predicts from the last i samples: a[j] weighs the sample j + 1 back.
        past = reversed_r[order - i : order]
        k = r[i + 1]
        for j in range(i):
            k -= a[j] * past[j]
        k /= error
        if not abs(k) < f32(1):  # round-off made it unstable: keep the lower-order solution
            return
        for j in range(i):
            b[j] = a[i - 1 - j]
        for j in range(i):
            a[j] -= k * b[j]
        a[i] = k
        error *= f32(1) - k * k


@njit(nogil=True, fastmath=True)
def solve_ridge(
    moments: Float32, ridge: float, products: Float32, weights: Float32, cholesky: Float64, forward: Float64
) -> None:
    """Weights of (moments + ridge) weights = products, by Cholesky's decomposition; moments' lower half counts."""
    n = products.size
    for i in range(n):
        for j in range(i + 1):
            s = moments[i, j] + (ridge if i == j else 0.0)
            for m in range(j):
                s -= cholesky[i, m] * cholesky[j, m]
            cholesky[i, j] = np.sqrt(max(s, 1e-12)) if i == j else s / cholesky[j, j]
    for i in range(n):
        s = products[i] + 0.0
        for m in range(i):
            s -= cholesky[i, m] * forward[m]
        forward[i] = s / cholesky[i, i]
    for i in range(n - 1, -1, -1):
        s = forward[i]
        for m in range(i + 1, n):
            s -= cholesky[m, i] * weights[m]
        weights[i] = s / cholesky[i, i]
