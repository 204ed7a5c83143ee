"""Divergence: a loss that is not finite, or whose running mean rises far above its minimum."""

import math
from dataclasses import dataclass

from audiornn.codec_metrics import BITS_PER_NAT
from audiornn.params import Train

SMOOTHING = 0.9  # of the running mean


@dataclass
class DivergenceMonitor:
    """The running mean of the loss, and its minimum, in nats per target."""

    running_loss: float = math.nan
    lowest_loss: float = math.inf

    def observe(self, loss: float, max_rise: float) -> str | None:
        """Add the loss of an update; returns how training diverged, or None if it did not.

        Parameters
        ----------
        loss
            Mean over the targets of the update, in nats.
        max_rise
            Bits by which the running loss may exceed its minimum.
        """
        before = loss if math.isnan(self.running_loss) else self.running_loss
        self.running_loss = SMOOTHING * before + (1 - SMOOTHING) * loss
        self.lowest_loss = min(self.lowest_loss, self.running_loss)
        if not math.isfinite(loss):
            return f"the loss is {loss}"
        if (self.running_loss - self.lowest_loss) * BITS_PER_NAT > max_rise:
            running, lowest = self.running_loss * BITS_PER_NAT, self.lowest_loss * BITS_PER_NAT
            return f"the running loss rose to {running:.2f} bits, {running - lowest:.2f} above its lowest"
        return None


def divergence_message(cause: str, epoch: int, step: int, best_epoch: float, params: Train) -> str:
    """The message that training diverged, which weights are kept, and what may help.

    Parameters
    ----------
    cause
        As `DivergenceMonitor.observe` returns it.
    best_epoch
        Epoch of the best weights; 0 if there are none.
    """
    kept = f"the weights of epoch {best_epoch:g} are kept" if best_epoch else "there is no model to keep"
    return (
        f"training diverged in epoch {epoch}, step {step}: {cause}; {kept}; "
        f"a train.learning_rate below {params.learning_rate:g} or a train.clip_norm below {params.clip_norm:g} "
        "may help"
    )
