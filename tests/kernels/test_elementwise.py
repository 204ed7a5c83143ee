"""Scalar functions are exact to float32, and look-ups of rows are products."""

import numpy as np
import pytest

from audiornn.kernels import elementwise, jit

f32 = np.float32


@jit.kernel
def each(function, x):
    y = np.empty_like(x)
    for i in range(x.size):
        y[i] = function(x[i])
    return y


@pytest.mark.slow
def test_scalar_functions_are_exact_to_float32():
    x = np.concatenate([np.linspace(-87, 87, 200_001), np.linspace(-0.1, 0.1, 20_001)]).astype(f32)
    wide = x.astype(np.float64)
    np.testing.assert_allclose(each(elementwise.exp, x), np.exp(wide), rtol=2e-7)
    np.testing.assert_allclose(each(elementwise.sigmoid, x), 1 / (1 + np.exp(-wide)), atol=2e-7)
    np.testing.assert_allclose(each(elementwise.tanh, x), np.tanh(wide), atol=2e-7)
    positive = np.exp(wide).astype(f32)
    np.testing.assert_allclose(
        each(elementwise.log, positive), np.log(positive.astype(np.float64)), rtol=2e-7, atol=2e-7
    )
    far = np.array([-1e30, -100, 100, 1e30], f32)
    np.testing.assert_allclose(each(elementwise.tanh, far), [-1, -1, 1, 1], atol=2e-7)
    np.testing.assert_allclose(each(elementwise.sigmoid, far), [0, 0, 1, 1], atol=1e-30)


def test_look_ups_are_products_with_embedded_codes():
    random = np.random.default_rng(0)
    tables = random.standard_normal((3, 256, 10)).astype(f32)
    history = random.integers(0, 256, (4, 20), dtype=np.uint8)
    y = np.empty((4, 10), f32)
    elementwise.broadcast_bias(np.arange(10, dtype=f32), y)
    elementwise.add_table_rows(tables, history[:, 5:8], y)
    one_hot = np.eye(256)[history[:, 5:8]]
    np.testing.assert_allclose(y, np.arange(10) + np.einsum("slc,lcn->sn", one_hot, tables), atol=1e-5)
