"""SampleRNN: recurrent tiers at slow clocks over a feed-forward network at sample level (Mehri et al. 2017).

    frames of 16 codes ─► GRU ─► upsample ×4
                                     │
    frames of 4 codes ───────────────┴─► GRU ─► upsample ×4
                                                    │
    the last codes ────────────────────────────── (+) relu ─► Dense relu ─► Dense ─► logits

Every code is seen through one embedding.
"""

from typing import Any

from audiornn.backend import keras, tf
from audiornn.codec import CODES, SILENCE
from audiornn.models.base import AudioModel, State
from audiornn.models.tiers import Embedding, Frames, GRUCore, LookBack, Tiers
from audiornn.params import Count


class SampleRNN(AudioModel):
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
        Codes that the sample-level network sees.
    dense
        Units of its two hidden layers.
    """

    def __init__(
        self,
        frames: Frames = (16, 4),
        units: Count = 256,
        embedding: Count = 32,
        lookback: Count = 16,
        dense: Count = 256,
    ) -> None:
        super().__init__(name="samplernn")
        self.hop, self.seen = frames[0], max(frames[0], lookback)
        self.embedding = Embedding(embedding, name="embedding")
        cores = [GRUCore(units, name=f"gru_{frame}") for frame in frames]
        self.tiers = Tiers(self.embedding, frames, cores, dense, name="tiers")
        self.lookback = LookBack(self.embedding, lookback, dense, name="lookback")
        self.hidden = keras.layers.Dense(dense, activation="relu", kernel_initializer="he_uniform", name="hidden")
        self.head = keras.layers.Dense(CODES, name="logits")
        self.hidden.build([None, dense])
        self.head.build([None, dense])
        self.built = True

    @property
    def output_bias(self) -> Any:
        return self.head.bias

    def initial_state(self, batch: Any) -> State:
        return {
            "recent": tf.fill([batch, self.seen], SILENCE),
            "phase": tf.zeros([batch], tf.int32),
            "tiers": self.tiers.initial_state(batch),
        }

    def run(
        self, codes: Any, state: State, training: bool = False, valid: Any = None, last: int | None = None
    ) -> tuple:
        time = codes.shape[1]
        skip = time - (last or time)
        codes = tf.concat([state["recent"], tf.cast(codes, tf.int32)], 1)
        vectors, tiers = self.tiers.run(codes, state["tiers"], time, skip)
        logits = self._logits(self.lookback.run(codes[:, self.seen + 1 - self.lookback.length + skip :]) + vectors)
        phase = (state["phase"] + time) % self.hop
        return logits, {"recent": codes[:, -self.seen :], "phase": phase, "tiers": tiers}

    def step(self, codes: Any, state: State) -> tuple:
        recent = tf.concat([state["recent"][:, 1:], tf.cast(codes, tf.int32)[:, None]], 1)
        vector, tiers = self.tiers.step(recent, state["tiers"], state["phase"][0])
        logits = self._logits(self.lookback.step(recent) + vector)
        return logits, {"recent": recent, "phase": (state["phase"] + 1) % self.hop, "tiers": tiers}

    def _logits(self, x: Any) -> Any:
        """The sample-level network, from what it knows of each code's past: float [..., dense] -> [..., 256]."""
        return self.head(self.hidden(tf.nn.relu(x)))
