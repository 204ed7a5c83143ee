"""The compiled GRU is the loop that TensorFlow differentiates, over sequences and in steps, on any number of cores."""

import numpy as np
import pytest

from audiornn.backend import tf
from audiornn.kernels import gru as kernel
from audiornn.kernels import matmul
from audiornn.models.layers import gru


def arguments(time, batch, units, seed=0):
    random = np.random.default_rng(seed)
    shapes = [time, batch, 3 * units], [batch, units], [units, 3 * units], [units]
    return [(0.5 * random.standard_normal(shape)).astype(np.float32) for shape in shapes]


def in_steps(inputs, before, kernel, bias):
    """States [time, batch, units], one plain operation after the other."""
    units, h, states = len(bias), before, []
    for x in tf.unstack(inputs):
        m = tf.matmul(h, kernel)
        z, r = (tf.sigmoid(x[:, i * units : (i + 1) * units] + m[:, i * units : (i + 1) * units]) for i in (0, 1))
        candidate = tf.tanh(x[:, 2 * units :] + r * (m[:, 2 * units :] + bias))
        h = z * h + (1 - z) * candidate
        states.append(h)
    return tf.stack(states)


@pytest.mark.parametrize("gpus", [[], ["as if there was one"]])
@pytest.mark.parametrize(("time", "batch", "units"), [(9, 7, 5), (1, 1, 70), (4, 12, 64)])
def test_states_and_gradients_are_those_of_plain_steps(time, batch, units, gpus, monkeypatch):
    monkeypatch.setattr(gru, "GPUS", gpus)  # where TensorFlow's own loops run
    made = [tf.constant(a) for a in arguments(time, batch, units)]
    upstream = tf.constant(arguments(time, batch, units, seed=1)[0][..., :units])
    results = []
    for form in (gru.gru_scan, in_steps):
        with tf.GradientTape() as tape:
            tape.watch(made)
            states = form(*made)
        results.append([states, *tape.gradient(states, made, output_gradients=upstream)])
    for ours, theirs in zip(*results, strict=True):
        assert np.ptp(theirs) > 0.01
        np.testing.assert_allclose(ours, theirs, atol=1e-5 * max(1, np.abs(theirs).max()))


def test_streams_are_the_same_bytes_on_any_number_of_cores(monkeypatch):
    made = arguments(20, 7, 33)
    results = []
    for cores in (1, 2, 3, 16):
        monkeypatch.setattr(kernel, "cores", lambda cores=cores: cores)
        states, saved = kernel.forward(*made)
        results.append([states, saved, *kernel.backward(states[1:], states, saved, made[2])])
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(one, two)
    alone, _ = kernel.forward(made[0][:, 3:4].copy(), made[1][3:4], *made[2:])
    np.testing.assert_array_equal(alone[:, 0], results[0][0][:, 3])


def test_a_graph_takes_sequences_of_any_length():
    inputs, before, kernel, bias = (tf.constant(a) for a in arguments(30, 2, 4))

    @tf.function(input_signature=[tf.TensorSpec([None, None, 12]), tf.TensorSpec([None, 4])])
    def run(inputs, before):
        with tf.GradientTape() as tape:
            tape.watch(before)
            states = gru.gru_scan(inputs, before, kernel, bias)
        return states, tape.gradient(states, before)

    whole, _ = run(inputs, before)
    first, gradient = run(inputs[:11], before)
    assert gradient.shape == (2, 4)
    second, _ = run(inputs[11:], first[-1])
    np.testing.assert_array_equal(tf.concat([first, second], 0), whole)


@pytest.mark.parametrize("units", [1, 16, 65])
def test_gru_matches_a_reference_loop(units):
    random = np.random.default_rng(0)
    p = matmul.round_up_to_block(units)
    inputs, recurrent = (3 * random.standard_normal((5, 3, p)).astype(np.float32) for _ in range(2))
    state = random.standard_normal((5, units)).astype(np.float32)
    x_z, x_r, x_c = np.moveaxis(inputs[..., :units].astype(np.float64), 1, 0)
    h_z, h_r, h_c = np.moveaxis(recurrent[..., :units].astype(np.float64), 1, 0)
    z = 1 / (1 + np.exp(-x_z - h_z))
    expected = z * state + (1 - z) * np.tanh(x_c + h_c / (1 + np.exp(-x_r - h_r)))
    kernel.gru(inputs.reshape(5, -1), recurrent.reshape(5, -1), state)
    np.testing.assert_allclose(state, expected, atol=1e-6)
