"""The original AudioRNN: two GRUs over a normalised, non-linear view of the amplitude.

    amplitude ─► Dense(relu) ─► BN ─┬─► GRU ─► BN ─┬─► GRU ─► BN ─► Dense ─► logits
        └───────────────────────────┴──────────────┘   (the amplitude is concatenated before each GRU)

The amplitude is the code as a scalar in [0, 1]. Batch normalisation runs over batch and time. With `predictor`, which
the original did not have, features of backward-adaptive linear prediction are added to the first GRU's input, and its
logits to the output.
"""

from typing import Annotated, Any

import numpy as np
from pydantic import Field

from audiornn.backend import keras, tf
from audiornn.codec import CODES
from audiornn.common.array_types import Tensor
from audiornn.common.validation import Layers, Width
from audiornn.models.base import AudioModel, State
from audiornn.models.layers.batch_norm import BatchNormalization
from audiornn.models.layers.gru import GRU
from audiornn.models.layers.lpc_prior import Prior


class AudioRNN(AudioModel):
    """The original network.

    Parameters
    ----------
    dense
        Units of the first, dense layer.
    units
        Units of each GRU.
    layers
        Number of GRUs.
    predictor
        Whether to start from linear prediction; see `audiornn.models.layers.lpc_prior`.
    """

    def __init__(
        self,
        dense: Width = 256,
        units: Width = 256,
        layers: Annotated[Layers, Field(ge=1)] = 2,
        predictor: bool = False,
    ) -> None:
        super().__init__(name="audiornn")
        self.dense = keras.layers.Dense(dense, activation="relu", name="dense")
        self.grus = [GRU(units, name=f"gru_{i}") for i in range(layers)]
        self.norms = [BatchNormalization(name=f"norm_{i}") for i in range(layers + 1)]
        self.head = keras.layers.Dense(CODES, name="logits")
        self.dense.build([None, 1])
        # With zero biases all units would be the same linear feature over [0, 1]. Their kinks are spread over the
        # amplitudes instead.
        slope = np.random.default_rng(0).choice([-1.0, 1.0], dense)
        self.dense.set_weights([slope[None], -slope * (np.arange(dense) + 0.5) / dense])
        for gru, norm, width in zip(self.grus, self.norms, [dense] + [units] * (layers - 1), strict=False):
            norm.build(width)
            gru.build(width + 1)
        self.norms[-1].build(units)
        self.head.build([None, units])
        self.prior = Prior(3 * units, name="prior") if predictor else None
        self.built = True

    @property
    def output_bias(self) -> Tensor | None:
        return None if self.prior else self.head.bias

    def initial_state(self, batch: int | Tensor) -> State:
        return {
            "grus": [tf.zeros([batch, gru.units]) for gru in self.grus],
            "prior": self.prior.initial_state(batch) if self.prior else [],
        }

    def forward(
        self,
        codes: Tensor,
        state: State,
        training: bool = False,
        padding_mask: Tensor | None = None,
        num_last: int | None = None,
    ) -> tuple[Tensor, State]:
        given, codes = codes, tf.cast(tf.transpose(codes), tf.int32)  # time-major from here on
        amplitude = tf.cast(codes, tf.float32)[..., None] / (CODES - 1)
        weight = None if padding_mask is None else tf.cast(tf.transpose(padding_mask), tf.float32)

        # The input of the first GRU depends on the code alone: its 256 values are computed once and looked up.
        counts = tf.math.bincount(codes, weights=weight, minlength=CODES, dtype=tf.float32)
        projected = tf.gather(self._table(training, counts), codes)
        after: dict[str, Any] = {"grus": [], "prior": []}
        if self.prior:
            network_input, log_p, after["prior"] = self.prior.forward(given, state["prior"], num_last)
            projected += tf.transpose(network_input, [1, 0, 2])
        x = amplitude
        for gru, norm, before in zip(self.grus, self.norms[1:], state["grus"], strict=True):
            if gru is not self.grus[0]:
                projected = gru.project(tf.concat([x, amplitude], -1))
            x = gru.scan(projected, before)
            after["grus"].append(x[-1])
            if num_last and gru is self.grus[-1]:  # past the burn-in, only the targets are needed
                x, weight = x[-num_last:], None if weight is None else weight[-num_last:]
            x = norm(x, training=training, weight=weight)
        logits = tf.transpose(self.head(x), [1, 0, 2])
        return (logits + log_p if self.prior else logits), after

    def _table(self, training: bool, counts: Tensor) -> Tensor:
        """Input products [256, 3 * units] of the first GRU by code."""
        amplitude = tf.range(CODES, dtype=tf.float32)[:, None] / (CODES - 1)
        x = self.norms[0](self.dense(amplitude), training=training, weight=counts)
        return self.grus[0].project(tf.concat([x, amplitude], -1))

    def step(self, codes: Tensor, state: State) -> tuple[Tensor, State]:
        amplitude = tf.cast(codes, tf.float32)[:, None] / (CODES - 1)
        x = self.norms[0](self.dense(amplitude))
        after: dict[str, Any] = {"grus": [], "prior": []}
        if self.prior:
            network_input, log_p, after["prior"] = self.prior.step(codes, state["prior"])
        for gru, norm, before in zip(self.grus, self.norms[1:], state["grus"], strict=True):
            projected = gru.project(tf.concat([x, amplitude], -1))
            if self.prior and gru is self.grus[0]:
                projected += network_input
            h = gru.step(projected, before)
            after["grus"].append(h)
            x = norm(h)
        logits = self.head(x)
        return (logits + log_p if self.prior else logits), after
