"""How a model sounds, in numbers by which runs are compared: clips that are the same task for all, measured."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from audiornn.dataset.recordings import SplitRecordings
from audiornn.diagnostics.diagnosis import Diagnosis
from audiornn.diagnostics.reference import Reference
from audiornn.generation import clips
from audiornn.models.base import AudioModel
from audiornn.params import Generate

STREAMS, SECONDS, PROMPT_SECONDS = 8, 4.0, 0.5  # of the measuring set: enough audio for a mean that means something


@dataclass(frozen=True)
class Measured:
    """What was measured of a set of clips.

    Attributes
    ----------
    distance_db
        Mean distance of the audible clips from real audio; None where no clip is audible. Each of the others has a
        finding, so that `clips_with_findings` tells of them.
    distance_limit_db
        The distance that real audio of the clips' length stays within.
    findings
        How many findings of each kind there are, in all clips together.
    clips_with_findings
        The share of clips about which anything is abnormal, 0 to 1.
    """

    distance_db: float | None
    distance_limit_db: float
    findings: Counter[str]
    clips_with_findings: float

    @classmethod
    def of(cls, diagnoses: Sequence[Diagnosis], limit: float) -> "Measured":
        """Sum up the diagnoses of clips, of one length, for which real audio stays within `limit` dB."""
        distances = [d.frechet_distance for d in diagnoses if d.frechet_distance is not None]
        return cls(
            distance_db=float(np.mean(distances)) if distances else None,
            distance_limit_db=limit,
            findings=Counter(finding.kind for d in diagnoses for finding in d.findings),
            clips_with_findings=float(np.mean([bool(d.findings) for d in diagnoses])),
        )

    @property
    def distance_ratio(self) -> float | None:
        """The distance as a multiple of the limit: up to 1, clips are as near as real audio is."""
        return None if self.distance_db is None else self.distance_db / self.distance_limit_db

    def metrics(self) -> dict[str, float | None]:
        """The numbers by name."""
        return {
            "distance_db": self.distance_db,
            "distance_limit_db": self.distance_limit_db,
            "distance_ratio": self.distance_ratio,
            "findings": self.findings.total(),
            "clips_with_findings": self.clips_with_findings,
        }

    def describe(self) -> str:
        """The numbers in a line."""
        far = "silent" if self.distance_db is None else f"{self.distance_db:.1f} dB from real audio on average"
        found = ", ".join(f"{kind} {count}" for kind, count in sorted(self.findings.items()))
        return (
            f"{far}, real audio stays within {self.distance_limit_db:.1f} dB; "
            f"{self.clips_with_findings:.0%} of clips with findings" + (f" ({found})" if found else "")
        )


def measure(model: AudioModel, p: Generate, real: SplitRecordings, seed: int = 0) -> Measured:
    """Generate a set of clips and measure how they sound.

    The set is the same for each model and whatever clips a person asks for: 8 clips of 4 s at temperature 1, which
    continue half a second of `real` each, with the same seed, compared with all of `real`. Of the `generate` section
    only what restricts draws (`top_k`, `top_p`, `certain`) and the engine are as in `p`: the sound is that of the model
    as it is used.

    Parameters
    ----------
    model
        With its codec.
    p
        The `generate` section.
    real
        The split whose pieces are continued, and that the clips are compared with: validation, where models are chosen
        by what is measured. Where its longest recording has less than half a second, all of that is continued.
    seed
        Of the prompts and draws; another one tells how much of a result is chance.

    Raises
    ------
    AudioRNNError
        If the split holds not a second of sound.
    """
    rate = real.codec.sample_rate
    drawn = {key: getattr(p, key) for key in ("top_k", "top_p", "certain", "engine")}
    request = Generate(seconds=SECONDS, count=STREAMS, temperature=(1.0,), seed=seed, **drawn)
    length = min(round(PROMPT_SECONDS * rate), max(len(codes) for codes in real.recordings))
    made, _ = clips.generate_clips(model, request, real.prompts(STREAMS, length, request.seed))
    reference = Reference.of(real.waves(), rate)
    return Measured.of(clips.diagnose(made, reference), reference.limit(SECONDS))
