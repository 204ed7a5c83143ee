"""Definition of an experiment: its YAML file."""

import difflib
import itertools
import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationInfo, field_validator, model_validator

from audiornn.errors import AudioRNNError, shown
from audiornn.files import read_yaml
from audiornn.validation import Section, validate

FOLDER = Path("experiments")
DOTTED = re.compile(r"[^.\s]{1,60}(\.[^.\s]{1,60}){0,9}")

Overrides = dict[str, Any]  # values by dotted name


class Experiment(Section):
    """A file of `experiments/`."""

    description: Annotated[str, Field(min_length=1)]
    set: Overrides = Field(default_factory=dict)
    sweep: Annotated[dict[str, Annotated[list[Any], Field(min_length=1)]], Field(min_length=1)] | None = None
    settings: Annotated[dict[str, Overrides], Field(min_length=1)] | None = None

    @field_validator("set", "sweep", "settings")
    @classmethod
    def _keys_are_dotted(cls, content: dict[str, Any] | None, info: ValidationInfo) -> dict[str, Any] | None:
        trees = list(content.values()) if info.field_name == "settings" and content else [content or {}]
        for key in itertools.chain(*trees):
            if not DOTTED.fullmatch(key):
                raise ValueError(f"must have keys such as shard.context, not {shown(key)}")
        return content

    @model_validator(mode="after")
    def _one_way_to_vary(self) -> "Experiment":
        if self.sweep and self.settings:
            raise ValueError("sweep and settings are both given, but an experiment has only one of them")
        varied = set(self.sweep or {}) | {key for setting in (self.settings or {}).values() for key in setting}
        if twice := sorted(varied & self.set.keys()):
            raise ValueError(f"{', '.join(twice)} is also in set, but a parameter that varies must be in one place")
        return self


def list_experiments(folder: str | Path = FOLDER) -> dict[str, Experiment]:
    """All experiments of a folder, by name."""
    return {path.stem: read(path.stem, folder) for path in sorted(Path(folder).glob("*.yaml"))}


def read(name: str, folder: str | Path = FOLDER) -> Experiment:
    """Read and validate an experiment's file.

    Raises
    ------
    AudioRNNError
        If there is none of that name, or the file is not valid.
    """
    path = Path(folder) / f"{name}.yaml"
    names = sorted(other.stem for other in Path(folder).glob("*.yaml"))
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(names) or 'none'}"
        raise AudioRNNError(f"{path}: no such experiment; {hint}")
    return validate(Experiment, read_yaml(path, "keys and values"), path)
