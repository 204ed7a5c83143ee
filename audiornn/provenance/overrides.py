"""Nested parameters: dotted names, and overrides as options `-S` of `dvc exp run` (Hydra's grammar)."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

WORD = re.compile(r"[A-Za-z_/][A-Za-z0-9_./-]*")  # text that Hydra reads literally without quotes
RESERVED = {"null", "true", "false", "nan", "inf", "infinity"}


def overrides(base: Mapping[str, Any], target: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Options that turn one tree of parameters into another, applied in order.

    Examples
    --------
    >>> list(overrides({"a": {"b": 1, "c": 2}}, {"a": {"b": None, "d": [0.5, "x y"]}}))
    ['a.b=null', '~a.c', "++a.d=[0.5,'x y']"]
    """
    for key, held in base.items():
        value = target.get(key)
        if isinstance(held, Mapping) and isinstance(value, Mapping):
            yield from overrides(held, value, f"{prefix}{key}.")
        # Hydra cannot turn a value into a section
        elif key not in target or isinstance(value, Mapping) != isinstance(held, Mapping):
            if held is None:  # Hydra treats null as missing and cannot delete it
                yield f"{prefix}{key}=0"
            yield f"~{prefix}{key}"
            if key in target:
                yield from _added(f"{prefix}{key}", value)
        elif value != held or isinstance(value, bool) != isinstance(held, bool):
            yield f"{prefix}{key}={_hydra(value)}"
    for key, value in target.items():
        if key not in base:
            yield from _added(f"{prefix}{key}", value)


def _added(key: str, value: object) -> Iterator[str]:
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from _added(f"{key}.{name}", inner)
    else:
        yield f"++{key}={_hydra(value)}"


def _hydra(value: object) -> str:
    """A value as Hydra reads it."""
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{_hydra(v)}" for key, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_hydra, value)) + "]"
    if isinstance(value, str) and (not WORD.fullmatch(value) or value.lower() in RESERVED):
        # Backslashes are escapes only before a quote, including the closing one.
        return "'" + re.sub(r"(\\*)('|$)", lambda m: 2 * m[1] + (m[2] and "\\'"), value) + "'"
    return value if isinstance(value, str) else json.dumps(value)


def flatten(params: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names and values of nested parameters."""
    for key, value in params.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
