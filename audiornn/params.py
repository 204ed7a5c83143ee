"""params.yaml as typed, validated objects. A section has the name of its stage."""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from audiornn.common.serialization import read_yaml
from audiornn.common.validation import Count, Section, Seed, Share, validate

DAY = 86_400.0  # seconds: the most audio that is held in memory
TEST_PROMPT = "test"  # the `generate.prompt` that selects passages of the test split
BatchSize = Annotated[int, Field(ge=1, le=1 << 16)]


class Corpus(Section):
    renamed: ClassVar[dict[str, str]] = {"synth": "synthetic"}

    path: Annotated[str, Field(min_length=1)] | None = None
    synthetic: Literal["speech", "voices", "music"] = "speech"
    minutes: Annotated[float, Field(gt=0, le=600)] = 16.0
    seed: Seed = 0


class Resample(Section):
    sample_rate: Annotated[int, Field(ge=1000, le=384_000)] = 8000
    highpass_hz: Annotated[float, Field(ge=0)] = 20.0

    @model_validator(mode="after")
    def _below_nyquist(self) -> "Resample":
        if self.highpass_hz >= self.sample_rate / 2:
            raise ValueError(
                f"highpass_hz is {self.highpass_hz:g}, but must be below half of sample_rate, {self.sample_rate / 2:g}"
            )
        return self


class Encode(Section):
    preemphasis: Annotated[float, Field(ge=0, lt=1)] = 0.95


class Shard(Section):
    renamed: ClassVar[dict[str, str]] = {"span": "targets_per_window", "shift": "stride"}

    context: Count = 1000
    targets_per_window: Count | None = None
    stride: Count | None = None
    validation: Share = 0.1
    test: Share = 0.1
    megabytes: Annotated[float, Field(gt=0, le=1e6)] = 32.0
    seed: Seed = 0

    @model_validator(mode="after")
    def _leave_training_data(self) -> "Shard":
        if self.validation + self.test >= 1:
            total = self.validation + self.test
            raise ValueError(
                f"validation and test are {self.validation:g} and {self.test:g}, together {total:g}, "
                "but must leave a share for training: a sum below 1"
            )
        return self


class ModelParams(Section):
    """A model's name and its sizes, which `models.storage.complete` validates."""

    model_config = ConfigDict(extra="allow")

    name: str = "samplernn"

    @model_validator(mode="before")
    @classmethod
    def _has_a_name(cls, content: object) -> object:
        if not isinstance(content, dict | cls | None):
            raise ValueError("must be a section with the key name and the sizes that differ from the defaults")
        return content

    @field_validator("name")
    @classmethod
    def _is_a_model(cls, name: str) -> str:
        from audiornn.models.registry import REGISTRY  # the names alone, none of the models

        if name not in REGISTRY:
            raise ValueError(f"must be one of {', '.join(REGISTRY)}")
        return name

    @property
    def sizes(self) -> dict[str, Any]:
        """The given sizes; others have the model's defaults."""
        return dict(self.model_extra or {})


class Train(Section):
    renamed: ClassVar[dict[str, str]] = {
        "batch": "batch_size",
        "accumulate": "accumulation_steps",
        "piece": "chunk",
        "crop": "crop_targets",
        "evaluate_steps": "validate_every_steps",
        "listen_every": "clip_every_epochs",
    }

    model: ModelParams = ModelParams()
    start_from: Annotated[str, Field(min_length=1, pattern=r"^[^\x00]*$")] | None = None
    strategy: Literal["auto", "default", "mirrored", "multiworker"] = "auto"
    shard_policy: Literal["auto", "data", "file"] = "auto"
    objective: Literal["sequence", "window"] = "sequence"
    epochs: Count | None = 2
    steps: Count | None = None
    minutes: Annotated[float, Field(gt=0)] | None = None
    batch_size: BatchSize | None = None
    accumulation_steps: Count = 1
    chunk: Count | None = None
    crop_targets: Count | None = None
    optimizer: Literal["adamw", "adam", "rmsprop"] = "adamw"
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 0.004
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup_steps: Annotated[int, Field(ge=0, lt=2**31)] = 100
    weight_decay: Annotated[float, Field(ge=0, lt=1)] = 0.01
    clip_norm: Annotated[float, Field(gt=0)] = 1.0
    ema: Share | None = None
    input_noise: Annotated[float, Field(ge=0, le=1)] = 0.0
    mixed_precision: Literal[False, True, "auto"] = False
    validate_every_steps: Count | None = None
    patience: Count | None = 5
    divergence_bits: Annotated[float, Field(gt=0)] = 3.0
    checkpoint_minutes: Annotated[float, Field(gt=0)] | None = 2.0
    checkpoint_steps: Count | None = None
    clip_every_epochs: Annotated[float, Field(gt=0)] | None = 1.0
    seed: Seed = 0

    @model_validator(mode="after")
    def _one_budget(self) -> "Train":
        """Steps or minutes replace epochs, the default budget, so that one override is enough; epochs is then None."""
        if self.steps and self.minutes:
            raise ValueError(f"steps is {self.steps} and minutes is {self.minutes:g}, but one of them must be null")
        if self.steps or self.minutes:
            self.__dict__["epochs"] = None  # the section is frozen to all but its own validation
        elif self.epochs is None:
            raise ValueError("epochs, steps and minutes are null, but one of them must be set")
        return self

    @model_validator(mode="after")
    def _chunks_of_sequences(self) -> "Train":
        if self.objective == "window" and self.chunk:
            raise ValueError(
                f"chunk is {self.chunk}, but must be null if objective is window, as a window then has one target"
            )
        return self


