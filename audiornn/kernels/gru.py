"""GRU over sequences on the CPU, and its gradient by back-propagation through time (Werbos 1990).

TensorFlow's loops over time spend more on the overhead of each step than on arithmetic, and XLA compiles such a loop
for every length and runs it on one core. Here one compiled function per core walks through time for its share of the
streams, with the weights in the order in which they are read (see `audiornn.kernels.matmul`). The results of a stream
depend neither on the other streams nor on the number of cores.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise

import numpy as np

from audiornn.common.parallel import cores
from audiornn.kernels.arrays import Float32, empty_aligned
from audiornn.kernels.elementwise import sigmoid, tanh
from audiornn.kernels.jit import f32, kernel
from audiornn.kernels.matmul import OUTPUTS_PER_BLOCK, matmul_add, pack


def forward(inputs: Float32, initial_state: Float32, kernel: Float32, bias: Float32) -> tuple[Float32, Float32]:
    """States of a GRU over a sequence, and what its gradient needs.

    Parameters
    ----------
    inputs
        float32 [time, batch, 3 * units]: input products and biases of update gate z, reset gate r and candidate.
    initial_state
        float32 [batch, units], the state before the first step.
    kernel
        float32 [units, 3 * units], recurrent weights in the same order.
    bias
        float32 [units], added to the candidate's recurrent product.

    Returns
    -------
    States [time + 1, batch, units], the first of them `initial_state`; and z, r, candidate and its recurrent part
    [time, batch, 4 * units].
    """
    time, batch, _ = inputs.shape
    units = len(bias)
    states, gates = empty_aligned((time + 1, batch, units)), empty_aligned((time, batch, 4 * units))
    states[0] = initial_state
    packed = pack(kernel)
    _parallel_over_streams(batch, lambda first, last: _forward(inputs, packed, bias, first, last, states, gates))
    return states, gates


def backward(
    grad_states: Float32, states: Float32, gates: Float32, kernel: Float32
) -> tuple[Float32, Float32, Float32, Float32]:
    """Gradients of a loss with respect to a GRU's inputs and parameters.

    Parameters
    ----------
    grad_states
        float32 [time, batch, units], with respect to the states after each step.
    states, gates
        As `forward` gave them.
    kernel
        As for `forward`.

    Returns
    -------
    Gradients with respect to the inputs and the recurrent products [time, batch, 3 * units] (they differ in the
    candidate's part), the bias for each stream, and the state before the first step, both [batch, units].
    """
    time, batch, units = grad_states.shape
    inputs, products = empty_aligned((time, batch, 3 * units)), empty_aligned((time, batch, 3 * units))
    bias, before = np.zeros((batch, units), f32), np.empty((batch, units), f32)
    packed = pack(kernel.T)
    _parallel_over_streams(
        batch,
        lambda first, last: _backward(grad_states, states, gates, packed, first, last, inputs, products, bias, before),
    )
    return inputs, products, bias, before


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(cores(), "streams")


def _parallel_over_streams(batch: int, run: Callable[[int, int], None]) -> None:
    """Call `run(first, last)` for a share of the streams on each core."""
    edges = np.linspace(0, batch, min(cores(), batch) + 1).astype(int).tolist()
    for done in [_pool().submit(run, first, last) for first, last in pairwise(edges)]:
        done.result()


@kernel
def _forward(
    inputs: Float32, packed: Float32, bias: Float32, first: int, last: int, states: Float32, gates: Float32
) -> None:
    products = np.empty((last - first, packed.shape[0] * OUTPUTS_PER_BLOCK), f32)
    for t in range(inputs.shape[0]):
        for row in products:
            for i in range(row.size):
                row[i] = 0
        matmul_add(packed, states[t, first:last], products)
        for s in range(first, last):
            _step(inputs[t, s], products[s - first], bias, states[t, s], states[t + 1, s], gates[t, s])


@kernel
def _step(x: Float32, product: Float32, bias: Float32, before: Float32, after: Float32, gates: Float32) -> None:
    n = bias.size
    x_z, x_r, x_c = x[:n], x[n : 2 * n], x[2 * n :]
    h_z, h_r, h_c = product[:n], product[n : 2 * n], product[2 * n :]
    zs, rs, candidates, recurrents = gates[:n], gates[n : 2 * n], gates[2 * n : 3 * n], gates[3 * n :]
    for i in range(n):
        z, r, recurrent = sigmoid(x_z[i] + h_z[i]), sigmoid(x_r[i] + h_r[i]), h_c[i] + bias[i]
        candidate = tanh(x_c[i] + r * recurrent)
        zs[i], rs[i], candidates[i], recurrents[i] = z, r, candidate, recurrent
        after[i] = candidate + z * (before[i] - candidate)


@kernel
def _backward(
    grad_states: Float32,
    states: Float32,
    gates: Float32,
    packed: Float32,
    first: int,
    last: int,
    d_inputs: Float32,
    d_products: Float32,
    d_bias: Float32,
    d_before: Float32,
) -> None:
    time, _, n = grad_states.shape
    grad_h = np.zeros((last - first, packed.shape[0] * OUTPUTS_PER_BLOCK), f32)
    for t in range(time - 1, -1, -1):
        for s in range(first, last):
            later, grad = grad_h[s - first], grad_states[t, s]
            for i in range(n):
                later[i] += grad[i]
            _step_gradient(states[t, s], gates[t, s], later, d_inputs[t, s], d_products[t, s], d_bias[s])
        matmul_add(packed, d_products[t, first:last], grad_h)
    for s in range(first, last):
        for i in range(n):
            d_before[s, i] = grad_h[s - first, i]


@kernel
def _step_gradient(
    before: Float32, gates: Float32, grad_h: Float32, d_input: Float32, d_product: Float32, d_bias: Float32
) -> None:
    """From grad_h, the gradient by the state after a step; in its place what reaches the one before directly."""
    n = before.size
    zs, rs, candidates, recurrents = gates[:n], gates[n : 2 * n], gates[2 * n : 3 * n], gates[3 * n :]
    x_z, x_r, x_c = d_input[:n], d_input[n : 2 * n], d_input[2 * n :]
    h_z, h_r, h_c = d_product[:n], d_product[n : 2 * n], d_product[2 * n :]
    for i in range(n):
        z, r, candidate = zs[i], rs[i], candidates[i]
        d_z = grad_h[i] * (before[i] - candidate) * z * (f32(1) - z)
        d_c = grad_h[i] * (f32(1) - z) * (f32(1) - candidate * candidate)
        d_r = d_c * recurrents[i] * r * (f32(1) - r)
        x_z[i], x_r[i], x_c[i] = d_z, d_r, d_c
        h_z[i], h_r[i], h_c[i] = d_z, d_r, d_c * r
        d_bias[i] += d_c * r
        grad_h[i] *= z


@kernel
def gru(inputs: Float32, recurrent: Float32, state: Float32) -> None:
    """Advance GRU states in place.

    Parameters
    ----------
    inputs
        float32 [streams, 3p], p = round_up_to_block(units): the input's products and biases for update gate z, reset
        gate r and candidate, each from a multiple of p on.
    recurrent
        float32 [streams, 3p]: the state's products, and the bias that the reset gate acts on, in the same order.
    state
        float32 [streams, units].
    """
    p = inputs.shape[1] // 3
    for s in range(state.shape[0]):
        # Slices, as LLVM must see that no index is negative.
        x_z, x_r, x_c = inputs[s, :p], inputs[s, p : 2 * p], inputs[s, 2 * p :]
        h_z, h_r, h_c = recurrent[s, :p], recurrent[s, p : 2 * p], recurrent[s, 2 * p :]
        h = state[s]
        for i in range(h.size):
            z = sigmoid(x_z[i] + h_z[i])
            new = tanh(x_c[i] + sigmoid(x_r[i] + h_r[i]) * h_c[i])
            h[i] = new + z * (h[i] - new)
