"""Layers for recurrent networks over whole sequences and over single samples, time-major: [time, batch, units].

Keras' own GRU multiplies the input by its kernel at every step of its loop, and differentiates the loop operation by
operation. Here the products with the input are one matrix product over all steps, the rest of the loop and its gradient
(back-propagation through time, Werbos 1990) are compiled functions, see `audiornn.kernels.gru`, and the gradients of
the kernels are one product each, too. On a GPU the loops are TensorFlow's.
"""

from collections.abc import Callable
from typing import Any

from audiornn.backend import GPUS, keras, tf
from audiornn.common.array_types import Tensor
from audiornn.kernels import gru


def _forward(inputs: Tensor, initial_state: Tensor, kernel: Tensor, bias: Tensor) -> tuple[Tensor, ...]:
    """As `audiornn.kernels.gru.forward`, on any device."""
    units, steps = kernel.shape[0], tf.shape(inputs)[0]
    states = tf.TensorArray(tf.float32, steps, element_shape=initial_state.shape)
    gates = tf.TensorArray(tf.float32, steps, element_shape=[initial_state.shape[0], 4 * units])

    def body(t: Tensor, h: Tensor, states: Tensor, gates: Tensor) -> tuple[Tensor, ...]:
        x, m = inputs[t], tf.matmul(h, kernel)
        zr = tf.sigmoid(x[:, : 2 * units] + m[:, : 2 * units])
        z, r = zr[:, :units], zr[:, units:]
        recurrent = m[:, 2 * units :] + bias
        candidate = tf.tanh(x[:, 2 * units :] + r * recurrent)
        h = candidate + z * (h - candidate)
        return t + 1, h, states.write(t, h), gates.write(t, tf.concat([zr, candidate, recurrent], 1))

    _, _, states, gates = tf.while_loop(
        lambda t, *_: t < steps, body, (0, initial_state, states, gates), parallel_iterations=1
    )
    return tf.concat([initial_state[None], states.stack()], 0), gates.stack()


def _backward(grad_states: Tensor, states: Tensor, gates: Tensor, kernel: Tensor) -> tuple[Tensor, ...]:
    """As `audiornn.kernels.gru.backward`, on any device."""
    units, steps = kernel.shape[0], tf.shape(grad_states)[0]
    shape = [states.shape[1], 3 * units]
    inputs, products = (tf.TensorArray(tf.float32, steps, element_shape=shape) for _ in range(2))

    def body(t: Tensor, later: Tensor, bias: Tensor, inputs: Tensor, products: Tensor) -> tuple[Tensor, ...]:
        z, r, candidate, recurrent = tf.split(gates[t], 4, axis=1)
        grad_h = later + grad_states[t]
        d_z = grad_h * (states[t] - candidate) * z * (1 - z)
        d_candidate = grad_h * (1 - z) * (1 - candidate * candidate)
        d_r = d_candidate * recurrent * r * (1 - r)
        d_product = tf.concat([d_z, d_r, d_candidate * r], 1)
        earlier = grad_h * z + tf.matmul(d_product, kernel, transpose_b=True)
        inputs = inputs.write(t, tf.concat([d_z, d_r, d_candidate], 1))
        return t - 1, earlier, bias + d_candidate * r, inputs, products.write(t, d_product)

    zero = tf.zeros_like(states[0])
    _, before, bias, inputs, products = tf.while_loop(
        lambda t, *_: t >= 0, body, (steps - 1, zero, zero, inputs, products), parallel_iterations=1
    )
    return inputs.stack(), products.stack(), bias, before


def _compiled(function: Callable[..., Any], *tensors: Tensor, shapes: list[Tensor]) -> list[Tensor]:
    """Results float32 of these shapes of a function of arrays."""
    results = tf.numpy_function(function, tensors, [tf.float32] * len(shapes), stateful=False)
    return [tf.ensure_shape(result, shape) for result, shape in zip(results, shapes, strict=True)]


