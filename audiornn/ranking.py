"""Ranking of models by bits per sample and by sound; no slow imports."""

import math
from dataclasses import dataclass

MAX_RATIO = 1.0  # maximum acceptable distance from real audio, as a multiple of the limit
MAX_FLAWED = 0.25  # maximum acceptable share of clips with findings
RATIO_NOISE = 0.15  # smaller differences of the distance may be chance, as measured in docs/experiments-howto.md


@dataclass(frozen=True)
class Standing:
    """Numbers by which models are compared.

    Attributes
    ----------
    bits
        Bits per sample on validation.
    ratio
        Distance from real audio as a multiple of the limit; None if not measured or no clip was audible.
    flawed
        Share of clips with findings; None if sound was not measured.
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
        """Whether it is known to sound acceptable: close to real audio, with few flawed clips."""
        return (
            self.ratio is not None and self.flawed is not None and self.ratio <= MAX_RATIO and self.flawed <= MAX_FLAWED
        )

    @property
    def expectation(self) -> str:
        """What to expect when listening, in a sentence."""
        if self.acceptable:
            return "Its sound is acceptable: close to real audio, with few findings."
        return (
            "It does not sound like the recordings yet: train longer, or continue from this model with "
            "train.start_from. What time buys: README.md, What to expect."
        )

    @property
    def order(self) -> tuple[bool, float]:
        """Sort key by sound, best first: acceptable models before others, then by distance."""
        return not self.acceptable, math.inf if self.ratio is None else self.ratio

    def describe(self) -> str:
        """Summary in one line."""
        if self.flawed is None:
            sound = "sound not measured"
        elif self.ratio is None:
            sound = f"silent, {self.flawed:.0%} of clips with findings"
        else:
            sound = f"distance {self.ratio:.2f} of the limit, {self.flawed:.0%} of clips with findings"
        return f"{self.bits:.3f} bits per sample, {sound}"


def replaces(challenger: Standing, champion: Standing) -> tuple[bool, str]:
    """Whether a challenger is better than the champion, and the reason, phrased to follow "by".

    - If both sound alike, the one with fewer bits is better. Alike: the distances differ by at most 0.15 of the limit,
      and the shares of clips with findings by at most a quarter, which may be chance.
    - Otherwise, if only one sounds acceptable, that one is better; if the shares of clips with findings differ by more
      than a quarter, the one with fewer; else the one closer to real audio.
    - If no sound was measured, the one with fewer bits is better. If only one was measured, that one if it is
      acceptable; otherwise the champion stays.

    On a tie the champion stays.
    """
    if challenger.flawed is None or champion.flawed is None:
        if challenger.heard or champion.heard:
            known = challenger if challenger.heard else champion
            sound = "acceptable" if known.acceptable else "not acceptable"
            return challenger.acceptable, f"sound, which was measured for one model only and is {sound}"
        return challenger.bits < champion.bits, "bits, as no sound was measured"
    (_, ours), (_, theirs) = challenger.order, champion.order
    clearly_nearer = ours != theirs and abs(ours - theirs) > RATIO_NOISE
    clearly_cleaner = abs(challenger.flawed - champion.flawed) > MAX_FLAWED
    if not clearly_nearer and not clearly_cleaner:
        return challenger.bits < champion.bits, "bits, as both sound alike"
    if challenger.acceptable != champion.acceptable:
        return challenger.acceptable, "sound, as only one model's is acceptable"
    if clearly_cleaner:
        return challenger.flawed < champion.flawed, "clips with findings, whose share clearly differs"
    return ours < theirs, "distance from real audio, which clearly differs"
