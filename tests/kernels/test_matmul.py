"""The compiled building blocks compute what they say, the same bytes for a stream alone and beside others."""

import os
import platform
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from audiornn.kernels import elementwise, jit, matmul

f32 = np.float32


def rounded(matrix):
    """To bfloat16, by way of the nearest float with 8 bits of mantissa."""
    mantissa, exponent = np.frexp(matrix)
    return np.ldexp(np.round(mantissa * 256) / 256, exponent)  # numpy's round also takes ties to even


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 9), st.integers(1, 70), st.integers(1, 200), st.integers(0, 5), st.booleans(), st.integers(0, 2**32)
)
def test_products_are_those_of_numpy_whatever_the_sizes(streams, inputs, outputs, spare, bfloat16, seed):
    random = np.random.default_rng(seed)
    matrix = random.standard_normal((inputs, outputs)).astype(f32)
    x = random.standard_normal((streams, inputs + spare)).astype(f32)
    begin = random.standard_normal((streams, matmul.round_up_to_block(outputs))).astype(f32)
    y = begin.copy()
    weights = matmul.pack(matrix, bfloat16)
    matmul.matmul_add(weights, x, y)
    expected = x[:, :inputs].astype(np.float64) @ (rounded(matrix) if bfloat16 else matrix) + begin[:, :outputs]
    np.testing.assert_allclose(y[:, :outputs], expected, atol=1e-5 * inputs)
    np.testing.assert_array_equal(y[:, outputs:], begin[:, outputs:])  # what fills up the last block stays
    for s in range(streams):  # alone, with spread rows: the same bytes
        alone = np.zeros((1, 2 * y.shape[1]), f32)[:, : y.shape[1]]
        alone[:] = begin[s]
        matmul.matmul_add(weights, x[s : s + 1], alone)
        np.testing.assert_array_equal(alone[0], y[s])


def test_blocks_may_be_used_in_a_custom_loop():
    """What a new model's kernel does: a residual network over embedded codes, one sample after the other."""
    random = np.random.default_rng(0)
    tables, bias = random.standard_normal((4, 256, 64)).astype(f32), random.standard_normal(64).astype(f32)
    hidden = random.standard_normal((64, 64)).astype(f32) / 8

    @njit(error_model="numpy")
    def run(tables, bias, weights, codes, out):
        x, y = np.empty((1, 64), f32), np.empty((1, 64), f32)
        for t in range(out.shape[0]):
            elementwise.broadcast_bias(bias, x)
            elementwise.add_table_rows(tables, codes[:, t : t + 4], x)
            for i in range(64):
                y[0, i], x[0, i] = x[0, i], max(x[0, i], f32(0))
            matmul.matmul_add(weights, x, y)
            for i in range(64):
                out[t, i] = y[0, i]

    codes = random.integers(0, 256, (1, 9), dtype=np.uint8)
    out = np.empty((6, 64), f32)
    run(tables, bias, matmul.pack(hidden), codes, out)
    x = bias + sum(tables[lag, codes[0, lag : lag + 6]].astype(np.float64) for lag in range(4))
    np.testing.assert_allclose(out, x + np.maximum(x, 0) @ hidden, atol=1e-5)


PRODUCTS = """
import hashlib
import numpy as np
from audiornn.kernels import matmul
random, digest = np.random.default_rng(0), hashlib.sha256()
for bfloat16 in (False, True):
    weights = matmul.pack(random.standard_normal((50, 130)).astype(np.float32), bfloat16)
    for streams in range(1, 9):
        x, y = random.standard_normal((streams, 50)).astype(np.float32), np.ones((streams, 192), np.float32)
        matmul.matmul_add(weights, x, y)
        digest.update(y)
print(digest.hexdigest())
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="other processors have neither")
@pytest.mark.slow
def test_products_are_the_same_bytes_with_and_without_avx512(tmp_path):
    without = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx,+avx2,+fma", "NUMBA_CACHE_DIR": str(tmp_path)}
    told = [
        subprocess.run(
            [sys.executable, "-c", PRODUCTS], env=os.environ | extra, cwd=jit.PACKAGE.parent, capture_output=True
        )
        for extra in ({}, without)
    ]
    assert [run.returncode for run in told] == [0, 0], told
    assert told[0].stdout == told[1].stdout != b""
