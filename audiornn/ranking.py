"""Which of two models is better: by bits per sample, and by how it sounds. Plain numbers; nothing heavy is imported."""

import math
from dataclasses import dataclass

FAR = 1.0  # distance from real audio, as a multiple of what that itself stays within, beyond which a model sounds wrong
FLAWED = 0.25  # share of clips with findings beyond which it does, too
NOISE = 0.15  # difference of that distance that is taken for chance; docs/experiments-howto.md says what was measured


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

    def describe(self) -> str:
        """All of it in a few words."""
        if self.flawed is None:
            sound = "sound not measured"
        elif self.ratio is None:
            sound = f"silent, {self.flawed:.0%} of clips with findings"
        else:
            sound = f"distance {self.ratio:.2f} of the limit, {self.flawed:.0%} of clips with findings"
        return f"{self.bits:.3f} bits per sample, {sound}"


def replaces(challenger: Standing, champion: Standing) -> tuple[bool, str]:
    """Whether a challenger is better than the champion, and what decided, to follow the word "by".

    - Where the sound of one alone is acceptable, that one is better.
    - Where both sound acceptable, the one that is clearly nearer to real audio is better: by more than 0.15 of the
      limit. If neither is, the one with fewer bits.
    - Where both sound wrong, the nearer one is better.
    - Where no sound was measured, the one with fewer bits is better. Where only one was, and sounds wrong, the champion
      stays.

    On a tie the champion stays.
    """
    if challenger.acceptable != champion.acceptable:
        return challenger.acceptable, "sound, as that of one model alone is known to be acceptable"
    if challenger.heard != champion.heard:
        return False, "sound, as that of one model was not measured and the other's is not acceptable"
    if challenger.heard and not challenger.acceptable:
        return challenger.order < champion.order, "distance from real audio, as both models sound wrong"
    if challenger.acceptable and abs(challenger.order[1] - champion.order[1]) > NOISE:
        return challenger.order < champion.order, "distance from real audio, as it clearly differs"
    why = "as both sound acceptable and about as near to real audio" if challenger.heard else "as no sound was measured"
    return challenger.bits < champion.bits, f"bits, {why}"
