"""Definition of an experiment: its YAML file."""

import itertools
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from audiornn.common.errors import AudioRNNError, shown
from audiornn.common.serialization import read_yaml
from audiornn.common.validation import Section, did_you_mean, validate

FOLDER = Path("experiments")
DOTTED = re.compile(r"[^.\s]{1,60}(\.[^.\s]{1,60}){0,9}")

Overrides = dict[str, Any]  # values by dotted name


SeedKey = Literal["corpus.seed", "shard.seed", "train.seed", "evaluate.seed", "generate.seed"]
Number = Annotated[int, Field(ge=-(2**53), le=2**53)] | float
Repeats = Annotated[int, Field(ge=1, le=100)]
Trials = Annotated[int, Field(ge=1, le=1000)]


class Range(Section):
    """Values that a search chooses from: a range of numbers, or a `choice` of any values.

    With whole numbers as both ends it is one of integers. `log`: on a logarithmic scale. `step`: multiples of it above
    the lower end alone.
    """

    low: Number | None = None
    high: Number | None = None
    log: bool = False
    step: Number | None = None
    choice: Annotated[list[Any], Field(min_length=1, max_length=100)] | None = None

    @model_validator(mode="after")
    def _is_one_kind(self) -> "Range":
        ends = self.low, self.high
        if self.choice is not None:
            if ends != (None, None) or self.log or self.step is not None:
                raise ValueError("choice is given, so that low, high, log and step must not be")
            return self
        if self.low is None or self.high is None:
            raise ValueError("low and high, or choice, must be given")
        if self.low >= self.high:
            raise ValueError(f"low is {self.low:g}, but must be below high, {self.high:g}")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("log is true, so that low must be above 0, and step not given")
        if self.step is not None and not 0 < self.step <= self.high - self.low:
            raise ValueError(f"step is {self.step:g}, but must be above 0, up to {self.high - self.low:g}")
        if self.step is not None and self.is_integer and not isinstance(self.step, int):
            raise ValueError(f"step is {self.step:g}, but must be a whole number, as low and high are")
        return self

    @property
    def is_integer(self) -> bool:
        """Whether it is a range of whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def describe(self) -> str:
        """The range in words."""
        if self.choice is not None:
            return f"one of {', '.join(map(str, self.choice))}"
        scale = " on a logarithmic scale" if self.log else f" in steps of {self.step:g}" if self.step else ""
        return f"{'whole numbers ' if self.is_integer else ''}from {self.low:g} to {self.high:g}{scale}"

    @property
    def ends(self) -> list[Any]:
        """Its two ends, or all values of a choice."""
        return [self.low, self.high] if self.choice is None else list(self.choice)


class Experiment(Section):
    """A file of `experiments/`.

    Attributes
    ----------
    description
        What it is for.
    takes
        How long it takes on 2 cores, in words.
    set
        Overrides for all settings.
    sweep, settings, search
        What varies: lists of values, of which each combination is a setting; settings by name; or ranges to search.
    repeat, seeds
        How many times each setting runs, and the parameters that differ between these runs: by 1 each time.
    trials, prune
        Of a search: how many settings to try, and whether to stop trainings that are behind.
    """

    description: Annotated[str, Field(min_length=1)]
    takes: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    set: Overrides = Field(default_factory=dict)
    sweep: Annotated[dict[str, Annotated[list[Any], Field(min_length=1)]], Field(min_length=1)] | None = None
    settings: Annotated[dict[str, Overrides], Field(min_length=1)] | None = None
    repeat: Repeats | None = None
    seeds: list[SeedKey] = Field(default_factory=lambda: list[SeedKey](["train.seed"]), min_length=1)
    search: Annotated[dict[str, Range], Field(min_length=1)] | None = None
    trials: Trials | None = None
    prune: bool = True

    @field_validator("set", "sweep", "settings", "search")
    @classmethod
    def _keys_are_dotted(cls, content: dict[str, Any] | None, info: ValidationInfo) -> dict[str, Any] | None:
        trees = list(content.values()) if info.field_name == "settings" and content else [content or {}]
        for key in itertools.chain(*trees):
            if not DOTTED.fullmatch(key):
                raise ValueError(f"must have keys such as shard.context, not {shown(key)}")
        return content

    @model_validator(mode="after")
    def _one_way_to_vary(self) -> "Experiment":
        given = [name for name in ("sweep", "settings", "search") if getattr(self, name)]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} are both given, but an experiment has only one of them")
        if self.search and self.repeat:
            raise ValueError("search and repeat are both given: repeat the best setting afterwards instead")
        if bool(self.search) != bool(self.trials):
            raise ValueError("search and trials must be given together")
        varied = set(self.sweep or {}) | {key for setting in (self.settings or {}).values() for key in setting}
        if self.repeat and (taken := sorted(varied & set(self.seeds))):
            raise ValueError(f"repeat is given, so that {', '.join(taken)} must not vary by itself")
        varied |= set(self.search or {})
        if twice := sorted(varied & self.set.keys()):
            raise ValueError(f"{', '.join(twice)} is also in set, but a parameter that varies must be in one place")
        return self


def list_experiments(folder: str | Path = FOLDER) -> dict[str, Experiment]:
    """All experiments of a folder, by name."""
    return {path.stem: read(path.stem, folder) for path in sorted(Path(folder).glob("*.yaml"))}


def read(name: str, folder: str | Path = FOLDER, **changes: object) -> Experiment:
    """Read and validate an experiment's file.

    Parameters
    ----------
    name
        Of the experiment.
    folder
        That holds the file.
    changes
        Entries that take precedence over the file's, unless they are None.

    Raises
    ------
    AudioRNNError
        If there is none of that name, or the file is not valid.
    """
    path = Path(folder) / f"{name}.yaml"
    names = sorted(other.stem for other in Path(folder).glob("*.yaml"))
    if name not in names:
        hint = did_you_mean(name, names, f"there are {', '.join(names) or 'none'}")
        raise AudioRNNError(f"{path}: no such experiment; {hint}")
    changed = {key: value for key, value in changes.items() if value is not None}
    return validate(Experiment, {**read_yaml(path, "keys and values"), **changed}, path)
