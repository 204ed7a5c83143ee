"""Gated linear recurrences at slow clocks over a residual network at sample level.

    frames of 32 codes ─► linear recurrences ─► upsample ×4
                                                    │ a vector for each frame of 8
    frames of 8 codes ──────────────────────────────┴─► linear recurrences ─► upsample ×8
                                                                                  │
    the last codes ─────────────────────────────────────────────────────────── (+) silu ─► residual layers ─► logits

The recurrence is the real-gated linear recurrent unit of Griffin (De et al. 2024): its gates depend on the input alone,
so that all steps of a sequence can be taken in parallel. With `predictor` the network at sample level also sees a
backward-adaptive linear prediction, whose logits are added at the end.
"""

from typing import Annotated, Any

import numpy as np
from pydantic import Field

from audiornn.backend import keras, tf
from audiornn.codec import CODES
from audiornn.models.scan import scan
from audiornn.models.tiers import Embedding, Frames, LookBack, TieredModel, Tiers
from audiornn.params import Count

SHARPNESS = 8.0  # Griffin's c: with its gate open a unit decays by the 8th power of what it does with an eighth of it
MEMORIES = (2.0, 1000.0)  # ticks after which units forget at the start, where all gates are half open
FLOOR = 1e-7  # of what a unit forgets, as a share of its power: keeps the root's gradient finite where that is nothing


class RGLRU(keras.layers.Layer):
    """Real-gated linear recurrent unit (De et al. 2024), with the gate and the sum around it.

        n  = x / rms(x) * scale
        r, i, g = sigmoid(n W_r + b_r), sigmoid(n W_i + b_i), silu(n W_g + b_g)
        a  = exp(-8 softplus(rate) r)
        h' = a h + sqrt(1 - a²) i (n W + b)
        y  = x + (g h') W_y + b_y

    There, a convolution stands before the unit and the gates' matrices have blocks. Here frames take the place of the
    one, and full matrices, in one product with the input's, that of the others.
    """

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.norm = keras.layers.RMSNormalization(epsilon=1e-6, name="norm")
        self.inputs = keras.layers.Dense(4 * units, name="inputs")
        self.output_layer = keras.layers.Dense(units, name="output")
        self.norm.build([None, units])
        self.inputs.build([None, units])
        self.output_layer.build([None, units])
        self.rate = self.add_weight(shape=[units], initializer="zeros", name="rate")
        start = 2 / (SHARPNESS * np.geomspace(*MEMORIES, units))
        self.rate.assign(np.log(np.expm1(start)))  # softplus gives it back
        self.built = True

    def _recurrence(self, x: Any) -> tuple:
        """Decay and input of the linear recurrence, and the gate behind it: float [..., units] each."""
        value, recurrence, gate, behind = tf.split(self.inputs(self.norm(x)), 4, -1)
        log_decay = -SHARPNESS * tf.nn.softplus(tf.convert_to_tensor(self.rate)) * tf.sigmoid(recurrence)
        forgotten = tf.maximum(-tf.math.expm1(2 * log_decay), FLOOR)
        return tf.exp(log_decay), tf.sqrt(forgotten) * tf.sigmoid(gate) * value, tf.nn.silu(behind)

    def run(self, x: Any, before: Any) -> tuple:
        """Outputs [time, batch, units] of inputs [time, batch, units], and the state after them."""
        decay, inputs, behind = self._recurrence(x)
        h = scan(decay, inputs, before)
        return x + self.output_layer(behind * h), h[-1]

    def step(self, x: Any, before: Any) -> tuple:
        """The same of one input [batch, units]."""
        decay, inputs, behind = self._recurrence(x)
        h = decay * before + inputs
        return x + self.output_layer(behind * h), h


class LinearCore(keras.layers.Layer):
    """Layers of linear recurrences as the core of a tier."""

    def __init__(self, units: int, layers: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.first = keras.layers.Dense(units, name="first")
        self.layers = [RGLRU(units, name=f"recurrence_{i}") for i in range(layers)]

    def build(self, width: int) -> None:
        self.first.build([None, width])
        self.built = True

    def initial_state(self, batch: Any) -> Any:
        return [tf.zeros([batch, self.units]) for _ in self.layers]

    def run(self, x: Any, state: Any) -> tuple:
        x, after = self.first(x), []
        for layer, before in zip(self.layers, state, strict=True):
            x, h = layer.run(x, before)
            after.append(h)
        return x, after

    def step(self, x: Any, state: Any) -> tuple:
        x, after = self.first(x), []
        for layer, before in zip(self.layers, state, strict=True):
            x, h = layer.step(x, before)
            after.append(h)
        return x, after


class Linear(TieredModel):
    """Linear recurrences.

    Parameters
    ----------
    frames
        Codes in a frame of each recurrent tier, slowest first, each a multiple of the next.
    units
        Units of each tier's recurrences.
    layers
        Recurrences in each tier, one after the other.
    embedding
        Width of the embedding of a code.
    lookback
        Codes that the network at sample level sees, and each tier at least.
    dense
        Units of the network at sample level.
    residual
        Its residual layers.
    predictor
        Whether to start from linear prediction; see `audiornn.models.prior`.
    """

    def __init__(
        self,
        frames: Frames = (32, 8),
        units: Count = 256,
        layers: Count = 2,
        embedding: Count = 16,
        lookback: Count = 32,
        dense: Count = 256,
        residual: Annotated[int, Field(ge=0)] = 1,
        predictor: bool = False,
    ) -> None:
        super().__init__()
        embedded = Embedding(embedding, name="embedding")
        cores = [LinearCore(units, layers, name=f"core_{frame}") for frame in frames]
        self.connect(
            Tiers(embedded, frames, cores, dense, window=lookback, name="tiers"),
            LookBack(embedded, lookback, dense, name="lookback"),
            predictor,
        )
        self.residual = [keras.layers.Dense(dense, name=f"residual_{i}") for i in range(residual)]
        self.head = keras.layers.Dense(CODES, name="logits")
        for layer in [*self.residual, self.head]:
            layer.build([None, dense])
        self.built = True

    @property
    def output_bias(self) -> Any:
        return None if self.prior else self.head.bias

    def logits(self, x: Any) -> Any:
        x = tf.nn.silu(x)
        for layer in self.residual:
            x += tf.nn.silu(layer(x))
        return self.head(x)
