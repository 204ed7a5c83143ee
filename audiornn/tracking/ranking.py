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
    def expectation(self) -> str:
        """What to expect of listening to it, in a sentence."""
        if self.acceptable:
            return "Its sound is acceptable: near to real audio, with few findings."
        return "It does not sound like the recordings yet: train longer. What time buys: README.md, What to expect."

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

    - Where the two sound alike, the one with fewer bits is better. Alike means: the distances differ by no more than
      0.15 of the limit, and the shares of clips with findings by no more than a quarter, which may be chance.
    - Otherwise, where the sound of one alone is acceptable, that one is better; where the shares of clips with findings
      differ by more than a quarter, the one with fewer; else the one that is nearer to real audio.
    - Where no sound was measured, the one with fewer bits is better. Where only one was, that one if it is acceptable;
      if it is not, the champion stays.

    On a tie the champion stays.
    """
    if challenger.flawed is None or champion.flawed is None:
        if challenger.heard or champion.heard:
            known = challenger if challenger.heard else champion
            sound = "acceptable" if known.acceptable else "not acceptable"
            return challenger.acceptable, f"sound, as that of one model alone was measured, and is {sound}"
        return challenger.bits < champion.bits, "bits, as no sound was measured"
    (_, ours), (_, theirs) = challenger.order, champion.order
    clearly_nearer = ours != theirs and abs(ours - theirs) > NOISE
    clearly_cleaner = abs(challenger.flawed - champion.flawed) > FLAWED
    if not clearly_nearer and not clearly_cleaner:
        return challenger.bits < champion.bits, "bits, as both sound alike"
    if challenger.acceptable != champion.acceptable:
        return challenger.acceptable, "sound, as that of one model alone is acceptable"
    if clearly_cleaner:
        return challenger.flawed < champion.flawed, "clips with findings, as their share clearly differs"
    return ours < theirs, "distance from real audio, as it clearly differs"
