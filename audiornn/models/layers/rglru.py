"""The real-gated linear recurrent unit (De et al. 2024)."""

from typing import Any

import numpy as np

from audiornn.backend import keras, tf
from audiornn.common.array_types import Tensor
from audiornn.models.layers.linear_scan import scan

DECAY_POWER = 8.0  # Griffin's c: exponent of the decay with a fully open gate
INITIAL_TIME_CONSTANTS = (2.0, 1000.0)  # initial time constants in ticks, with half-open gates
MIN_FORGOTTEN = 1e-7  # least share of its power that a unit forgets: keeps the root's gradient finite
RMS_EPSILON = 1e-6


class RGLRU(keras.layers.Layer):
    """Real-gated linear recurrent unit (De et al. 2024), with output gate and residual connection.

        n  = x / rms(x) * scale
        r, i, g = sigmoid(n W_r + b_r), sigmoid(n W_i + b_i), silu(n W_g + b_g)
        a  = exp(-8 softplus(rate) r)
        h' = a h + sqrt(1 - a²) i (n W + b)
        y  = x + (g h') W_y + b_y

    The original has a convolution before the unit and block-diagonal gate matrices. Here frames replace the
    convolution, and the gate matrices are full, computed in one product with the input's.
    """

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.norm = keras.layers.RMSNormalization(epsilon=RMS_EPSILON, name="norm")
        self.inputs = keras.layers.Dense(4 * units, name="inputs")
        self.output_layer = keras.layers.Dense(units, name="output")
        self.norm.build([None, units])
        self.inputs.build([None, units])
        self.output_layer.build([None, units])
        self.rate = self.add_weight(shape=[units], initializer="zeros", name="rate")
        start = 2 / (DECAY_POWER * np.geomspace(*INITIAL_TIME_CONSTANTS, units))
        self.rate.assign(np.log(np.expm1(start)))  # softplus gives it back
        self.built = True

    def _recurrence(self, x: Tensor) -> tuple[Tensor, ...]:
        """Decay and input of the linear recurrence, and its output gate: float [..., units] each."""
        value, recurrence_gate, input_gate, output_gate = tf.split(self.inputs(self.norm(x)), 4, -1)
        log_decay = -DECAY_POWER * tf.nn.softplus(tf.convert_to_tensor(self.rate)) * tf.sigmoid(recurrence_gate)
        one_minus_a_squared = tf.maximum(-tf.math.expm1(2 * log_decay), MIN_FORGOTTEN)
        inputs = tf.sqrt(one_minus_a_squared) * tf.sigmoid(input_gate) * value
        return tf.exp(log_decay), inputs, tf.nn.silu(output_gate)

    def forward(self, x: Tensor, before: Tensor) -> tuple[Tensor, ...]:
        """Outputs [time, batch, units] for inputs [time, batch, units], and the state after them."""
        decay, inputs, output_gate = self._recurrence(x)
        h = scan(decay, inputs, before)
        return x + self.output_layer(output_gate * h), h[-1]

    def step(self, x: Tensor, before: Tensor) -> tuple[Tensor, ...]:
        """The same for one input [batch, units]."""
        decay, inputs, output_gate = self._recurrence(x)
        h = decay * before + inputs
        return x + self.output_layer(output_gate * h), h


class LinearCore(keras.layers.Layer):
    """Stack of linear recurrences as the core of a tier."""

    def __init__(self, units: int, layers: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.first = keras.layers.Dense(units, name="first")
        self.layers = [RGLRU(units, name=f"recurrence_{i}") for i in range(layers)]

    def build(self, width: int) -> None:
        self.first.build([None, width])
        self.built = True

    def initial_state(self, batch: int | Tensor) -> Tensor:
        return [tf.zeros([batch, self.units]) for _ in self.layers]

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, ...]:
        x, after = self.first(x), []
        for layer, before in zip(self.layers, state, strict=True):
            x, h = layer.forward(x, before)
            after.append(h)
        return x, after

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, ...]:
        x, after = self.first(x), []
        for layer, before in zip(self.layers, state, strict=True):
            x, h = layer.step(x, before)
            after.append(h)
        return x, after
