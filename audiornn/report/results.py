"""Results of a run, as the stages wrote them: one definition for the report and `audiornn summary`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import Field

from audiornn.codec_metrics import CodecMetrics
from audiornn.common.serialization import read_json
from audiornn.common.validation import Size, parse
from audiornn.ranking import Standing

T = TypeVar("T")
Number = Annotated[float, Field(allow_inf_nan=False)]


@dataclass(frozen=True)
class TrainingResults:
    """`metrics/train.json`; `targets_per_second` without validation."""

    parameters: Size
    steps: Size
    epochs: Number
    best_epoch: Number
    targets_per_second: Number
    diverged: bool


@dataclass(frozen=True)
class ValidationScores:
    """Scores of the validation split."""

    bits_per_sample: Number


@dataclass(frozen=True)
class DetailedScores:
    """Scores of the test split; accuracies in 0 to 1."""

    bits_per_sample: Number
    accuracy: Number
    top5_accuracy: Number
    calibration_error: Number
    targets: Size


@dataclass(frozen=True)
class Scores:
    """`metrics/evaluate.json`."""

    validation: ValidationScores
    test: DetailedScores


@dataclass(frozen=True)
class GenerationResults:
    """`metrics/generate.json`: speed, and how near the sound of a fixed set of clips is to real audio.

    `distance_db` and `distance_ratio` are None if no clip was audible.
    """

    samples_per_second: Number
    real_time_factor: Number
    code_divergence: Number
    real_code_divergence: Number
    distance_db: Number | None
    distance_ratio: Number | None
    distance_limit_db: Number
    findings: Size
    clips_with_findings: Number


@dataclass(frozen=True)
class ClipResults:
    """An entry of `generated/clips.json`: levels, measurements and findings of a clip."""

    seconds: Number
    rms_dbfs: Number
    peak_dbfs: Number
    silent_share: Number
    flatness: Number
    centroid_hz: Number
    code_divergence: Number
    distance_db: Number | None
    distance_limit_db: Number | None
    findings: str
    advice: str


@dataclass(frozen=True)
class Results:
    """All results of a run; clips by name."""

    codes: CodecMetrics
    training: TrainingResults
    scores: Scores
    generation: GenerationResults
    clips: Mapping[str, ClipResults]

    @property
    def standing(self) -> Standing:
        """The numbers by which models are compared."""
        made = self.generation
        return Standing(self.scores.validation.bits_per_sample, made.distance_ratio, made.clips_with_findings)


def read_results(root: Path) -> Results:
    """The results in a workspace.

    Raises
    ------
    AudioRNNError
        If a file is missing, lacks an entry, or has one of the wrong type; it names both.
    """

    def read(kind: type[T], name: str) -> T:
        return parse(kind, read_json(root / name), root / name)

    return Results(
        read(CodecMetrics, "metrics/encode.json"),
        read(TrainingResults, "metrics/train.json"),
        read(Scores, "metrics/evaluate.json"),
        read(GenerationResults, "metrics/generate.json"),
        read(dict[str, ClipResults], "generated/clips.json"),
    )
