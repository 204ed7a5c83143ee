"""JSON and YAML files."""

import json
import re
from pathlib import Path
from typing import Any

import yaml

from audiornn.common.errors import AudioRNNError, one_line, shown
from audiornn.common.files import atomic_file

BASE_60 = re.compile(r"[-+]?[0-9][0-9_]*(:[0-9]+)+(\.[0-9_]*)?")  # YAML 1.1 takes 1:30 for 90, YAML 1.2 for a text
MAX_VALUES = 10_000  # values and keys of a YAML file, those of aliases each time they are used


def write_json(path: str | Path, content: object) -> None:
    """Write `content` as indented JSON, atomically. NaN and infinities are refused, as JSON has none."""
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    with atomic_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def read_json(path: str | Path) -> Any:  # noqa: ANN401 - JSON of any form; `validation.parse` gives it a type
    """Read a JSON file that the pipeline wrote.

    Raises
    ------
    AudioRNNError
        If the file does not exist or is not JSON.
    """
    if not Path(path).exists():
        raise AudioRNNError(f"{path}: no such file: run dvc repro first")
    try:
        return json.loads(_text(path, "JSON"), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise AudioRNNError(f"{path}: not readable as JSON: {one_line(error)}") from None


def read_yaml(path: str | Path, holds: str) -> dict[str, Any]:
    """Read a YAML file of keys and values; empty, if the file is.

    Parameters
    ----------
    path
        The file.
    holds
        What it must hold, as an error says it.

    Raises
    ------
    AudioRNNError
        If it does not exist, is not YAML, or holds something else.
    """
    content = parse_yaml(_text(path, "YAML"), path)
    if not isinstance(content, dict | None):
        raise AudioRNNError(f"{path}: holds {shown(content)}, but must hold {holds}")
    return {} if content is None else content


def parse_yaml(text: str, where: str | Path) -> object:
    """What a YAML text holds; errors name `where` it came from.

    Raises
    ------
    AudioRNNError
        If it is not YAML, or holds more than 10,000 values.
    """
    try:
        return yaml.load(text, _BoundedLoader)
    except Exception as error:  # PyYAML lets through what conversions raise, such as KeyError of `!!bool perhaps`
        reason = "nested too deep" if isinstance(error, RecursionError) else error
        raise AudioRNNError(f"{where}: not readable as YAML: {one_line(reason)}") from None


class _BoundedLoader(yaml.SafeLoader):
    """A loader that looks at the size of a document before it makes objects: aliases of aliases grow exponentially.

    As in YAML 1.2, which DVC reads, numbers have no base 60: a ramp of temperatures such as 0:1.2 is a text.
    """

    def resolve(self, kind: type[yaml.Node], value: str | None, implicit: object) -> str:
        if kind is yaml.ScalarNode and value and BASE_60.fullmatch(value):
            return self.DEFAULT_SCALAR_TAG
        return super().resolve(kind, value, implicit)

    def get_single_node(self) -> yaml.Node | None:
        node = super().get_single_node()
        if node is not None and (count := _values(node, {})) > MAX_VALUES:
            held = f"{count:,}" if count < 10**9 else "billions of"
            raise yaml.YAMLError(f"holds {held} values, but at most {MAX_VALUES:,} are allowed")
        return node


def _values(node: yaml.Node, known: dict[yaml.Node, int]) -> int:
    """How many values a node holds; those of an alias count each time it is used."""
    if node not in known:
        known[node] = MAX_VALUES + 1  # of a node within itself
        parts = node.value if isinstance(node, yaml.CollectionNode) else ()
        nodes = (each for part in parts for each in (part if isinstance(part, tuple) else (part,)))
        known[node] = 1 + sum(_values(each, known) for each in nodes)
    return known[node]


def _no_number(name: str) -> None:
    raise ValueError(f"it has no {name}")


def _text(path: str | Path, form: str) -> str:
    """The text of a file of a form."""
    try:
        if Path(path).exists() and not Path(path).is_file():  # a device or a pipe might never end
            raise AudioRNNError(f"{path}: not readable as {form}: not a file")
        return Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise AudioRNNError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise AudioRNNError(f"{path}: not readable as {form}: {one_line(error)}") from None