@tf.custom_gradient
def gru_scan(inputs: Tensor, initial_state: Tensor, kernel: Tensor, bias: Tensor) -> tuple[Tensor, ...]:
    """GRU states over a sequence.

    Parameters
    ----------
    inputs
        Float [time, batch, 3 * units]: input products and biases of update gate z, reset gate r and candidate.
    initial_state
        Float [batch, units], the state before the first step.
    kernel
        Float [units, 3 * units], recurrent weights in the same order.
    bias
        Float [units], added to the candidate's recurrent product.

    Returns
    -------
    Float [time, batch, units].
    """
    steps, batch, units = inputs.shape[0], initial_state.shape[0], kernel.shape[0]
    # Hidden from the gradient tape: the gradient is the one below.
    arguments = [tf.stop_gradient(tensor) for tensor in (inputs, initial_state, kernel, bias)]
    if GPUS:
        states, gates = _forward(*arguments)
    else:
        shapes = [[None if steps is None else steps + 1, batch, units], [steps, batch, 4 * units]]
        states, gates = _compiled(gru.forward, *arguments, shapes=shapes)

    def gradient(grad_states: Tensor) -> tuple[Tensor, ...]:
        if GPUS:
            d_inputs, d_products, d_bias, d_before = _backward(grad_states, states, gates, kernel)
        else:
            shapes = [[steps, batch, 3 * units]] * 2 + [[batch, units]] * 2
            d_inputs, d_products, d_bias, d_before = _compiled(
                gru.backward, grad_states, states, gates, kernel, shapes=shapes
            )
        d_kernel = tf.matmul(
            tf.reshape(states[:-1], [-1, units]), tf.reshape(d_products, [-1, 3 * units]), transpose_a=True
        )
        return d_inputs, d_before, d_kernel, tf.reduce_sum(d_bias, 0)

    return states[1:], gradient


class GRU(keras.layers.Layer):
    """Gated recurrent unit with the reset gate behind the recurrent product (Cho et al. 2014, as in cuDNN).

        z = sigmoid(x W_z + h U_z + b_z),  r = sigmoid(x W_r + h U_r + b_r)
        c = tanh(x W_c + b_c + r * (h U_c + b_u)),  h' = z * h + (1 - z) * c

    Input products are computed outside, by `project`: for few input values, as in a first layer over codes, they are
    rows of a small table.
    """

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units

    def build(self, width: int) -> None:
        """Create the weights for an input of `width` values."""
        n = 3 * self.units
        self.kernel = self.add_weight(shape=[width, n], initializer="glorot_uniform", name="kernel")
        self.recurrent_kernel = self.add_weight(shape=[self.units, n], initializer="orthogonal", name="recurrent")
        self.bias = self.add_weight(shape=[n], initializer="zeros", name="bias")
        self.recurrent_bias = self.add_weight(shape=[self.units], initializer="zeros", name="recurrent_bias")
        self.built = True

    def project(self, x: Tensor) -> Tensor:
        """Float [..., width] -> [..., 3 * units]."""
        return tf.tensordot(x, tf.convert_to_tensor(self.kernel), 1) + self.bias

    def scan(self, projected: Tensor, before: Tensor) -> Tensor:
        """States [time, batch, units] from projected inputs [time, batch, 3 * units]."""
        kernel, bias = tf.convert_to_tensor(self.recurrent_kernel), tf.convert_to_tensor(self.recurrent_bias)
        return gru_scan(projected, before, kernel, bias)

    def step(self, projected: Tensor, before: Tensor) -> Tensor:
        """The next state [batch, units] from one step's projected input [batch, 3 * units]."""
        x_z, x_r, x_c = tf.split(projected, 3, axis=-1)
        h_z, h_r, h_c = tf.split(tf.matmul(before, tf.convert_to_tensor(self.recurrent_kernel)), 3, axis=-1)
        z = tf.sigmoid(x_z + h_z)
        candidate = tf.tanh(x_c + tf.sigmoid(x_r + h_r) * (h_c + self.recurrent_bias))
        return candidate + z * (before - candidate)
