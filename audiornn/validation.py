"""Validation of parameters and of JSON: the pydantic base class and error messages of one line each."""

import difflib
import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field, SkipValidation, TypeAdapter, ValidationError, model_validator

from audiornn.errors import AudioRNNError

Share = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
# Text with names of files in it: POSIX allows any bytes, which Python escapes by surrogates, and pydantic refuses.
AnyText = Annotated[str, SkipValidation]
S = TypeVar("S", bound="Section")
T = TypeVar("T")


class Section(BaseModel):
    """Base class of all sections: no unknown keys, no silent conversions, immutable."""

    renamed: ClassVar[dict[str, str]] = {}  # keys of earlier versions, and what they are called now

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False, protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _null_is_empty(cls, content: object) -> object:
        """A section with all keys commented out is null in YAML: it has its defaults."""
        return {} if content is None else content


def validate(kind: type[S], content: object, where: str | Path) -> S:
    """Validate a mapping as `kind`; errors name `where` it came from."""
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        lines = [_explain(kind, dict(problem)) for problem in error.errors()]
        raise AudioRNNError("\n".join(f"{where}: {line}" for line in dict.fromkeys(lines))) from None


def parse(kind: type[T], content: object, where: str | Path) -> T:
    """Build a dataclass, or what else `kind` says, from JSON as `files.read_json` gives it; unknown keys are ignored.

    Raises
    ------
    AudioRNNError
        If an entry is missing or of the wrong type: a line for each, with `where` the content came from.
    """
    try:
        return TypeAdapter(kind).validate_python(content)
    except ValidationError as error:
        lines = []
        for problem in error.errors():
            key = ".".join(str(part) for part in problem["loc"])
            if problem["type"] == "missing":
                lines.append(f"{where}: has no entry {key}")
            else:
                message = re.sub("^(Input|String|List|Dictionary) should", "must", str(problem["msg"]))
                lines.append(f"{where}: {key + ' ' if key else ''}is {_shortened(problem['input'])}, but {message}")
        raise AudioRNNError("\n".join(lines)) from None


def _shortened(value: object, length: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= length else f"{text[:length]}..."


def _explain(kind: type[Section], problem: dict[str, Any]) -> str:
    """One line that tells the user what to change, from one of pydantic's errors."""
    # A key may contain a line break, but the message is one line.
    place = [text if (text := str(part)).isprintable() else repr(text) for part in problem["loc"]]
    key = ".".join(place)
    value = problem["input"]
    if problem["type"] == "extra_forbidden":
        known = list(_fields(kind, place[:-1]))
        prefix = "".join(f"{part}." for part in place[:-1])
        if present := _section(kind, place[:-1]).renamed.get(place[-1]):
            return f"unknown key {key} (value {value!r}); it is now called {prefix}{present}"
        near = [prefix + name for name in _nearest(place[-1], known)]
        hint = f"did you mean {' or '.join(near)}?" if near else f"known keys are {', '.join(known)}"
        return f"unknown key {key} (value {value!r}); {hint}"
    if problem["type"] == "invalid_key":
        return f"unknown key {key}; known keys are {', '.join(_fields(kind, place[:-1]))}"
    if problem["type"] == "model_type":
        return f"{key} is {value!r}, but must be a section with the keys {', '.join(_fields(kind, place))}"
    message = re.sub("^(Value error, )?((Input|String|List|Dictionary) )?should", "must", str(problem["msg"]))
    message = message.removeprefix("Value error, ")
    if isinstance(value, str) and problem["type"] in ("int_type", "float_type"):
        message += ", not text: without quotes, and 1e-3 as 0.001"
    if not message.startswith("must"):
        return f"{key}: {message}".removeprefix(": ")  # a check of several keys: the message names them
    return f"{key} is {value!r}, but {message}"


def _nearest(word: str, known: list[str]) -> list[str]:
    """Known words closest to a mistyped one: several if equally close, none if all are far."""

    def nearness(name: str) -> tuple[bool, float]:
        return sorted(name) == sorted(word), difflib.SequenceMatcher(a=word, b=name).ratio()

    near = difflib.get_close_matches(word, known, cutoff=0.5)
    best = max(map(nearness, near), default=None)
    return [name for name in known if name in near and nearness(name) == best]


def _section(kind: type[Section], place: list[str]) -> type[Section]:
    for key in place:
        kind = kind.model_fields[key].annotation  # type: ignore[assignment]
    return kind


def _fields(kind: type[Section], place: list[str]) -> dict[str, Any]:
    return _section(kind, place).model_fields