class Evaluate(Section):
    renamed: ClassVar[dict[str, str]] = {"batch": "batch_size"}

    batch_size: BatchSize | None = None
    context_targets: Annotated[int, Field(ge=2, lt=2**31)] = 512
    seed: Seed = 0


class Report(Section):
    clips: Annotated[int, Field(ge=0, le=1000)] = 8
    seconds: Annotated[float, Field(gt=0, le=DAY)] = 30.0


Temperature = Annotated[float, Field(ge=0, le=10)]


class Generate(Section):
    renamed: ClassVar[dict[str, str]] = {"certain": "confidence_threshold", "level": "peak_mode"}

    seconds: Annotated[float, Field(gt=0, le=DAY)] = 4.0
    count: Annotated[int, Field(ge=1, le=10_000)] = 1
    temperature: tuple[Temperature | tuple[Temperature, Temperature], ...] = (1.0,)
    top_k: Annotated[int, Field(ge=0, le=256)] = 0
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.998
    confidence_threshold: Annotated[float, Field(gt=0, le=1)] = 0.5
    prompt: Annotated[str, Field(min_length=1)] | None = TEST_PROMPT
    prompt_offset: Annotated[float, Field(ge=0, le=DAY)] = 0.0
    prompt_seconds: Annotated[float, Field(gt=0, le=DAY)] = 0.5
    peak_mode: Literal["safe", "normalise", "limit"] = "safe"
    engine: Literal["auto", "fused", "fused-bf16", "tensorflow"] = "auto"
    seed: Seed = 0

    @field_validator("temperature", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> tuple[float | tuple[float, float], ...]:
        values = value if isinstance(value, list | tuple) else [value]
        if not values:
            raise ValueError("must be a number from 0 to 10, a ramp such as 0.7:1.1, or a list of these")
        return tuple(temperature(v) for v in values)

    @model_validator(mode="after")
    def _fit_in_memory(self) -> "Generate":
        if (total := self.clips * self.seconds) > DAY:
            raise ValueError(f"all clips together have {total:g} seconds, but must not exceed a day, {DAY:g}")
        return self

    @property
    def clips(self) -> int:
        """How many clips there are: `count` at each temperature."""
        return len(self.temperature) * self.count


def temperature(value: object) -> float | tuple[float, float]:
    """Parse a temperature: 0 (always the likeliest code) to 10, or a ramp such as the text `0.7:1.1`.

    Raises
    ------
    ValueError
        If it is anything else.
    """
    if isinstance(value, str) and value.count(":") == 1:
        value = tuple(value.split(":"))
    ends = value if isinstance(value, tuple) else (value,)
    try:
        if any(isinstance(end, bool) for end in ends):
            raise ValueError
        numbers = tuple(float(end) for end in ends)
    except (TypeError, ValueError, OverflowError):
        raise ValueError("must be a number from 0 to 10, a ramp such as 0.7:1.1, or a list of these") from None
    if len(numbers) not in (1, 2) or not all(0 <= n <= 10 for n in numbers):
        raise ValueError("must be from 0 (always the likeliest code) to 10")
    return numbers if len(numbers) == 2 else numbers[0]


class Params(Section):
    corpus: Corpus = Corpus()
    resample: Resample = Resample()
    encode: Encode = Encode()
    shard: Shard = Shard()
    train: Train = Train()
    evaluate: Evaluate = Evaluate()
    generate: Generate = Generate()
    report: Report = Report()


def load(path: str | Path = "params.yaml") -> Params:
    """Read and validate a parameter file.

    Raises
    ------
    AudioRNNError
        If it is missing, is not YAML, or has an unknown key, a value of the wrong type or range, or values that exclude
        each other. One line per problem: the key, its value, what would be valid, for a typo the closest key.
    """
    content = read_yaml(path, f"sections: {', '.join(Params.model_fields)}")
    return validate(Params, content, path)
