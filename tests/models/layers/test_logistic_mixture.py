"""Mixtures of logistics over codes: a distribution, exact where naive formulas lose all digits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logsumexp

from audiornn.backend import tf
from audiornn.codec import CODES, mu_law_decode
from audiornn.models.layers import logistic_mixture

numbers = st.floats(-8, 8)


def reference(mixture, p, scale):
    """log P of each code, in double precision."""
    weights, widths, centres = np.split(np.asarray(mixture, np.float64), 3)
    inverse = np.exp(-logistic_mixture.MAX_LOG_WIDTH * np.tanh(widths / logistic_mixture.MAX_LOG_WIDTH))
    z = ((logistic_mixture.EXACT_EDGES - p) / scale - centres[:, None]) * inverse[:, None]
    low, high = z[:, :-1], z[:, 1:]
    # Of both tails the one in which nothing cancels.
    mass = np.where(low > 0, expit(-low) - expit(-high), expit(high) - expit(low))
    probability = (np.exp(weights - logsumexp(weights))[:, None] * mass).sum(axis=0)
    return np.log((1 - logistic_mixture.UNIFORM_SHARE) * probability + logistic_mixture.UNIFORM_SHARE / CODES)


@settings(max_examples=60, deadline=None)
@given(
    mixture=st.lists(numbers, min_size=6, max_size=6),
    p=st.floats(-1, 1),
    scale=st.floats(1e-5, 1),
)
@pytest.mark.slow
def test_logits_are_log_probabilities_and_nats_their_negative(mixture, p, scale):
    mixture, p, scale = (np.float32(x) for x in (mixture, p, scale))
    arguments = [tf.constant(x)[None, None] for x in (mixture, p, scale)]
    logits = logistic_mixture.logits(*arguments).numpy()[0, 0]
    assert np.exp(logits.astype(np.float64)).sum() == pytest.approx(1, abs=1e-4)
    np.testing.assert_allclose(logits, reference(mixture, p, scale), atol=2e-3)
    labels = np.arange(CODES)[None]
    repeated = [tf.repeat(x, CODES, axis=1) for x in arguments]
    np.testing.assert_allclose(logistic_mixture.nats(labels, *repeated)[0], -logits, atol=1e-4)


def test_a_narrow_component_gives_its_code_nearly_all_probability():
    for code in (0, 3, 128, 200, 255):
        p = np.float32(mu_law_decode(code))
        arguments = [tf.constant(x, tf.float32) for x in ([[[0.0, 0.0, 0.0]]], [[p]], [[1e-5]])]
        logits = logistic_mixture.logits(*arguments).numpy()[0, 0]
        assert logits.argmax() == code
        assert logits[code] > np.log(0.999)
        assert logits.min() == pytest.approx(
            np.log(logistic_mixture.UNIFORM_SHARE / CODES), abs=1e-3
        )  # never minus infinity


def test_gradients_are_finite_whatever_the_label():
    mixture = tf.constant(np.random.default_rng(0).standard_normal((1, CODES, 12)) * 5, tf.float32)
    labels, p = np.arange(CODES)[None], tf.constant(np.linspace(-1, 1, CODES)[None], tf.float32)
    for scale in (1e-5, 1e-2, 1.0):
        with tf.GradientTape() as tape:
            tape.watch(mixture)
            loss = tf.reduce_sum(logistic_mixture.nats(labels, mixture, p, tf.fill(p.shape, scale)))
        assert np.isfinite(loss)
        assert np.isfinite(tape.gradient(loss, mixture)).all()
