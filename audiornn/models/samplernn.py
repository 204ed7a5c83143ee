"""SampleRNN: recurrent tiers at slow clocks over a feed-forward network at sample level (Mehri et al. 2017).

    frames of 16 codes ─► GRU ─► upsample ×4
                                     │
    frames of 4 codes ───────────────┴─► GRU ─► upsample ×4
                                                    │
    the last codes ────────────────────────────── (+) relu ─► Dense relu ─► Dense ─► logits

All codes share one embedding. With `predictor`, which the paper does not have, features of backward-adaptive linear
prediction are added to the input of the network at sample level, and its logits to the output.
"""

from audiornn.backend import keras, tf
from audiornn.codec import CODES
from audiornn.common.array_types import Tensor
from audiornn.common.validation import Width
from audiornn.models.layers.tiers import Embedding, Frames, GRUCore, LookBack, Tiers
from audiornn.models.tiered import TieredModel


class SampleRNN(TieredModel):
    """SampleRNN with GRUs and embedded input.

    Parameters
    ----------
    frames
        Codes in a frame of each recurrent tier, slowest first, each a multiple of the next.
    units
        Units of each tier's GRU.
    embedding
        Width of the embedding of a code.
    lookback
        Codes that the network at sample level sees.
    dense
        Units of its two hidden layers.
    predictor
        Whether to start from linear prediction; see `audiornn.models.layers.lpc_prior`.
    """

    def __init__(
        self,
        frames: Frames = (16, 4),
        units: Width = 256,
        embedding: Width = 16,
        lookback: Width = 16,
        dense: Width = 256,
        predictor: bool = False,
    ) -> None:
        super().__init__()
        embedded = Embedding(embedding, name="embedding")
        cores = [GRUCore(units, name=f"gru_{frame}") for frame in frames]
        self._assemble(
            Tiers(embedded, frames, cores, dense, name="tiers"),
            LookBack(embedded, lookback, dense, name="lookback"),
            predictor,
        )
        self.hidden = keras.layers.Dense(dense, activation="relu", kernel_initializer="he_uniform", name="hidden")
        self.head = keras.layers.Dense(CODES, name="logits")
        self.hidden.build([None, dense])
        self.head.build([None, dense])
        self.built = True

    @property
    def output_bias(self) -> Tensor | None:
        return None if self.prior else self.head.bias

    def logits(self, x: Tensor) -> Tensor:
        return self.head(self.hidden(tf.nn.relu(x)))
