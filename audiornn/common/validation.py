"""Validation of parameters and of JSON: the pydantic base class and error messages of one line each."""

import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SkipValidation,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from audiornn.common.errors import AudioRNNError, one_line, shown

MAX_PROBLEMS = 100  # lines of an error

Share = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1, lt=2**31)]
Width = Annotated[int, Field(ge=1, le=4096)]  # of a model's layer
Layers = Annotated[int, Field(ge=0, le=32)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Size = Annotated[int, Field(ge=0, lt=2**63)]  # of what is on disk


def _is_text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("must be text")
    return value


def _is_file_name(name: str) -> str:
    plain = name.isascii() and name.isprintable() and len(name) <= 255
    if name in ("", ".", "..") or "/" in name or not plain:
        raise ValueError("must be the plain name of a file in the folder")
    return name


def _stays_below(path: str) -> str:
    if not _is_text(path) or Path(path).is_absolute() or ".." in Path(path).parts or "\0" in path:
        raise ValueError("must be a path below the folder")
    return path


# Text with names of files in it: POSIX allows any bytes, which Python escapes by surrogates, and pydantic refuses.
AnyText = Annotated[str, SkipValidation, AfterValidator(_is_text)]
# Links are followed: those of DVC's cache lead out of the folder. What they lead to is compared with its digest.
FileName = Annotated[str, AfterValidator(_is_file_name)]
RelativePath = Annotated[str, SkipValidation, AfterValidator(_stays_below)]
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
        raise _all_of(where, [_explain(kind, dict(problem)) for problem in error.errors()]) from None
    except RecursionError:
        raise AudioRNNError(f"{where}: nested too deep") from None


def parse(kind: type[T], content: object, where: str | Path) -> T:
    """Build a dataclass, or what else `kind` says, from JSON as `read_json` gives it; unknown keys are ignored.

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
            key = ".".join(str(part)[:60] for part in problem["loc"])
            if problem["type"] == "missing":
                lines.append(f"has no entry {key}")
            else:
                lines.append(f"{key + ' ' if key else ''}is {shown(problem['input'])}, but {_must(problem['msg'])}")
        raise _all_of(where, lines) from None


def _all_of(where: str | Path, lines: list[str]) -> AudioRNNError:
    """An error of a line for each problem, or for the first hundred."""
    lines = list(dict.fromkeys(map(one_line, lines)))
    more = len(lines) - MAX_PROBLEMS
    lines[MAX_PROBLEMS:] = [f"and {more} more problems"] if more > 0 else []
    return AudioRNNError("\n".join(f"{where}: {line}" for line in lines))


def _explain(kind: type[Section], problem: dict[str, Any]) -> str:
    """One line that tells the user what to change, from one of pydantic's errors."""
    place = [str(part) for part in problem["loc"]]
    # A key may contain a line break, but the message is one line.
    key = ".".join(text if text.isprintable() and len(text) <= 60 else shown(text) for text in place)
    value = problem["input"]
    if problem["type"] == "extra_forbidden":
        known = list(_fields(kind, place[:-1]))
        prefix = "".join(f"{part}." for part in place[:-1])
        if present := _section(kind, place[:-1]).renamed.get(place[-1]):
            return f"unknown key {key} (value {shown(value)}); it is now called {prefix}{present}"
        hint = did_you_mean(place[-1], known, f"known keys are {', '.join(known)}", prefix)
        return f"unknown key {key} (value {shown(value)}); {hint}"
    if problem["type"] == "invalid_key":
        return f"unknown key {key}; known keys are {', '.join(_fields(kind, place[:-1]))}"
    if problem["type"] == "model_type":
        return f"{key} is {shown(value)}, but must be a section with the keys {', '.join(_fields(kind, place))}"
    message = _must(problem["msg"])
    if isinstance(value, str) and problem["type"] in ("int_type", "float_type"):
        message += ", not text: without quotes, and 1e-3 as 0.001"
    if not message.startswith("must"):
        return f"{key}: {message}".removeprefix(": ")  # a check of several keys: the message names them
    return f"{key} is {shown(value)}, but {message}"


def _must(message: str) -> str:
    """What would be right, from a message of pydantic's."""
    message = re.sub("^(Value error, )?((Input|String|List|Dictionary|Tuple) )?should", "must", message)
    return message.removeprefix("Value error, ")


def did_you_mean(word: str, known: Sequence[str], otherwise: str, prefix: str = "") -> str:
    """What an error adds about an unknown word: the known words closest to it, or `otherwise` if all are far."""
    near = [prefix + name for name in _nearest(word, known)]
    return f"did you mean {' or '.join(near)}?" if near else otherwise


def _nearest(word: str, known: Sequence[str]) -> list[str]:
    """Known words closest to a mistyped one: several if equally close, none if all are far."""

    def nearness(name: str) -> tuple[bool, float]:
        return sorted(name) == sorted(word), difflib.SequenceMatcher(a=word, b=name).ratio()

    word = word[:100]
    near = difflib.get_close_matches(word, known)
    best = max(map(nearness, near), default=None)
    return [name for name in known if name in near and nearness(name) == best]


def _section(kind: type[Section], place: list[str]) -> type[Section]:
    for key in place:
        if key in kind.model_fields:  # otherwise it is a key of a mapping of sections
            kind = _section_within(kind.model_fields[key].annotation)
    return kind


def _section_within(annotation: Any) -> Any:  # noqa: ANN401 - types of any form
    """The section in an annotation such as `dict[str, Section] | None`, or the annotation itself."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    found = [_section_within(part) for part in get_args(annotation)]
    return next((each for each in found if isinstance(each, type) and issubclass(each, Section)), annotation)


def _fields(kind: type[Section], place: list[str]) -> dict[str, Any]:
    return _section(kind, place).model_fields
