"""Linear recurrences h[t] = decay[t] * h[t - 1] + input[t] over whole sequences, in parallel.

Two steps in a row are again such a step, so that a sequence can be taken in any grouping (Blelloch 1990). Here it is
cut into segments: all run side by side from zero, their ends are carried from segment to segment by the same
function, in which a segment now is a step, and each state gets what was carried to its segment, decayed. All that is
multiplied is decays from 0 to 1: nothing overflows, and there is nothing to divide by, as with products over a whole
sequence. It is eight times as fast as `keras.ops.associative_scan` over 32 steps with gradients
(`benchmarks/kernels.py`).
"""

from audiornn.backend import tf
from audiornn.common.array_types import Tensor

SEGMENT = 16


def _states(decay: Tensor, inputs: Tensor, before: Tensor) -> Tensor:
    steps, width = decay.shape[0], decay.shape[1:]
    if steps <= SEGMENT:
        states = [before]
        for t in range(steps):
            states.append(decay[t] * states[-1] + inputs[t])
        return tf.stack(states[1:])
    count = -(-steps // SEGMENT)
    padding = [[0, count * SEGMENT - steps]] + [[0, 0]] * len(width)
    decay = tf.reshape(tf.pad(decay, padding), [count, SEGMENT, *width])
    inputs = tf.reshape(tf.pad(inputs, padding), [count, SEGMENT, *width])
    decays, states = [decay[:, 0]], [inputs[:, 0]]
    for t in range(1, SEGMENT):
        decays.append(decay[:, t] * decays[-1])
        states.append(decay[:, t] * states[-1] + inputs[:, t])
    ends = _states(decays[-1], states[-1], before)
    carried = tf.concat([before[None], ends[:-1]], 0)[:, None]
    return tf.reshape(tf.stack(states, 1) + tf.stack(decays, 1) * carried, [count * SEGMENT, *width])[:steps]


@tf.custom_gradient
def scan(decay: Tensor, inputs: Tensor, before: Tensor) -> tuple[Tensor, ...]:
    """States of a linear recurrence.

    Parameters
    ----------
    decay
        Float [time, batch, units], 0 to 1. The number of steps must be static.
    inputs
        Float [time, batch, units].
    before
        Float [batch, units], the state before the first step.

    Returns
    -------
    Float [time, batch, units].
    """
    # Hidden from the gradient tape: the gradient is the same recurrence, backwards in time.
    states = _states(*(tf.stop_gradient(tensor) for tensor in (decay, inputs, before)))

    def gradient(upstream: Tensor) -> tuple[Tensor, ...]:
        later = tf.concat([decay[1:], tf.zeros_like(decay[:1])], 0)
        d_inputs = _states(tf.reverse(later, [0]), tf.reverse(upstream, [0]), tf.zeros_like(before))
        d_inputs = tf.reverse(d_inputs, [0])
        previous = tf.concat([before[None], states[:-1]], 0)
        return d_inputs * previous, d_inputs, decay[0] * d_inputs[0]

    return states, gradient
