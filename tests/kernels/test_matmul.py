"""The compiled building blocks compute what they say, the same bytes for a stream alone and beside others."""

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import config, njit

from audiornn.generation.fused import draws
from audiornn.kernels import elementwise, gru, jit, matmul

f32 = np.float32


@jit.kernel
def each(function, x):
    y = np.empty_like(x)
    for i in range(x.size):
        y[i] = function(x[i])
    return y


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


def test_look_ups_are_products_with_embedded_codes():
    random = np.random.default_rng(0)
    tables = random.standard_normal((3, 256, 10)).astype(f32)
    history = random.integers(0, 256, (4, 20), dtype=np.uint8)
    y = np.empty((4, 10), f32)
    elementwise.broadcast_bias(np.arange(10, dtype=f32), y)
    elementwise.add_table_rows(tables, history[:, 5:8], y)
    one_hot = np.eye(256)[history[:, 5:8]]
    np.testing.assert_allclose(y, np.arange(10) + np.einsum("slc,lcn->sn", one_hot, tables), atol=1e-5)


@pytest.mark.parametrize("units", [1, 16, 65])
def test_gru_matches_a_reference_loop(units):
    random = np.random.default_rng(0)
    p = matmul.round_up_to_block(units)
    inputs, recurrent = (3 * random.standard_normal((5, 3, p)).astype(f32) for _ in range(2))
    state = random.standard_normal((5, units)).astype(f32)
    x_z, x_r, x_c = np.moveaxis(inputs[..., :units].astype(np.float64), 1, 0)
    h_z, h_r, h_c = np.moveaxis(recurrent[..., :units].astype(np.float64), 1, 0)
    z = 1 / (1 + np.exp(-x_z - h_z))
    expected = z * state + (1 - z) * np.tanh(x_c + h_c / (1 + np.exp(-x_r - h_r)))
    gru.gru(inputs.reshape(5, -1), recurrent.reshape(5, -1), state)
    np.testing.assert_allclose(state, expected, atol=1e-6)


def kept(logits, top_k, top_p):
    """The codes that may be drawn, by sorting."""
    p = np.exp(logits.astype(np.float64) - logits.max())
    order = np.argsort(-p, kind="stable")[: top_k or len(p)]
    reached = np.cumsum(p[order]) / p[order].sum()
    return set(order if top_p >= 1 else order[: int(np.searchsorted(reached, top_p)) + 1])


@settings(max_examples=60, deadline=None)
@given(
    st.integers(2, 256),
    st.integers(0, 300),
    st.sampled_from([0.001, 0.3, 0.9, 1.0]),
    st.booleans(),
    st.integers(0, 2**32),
)
def test_draws_are_inversions_of_what_the_restrictions_leave(n, top_k, top_p, with_ties, seed):
    random = np.random.default_rng(seed)
    logits = (4 * random.standard_normal(n)).astype(f32)
    if with_ties:
        logits = np.round(logits / 3) * 3
    uniform = np.sort(random.random(200).astype(f32))
    scratch = np.empty(n, f32)
    drawn = np.array([draws.sample_code(logits, 1.0, draws.Limits(top_k, top_p), u, scratch) for u in uniform])
    allowed = sorted(kept(logits, min(top_k, n), top_p))
    if with_ties and 0 < top_p < 1:  # sums that are equal but for round-off may keep one code more or less
        assert set(drawn) <= kept(logits, min(top_k, n), min(top_p + 1e-5, 1))
        return
    p = np.exp(logits[allowed].astype(np.float64) - logits.max())
    edges = np.cumsum(p) / p.sum()
    expected = np.array(allowed)[np.minimum(np.searchsorted(edges, uniform, side="right"), len(allowed) - 1)]
    near_edge = np.abs(edges[None] - uniform[:, None].astype(np.float64)).min(1) < 1e-6
    np.testing.assert_array_equal(drawn[~near_edge], expected[~near_edge])
    assert set(drawn) <= set(allowed)


def test_compiled_functions_are_kept_apart_for_each_state_of_what_they_are_made_of(tmp_path):
    assert Path(matmul.matmul_add._cache.cache_path).parent == Path(config.CACHE_DIR)
    files, stamps = [tmp_path / "a.py", tmp_path / "b.py"], []
    for text in ("x = 1", "x = 2", "x = 1"):
        files[0].write_text("")
        files[1].write_text(text)
        stamps.append(jit.source_hash(files))
    assert stamps[0] == stamps[2] != stamps[1]
    counted = set(jit.sources())
    compiled = {
        file
        for file in jit.PACKAGE.rglob("*.py")
        if re.search(r"^@(njit|kernel|scalar_kernel)\b", file.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert jit.PACKAGE / "kernels/matmul.py" in compiled <= counted


def test_blocks_may_be_used_in_a_loop_of_ones_own():
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
