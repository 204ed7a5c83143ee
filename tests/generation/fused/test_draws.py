"""Codes are drawn with the frequencies of the softmax, within the limits, by both engines alike."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from audiornn.generation import sampling, tensorflow_engine
from audiornn.generation.fused.draws import Limits, sample_code


def drawn_by(how, logits, temperature, uniform, *limits):
    """Codes [n] drawn from logits [256] by uniform numbers [n]."""
    if how == "tensorflow":
        tiled = np.tile(logits, (len(uniform), 1))
        return tensorflow_engine.draw(
            tiled, np.full(len(uniform), temperature, np.float32), uniform, Limits(*limits)
        ).numpy()
    scratch = np.empty(256, np.float32)
    return np.array([sample_code(logits, temperature, Limits(*limits), u, scratch) for u in uniform])


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"),
    [(0.5, 0, 1.0), (1.0, 0, 1.0), (1.5, 0, 1.0), (1.0, 20, 1.0), (1.0, 0, 0.8), (1.5, 50, 0.9), (1.0, 1, 1.0)],
)
@pytest.mark.parametrize("how", ["tensorflow", "fused"])
def test_draws_have_the_frequencies_of_the_softmax(how, temperature, top_k, top_p):
    logits = 2 * np.random.default_rng(0).standard_normal(256).astype(np.float32)
    n = 100_000
    drawn = drawn_by(how, logits, temperature, sampling.random_stream(1, 0).random(n, np.float32), top_k, top_p)
    scaled = logits.astype(np.float64) / temperature
    p = np.exp(scaled - scaled.max())
    order = np.argsort(-p, kind="stable")
    if top_k:
        p[order[top_k:]] = 0
    p /= p.sum()
    if top_p < 1:
        fewest = int(np.searchsorted(np.cumsum(p[order]), top_p)) + 1
        assert p[order[:fewest]].sum() >= top_p > p[order[: fewest - 1]].sum()
        p[order[fewest:]] = 0
        p /= p.sum()
    observed = np.bincount(drawn, minlength=256)
    assert observed[p == 0].sum() == 0  # what is ruled out never comes
    expected = n * p
    common = expected >= 5  # the chi-square test needs some of each
    if common.sum() == 1:
        assert observed[common] == n
        return
    groups = [np.r_[x[common], x[~common].sum()] for x in (observed, expected)]
    if groups[1][-1] < 1e-9:
        groups = [g[:-1] for g in groups]
    assert stats.chisquare(groups[0], groups[1] * groups[0].sum() / groups[1].sum()).pvalue > 0.001


@pytest.mark.parametrize("how", ["tensorflow", "fused"])
def test_temperature_0_takes_the_likeliest_code_and_extreme_logits_stay_in_range(how):
    logits = np.random.default_rng(0).standard_normal(256).astype(np.float32)
    ends = np.array([0.0, 0.7, np.nextafter(np.float32(1), np.float32(0))], np.float32)
    assert set(drawn_by(how, logits, 0.0, ends)) == {logits.argmax()}
    for likeliest in (0, 255):
        wide = np.full(256, -1e4, np.float32)
        wide[likeliest] = 1e4
        assert set(drawn_by(how, wide, 1.0, ends)) == {likeliest}
    assert drawn_by(how, np.zeros(256, np.float32), 1.0, ends).tolist() == [0, 179, 255]


@pytest.mark.parametrize("how", ["tensorflow", "fused"])
def test_temperature_and_top_p_do_not_apply_where_the_model_is_certain(how):
    n, uniform = 100_000, sampling.random_stream(3, 0).random(100_000, np.float32)
    for likeliest, left_alone in ((0.6, True), (0.4, False)):
        p = np.full(256, (1 - likeliest) / 255)
        p[128] = likeliest
        logits = np.log(p).astype(np.float32)
        drawn = drawn_by(how, logits, 0.3, uniform, 0, 0.3, 0.5)
        expected = n * likeliest if left_alone else n  # at this temperature, and within 0.3, there is no other code
        assert abs(np.count_nonzero(drawn == 128) - expected) <= 4 * np.sqrt(n * likeliest * (1 - likeliest))
        assert (len(np.unique(drawn)) > 200) == left_alone
    assert np.all(drawn_by(how, logits, 0.0, uniform[:10], 0, 1.0, 0.1) == 128)  # temperature 0 is heeded all the same


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
def test_draws_invert_the_distribution_within_the_limits(n, top_k, top_p, with_ties, seed):
    random = np.random.default_rng(seed)
    logits = (4 * random.standard_normal(n)).astype(np.float32)
    if with_ties:
        logits = np.round(logits / 3) * 3
    uniform = np.sort(random.random(200).astype(np.float32))
    scratch = np.empty(n, np.float32)
    drawn = np.array([sample_code(logits, 1.0, Limits(top_k, top_p), u, scratch) for u in uniform])
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
