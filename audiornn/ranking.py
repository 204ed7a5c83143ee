"""Which of two models is better: by bits per sample, and by how it sounds. Plain numbers; nothing heavy is imported."""

import math
from dataclasses import dataclass

FAR = 1.0  # distance from real audio, as a multiple of what that itself stays within, beyond which a model sounds wrong
FLAWED = 0.25  # share of clips with findings beyond which it does, too


@dataclass(frozen=True)
class Standing:
    """What two models are compared by.

    Attributes
    ----------
    bits
        Per sample, on validation.
    ratio
        Distance from real audio as a multiple of the limit; None where it was not measured, or no clip was audible.
    flawed
        The share of clips with findings; None where sound was not measured.
    """

    bits: float
    ratio: float | None = None
    flawed: float | None = None

    @property
    def heard(self) -> bool:
        """Whether its sound was measured."""
        return self.flawed is not None

    @property
    def acceptable(self) -> bool:
        """Whether it is known to sound acceptable: near enough to real audio, with few flawed clips."""
        return self.ratio is not None and self.flawed is not None and self.ratio <= FAR and self.flawed <= FLAWED

    @property
    def order(self) -> tuple[bool, float]:
        """What sorts models by sound, the best first: acceptable ones before others, then by distance."""
        return not self.acceptable, math.inf if self.ratio is None else self.ratio
