"""Gated linear recurrences at slow clocks over a residual network at sample level.

    frames of 32 codes ─► linear recurrences ─► upsample ×4
                                                    │ a vector for each frame of 8
    frames of 8 codes ──────────────────────────────┴─► linear recurrences ─► upsample ×8
                                                                                  │
    the last codes ─────────────────────────────────────────────────────────── (+) silu ─► residual layers ─► logits

The recurrence is the real-gated linear recurrent unit of Griffin (De et al. 2024): its gates depend on the input alone,
so that all steps of a sequence can be taken in parallel. With `predictor`, features of backward-adaptive linear
prediction are added to the input of the network at sample level, and its logits to the output.
"""

from typing import Annotated

from pydantic import Field

from audiornn.backend import keras, tf
from audiornn.codec import CODES
from audiornn.common.array_types import Tensor
from audiornn.common.validation import Layers, Width
from audiornn.models.layers.rglru import LinearCore
from audiornn.models.layers.tiers import Embedding, Frames, LookBack, Tiers
from audiornn.models.tiered import TieredModel


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
        Codes that the network at sample level sees, and that each tier sees at least.
    dense
        Units of the network at sample level.
    residual
        Its residual layers.
    predictor
        Whether to start from linear prediction; see `audiornn.models.layers.lpc_prior`.
    """

    def __init__(
        self,
        frames: Frames = (32, 8),
        units: Width = 256,
        layers: Annotated[Layers, Field(ge=1)] = 2,
        embedding: Width = 16,
        lookback: Width = 32,
        dense: Width = 256,
        residual: Layers = 1,
        predictor: bool = False,
    ) -> None:
        super().__init__()
        embedded = Embedding(embedding, name="embedding")
        cores = [LinearCore(units, layers, name=f"core_{frame}") for frame in frames]
        self._assemble(
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
    def output_bias(self) -> Tensor | None:
        return None if self.prior else self.head.bias

    def logits(self, x: Tensor) -> Tensor:
        x = tf.nn.silu(x)
        for layer in self.residual:
            x += tf.nn.silu(layer(x))
        return self.head(x)
