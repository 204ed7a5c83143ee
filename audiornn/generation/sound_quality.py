"""Sound quality of a model, measured on a fixed set of clips so that runs can be compared."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from audiornn.common.waits import announced
from audiornn.diagnostics.diagnosis import Diagnosis
from audiornn.diagnostics.reference import Reference
from audiornn.generation import clips
from audiornn.models.base import AudioModel
from audiornn.params import Generate
from audiornn.preparation.recordings import SplitRecordings

STREAMS, SECONDS, PROMPT_SECONDS = 8, 4.0, 0.5  # of the fixed set: enough audio for a stable mean


@dataclass(frozen=True)
class Measured:
    """Measurements of a set of clips.

    Attributes
    ----------
    distance_db
        Mean distance of the audible clips from real audio; None if no clip is audible. Inaudible clips have findings,
        which `clips_with_findings` counts.
    distance_limit_db
        Maximum distance of real audio of the same length.
    findings
        Number of findings by kind, over all clips.
    clips_with_findings
        Share of clips with findings, 0 to 1.
    """

    distance_db: float | None
    distance_limit_db: float
    findings: Counter[str]
    clips_with_findings: float

    @classmethod
    def of(cls, diagnoses: Sequence[Diagnosis], limit: float) -> "Measured":
        """Summarise the diagnoses of clips of one length; `limit` is the distance limit of real audio in dB."""
        distances = [d.distance_db for d in diagnoses if d.distance_db is not None]
        return cls(
            distance_db=float(np.mean(distances)) if distances else None,
            distance_limit_db=limit,
            findings=Counter(finding.kind for d in diagnoses for finding in d.findings),
            clips_with_findings=float(np.mean([bool(d.findings) for d in diagnoses])),
        )

    @property
    def distance_ratio(self) -> float | None:
        """Distance as a multiple of the limit: up to 1, clips are as close as real audio."""
        return None if self.distance_db is None else self.distance_db / self.distance_limit_db

    def metrics(self) -> dict[str, float | None]:
        """Measurements by name."""
        return {
            "distance_db": self.distance_db,
            "distance_limit_db": self.distance_limit_db,
            "distance_ratio": self.distance_ratio,
            "findings": self.findings.total(),
            "clips_with_findings": self.clips_with_findings,
        }

    def describe(self) -> str:
        """Measurements in one line."""
        far = "silent" if self.distance_db is None else f"{self.distance_db:.1f} dB from real audio on average"
        found = ", ".join(f"{kind} {count}" for kind, count in sorted(self.findings.items()))
        return (
            f"{far}, real audio stays within {self.distance_limit_db:.1f} dB; "
            f"{self.clips_with_findings:.0%} of clips with findings" + (f" ({found})" if found else "")
        )


def measure(model: AudioModel, p: Generate, real: SplitRecordings, seed: int = 0, progress: bool = False) -> Measured:
    """Generate a fixed set of clips and measure their sound.

    The set does not depend on the clips that the user requests: 8 clips of 4 s at temperature 1, each continuing half a
    second of `real`, with a fixed seed, compared with all of `real`. Only the restrictions of sampling (`top_k`,
    `top_p`, `confidence_threshold`) and the engine are taken from `p`, so that the model is measured as it is used.

    Parameters
    ----------
    model
        With its codec.
    p
        The `generate` section.
    real
        The split that prompts are taken from and clips are compared with: validation, if models are selected by the
        result. Prompts are shorter if its longest recording has less than half a second.
    seed
        Random seed of prompts and sampling; other seeds show the variance of a result.
    progress
        Whether to show a progress bar on stderr.

    Raises
    ------
    AudioRNNError
        If the split has less than a second of sound.
    """
    rate = real.codec.sample_rate
    drawn = {key: getattr(p, key) for key in ("top_k", "top_p", "confidence_threshold", "engine")}
    request = Generate(seconds=SECONDS, count=STREAMS, temperature=(1.0,), seed=seed, **drawn)
    length = min(round(PROMPT_SECONDS * rate), max(len(codes) for codes in real.recordings))
    prompts = real.draw_prompts(STREAMS, length, request.seed)
    made, _ = clips.generate_clips(model, request, prompts, progress, "measure")
    with announced("comparing with the recordings"):
        reference = Reference.of(real.decode_all(), rate)
        return Measured.of(clips.diagnose(made, reference), reference.limit(SECONDS))
