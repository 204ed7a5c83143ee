"""Common base of `samplernn` and `linear`."""

import abc

from audiornn.backend import tf
from audiornn.codec import SILENCE
from audiornn.common.array_types import Tensor
from audiornn.models.base import AudioModel, State
from audiornn.models.layers.lpc_prior import Prior
from audiornn.models.layers.tiers import LookBack, Tiers


class TieredModel(AudioModel):
    """A model of tiers, a look-back over the last codes, and a network at sample level on the sum of both.

    Its constructor calls `_assemble`, and makes what `logits` needs.
    """

    def _assemble(self, tiers: Tiers, lookback: LookBack, predictor: bool) -> None:
        """Set up everything but the network at sample level, optionally with linear prediction."""
        self.tiers, self.lookback = tiers, lookback
        self.prior = Prior(lookback.width, name="prior") if predictor else None
        self.hop, self.history_length = tiers.frames[0], max(*tiers.windows, lookback.length)

    @abc.abstractmethod
    def logits(self, x: Tensor) -> Tensor:
        """The network at sample level: inputs [..., width] -> logits [..., 256]."""

    def initial_state(self, batch: int | Tensor) -> State:
        return {
            "history": tf.fill([batch, self.history_length], SILENCE),
            "phase": tf.zeros([batch], tf.int32),  # codes since the slowest tier's tick
            "tiers": self.tiers.initial_state(batch),
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
        time = codes.shape[1]
        skip = time - (num_last or time)
        recent = tf.concat([state["history"], tf.cast(codes, tf.int32)], 1)
        vectors, tiers = self.tiers.forward(recent, state["tiers"], time, skip)
        x = vectors + self.lookback.forward(recent[:, self.history_length + 1 - self.lookback.length + skip :])
        after = {
            "history": recent[:, -self.history_length :],
            "phase": (state["phase"] + time) % self.hop,
            "tiers": tiers,
            "prior": [],
        }
        if not self.prior:
            return self.logits(x), after
        network_input, log_p, after["prior"] = self.prior.forward(codes, state["prior"], num_last, num_last)
        return self.logits(x + network_input) + log_p, after

    def step(self, codes: Tensor, state: State) -> tuple[Tensor, State]:
        recent = tf.concat([state["history"][:, 1:], tf.cast(codes, tf.int32)[:, None]], 1)
        vector, tiers = self.tiers.step(recent, state["tiers"], state["phase"][0])
        x = vector + self.lookback.step(recent)
        after = {"history": recent, "phase": (state["phase"] + 1) % self.hop, "tiers": tiers, "prior": []}
        if not self.prior:
            return self.logits(x), after
        network_input, log_p, after["prior"] = self.prior.step(codes, state["prior"])
        return self.logits(x + network_input) + log_p, after
