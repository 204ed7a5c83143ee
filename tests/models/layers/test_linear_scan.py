"""Linear recurrences in parallel are those step by step, and stay finite whatever the decays are."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audiornn.backend import tf
from audiornn.models.layers.linear_scan import SEGMENT, scan

LENGTHS = [1, 2, SEGMENT, SEGMENT + 1, SEGMENT**2 + 3]  # a compilation each


def in_steps(decay, inputs, before):
    states = [before]
    for a, b in zip(decay, inputs, strict=True):
        states.append(a * states[-1] + b)
    return np.stack(states[1:])


def numbers(seed, steps):
    random = np.random.default_rng(seed)
    decay = random.choice([0.0, 1.0, 0.5, 0.999, 1e-30, 1e-45], (steps, 2, 3)) * random.random((steps, 2, 3)) ** 0.1
    return decay.astype(np.float32), random.standard_normal((steps, 2, 3)), random.standard_normal((2, 3))


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(LENGTHS), st.integers(0, 2**32 - 1))
def test_a_scan_matches_a_reference_loop(steps, seed):
    decay, inputs, before = numbers(seed, steps)
    states = scan(*(tf.constant(part, tf.float32) for part in (decay, inputs, before)))
    np.testing.assert_allclose(states, in_steps(decay, inputs, before), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("decay", [0.0, 1e-45, 1.0])
def test_extreme_decays_are_exact(decay):
    inputs = tf.ones([200, 1, 1])
    states = scan(tf.fill([200, 1, 1], decay), inputs, tf.zeros([1, 1]))[:, 0, 0].numpy()
    np.testing.assert_array_equal(states, np.arange(1, 201) if decay == 1 else np.ones(200))


@pytest.mark.parametrize("steps", [1, 2 * SEGMENT + 3])
def test_the_gradient_of_a_scan_is_that_of_its_steps(steps):
    parts = [tf.constant(part, tf.float32) for part in numbers(0, steps)]
    weight = np.random.default_rng(1).standard_normal((steps, 2, 3)).astype(np.float32)

    def slowly(decay, inputs, before):
        states = [before]
        for t in range(steps):
            states.append(decay[t] * states[-1] + inputs[t])
        return tf.stack(states[1:])

    gradients = []
    for form in (scan, slowly):
        with tf.GradientTape() as tape:
            tape.watch(parts)
            loss = tf.reduce_sum(form(*parts) * weight)
        gradients.append(tape.gradient(loss, parts))
    for parallel, steps_one_by_one in zip(*gradients, strict=True):
        np.testing.assert_allclose(parallel, steps_one_by_one, rtol=1e-4, atol=1e-4)
