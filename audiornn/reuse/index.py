"""The index of a stage: what each recording gave it, by its SHA-256, by the settings, and by code and libraries."""

import importlib.metadata
import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import cache, partial
from pathlib import Path
from typing import Generic, TypeVar

from audiornn.common.digests import digest
from audiornn.common.errors import AudioRNNError
from audiornn.common.files import atomic_file
from audiornn.common.serialization import read_json
from audiornn.common.sources import source_digest
from audiornn.common.validation import Sha256, parse

FOLDER = Path(".audiornn/prepared")
LIBRARIES = ("av", "numpy", "scipy", "soundfile", "soxr")
OTHERS = 3  # entries of an index that the last run did not use, per one that it did
SAVE_SECONDS = 60.0  # between saves of an index during the work
T = TypeVar("T")
S = TypeVar("S")
R = TypeVar("R")


@cache
def identity(code: tuple[str, ...]) -> str:
    """Digest of modules and packages of this library, and of the versions of the libraries that they use."""
    import soundfile

    versions = [importlib.metadata.version(name) for name in LIBRARIES]
    return digest([source_digest(code), versions, soundfile.__libsndfile_version__])


def with_same_code(function: Callable[[S], R], code: tuple[str, ...]) -> Callable[[S], R]:
    """The function, for processes that have the same code and libraries as this one."""
    return partial(_if_same_code, function, code, identity(code))


def _if_same_code(function: Callable[[S], R], code: tuple[str, ...], expected: str, job: S) -> R:
    """Do a job if this process, which may be on another machine, has the same code and libraries."""
    if identity(code) != expected:
        raise AudioRNNError(
            f"a worker on {os.uname().nodename} has other code or other libraries than this machine, and could make "
            "other bytes: give all the same commit and Pipfile.lock"
        )
    return function(job)


class Index(Generic[T]):
    """What each recording gave a stage, by key.

    Parameters
    ----------
    path
        Its JSON file. One that is missing or damaged counts as empty.
    kind
        A dataclass, of the results.
    code
        Modules and packages of the library that determine results.
    """

    def __init__(self, path: Path, kind: type[T], code: tuple[str, ...]) -> None:
        self.path, self.code = path, code
        self._used: dict[str, T] = {}
        self._save_next = time.monotonic() + SAVE_SECONDS
        try:
            self._known: dict[str, T] = parse(dict[Sha256, kind], read_json(path), path)  # type: ignore[valid-type]
        except AudioRNNError:  # there is none yet
            self._known = {}
        self._saved = self._known.keys()

    def key(self, *parts: object) -> str:
        """The key of a recording: digest of what it is, of the settings, and of code and libraries."""
        return digest([identity(self.code), *parts])

    def get(self, key: str) -> T | None:
        """What a key gave, if it is known."""
        if key not in self._used and key in self._known:
            self._used[key] = self._known[key]
        return self._used.get(key)

    def add(self, key: str, result: T) -> None:
        """Remember what a key gave."""
        self._used[key] = result

    def save(self, complete: bool = True) -> None:
        """Write the index; where the work is complete, of what it did not use only a bounded number."""
        kept = self._known | self._used
        if complete:
            others = [key for key in self._known if key not in self._used][: OTHERS * len(self._used)]
            kept = self._used | {key: self._known[key] for key in others}
        if kept.keys() != self._saved:
            with atomic_file(self.path) as partial_file:
                content = {key: asdict(result) for key, result in kept.items()}  # type: ignore[call-overload]
                partial_file.write_text(json.dumps(content, allow_nan=False), encoding="utf-8")
            self._saved = kept.keys()
        self._save_next = time.monotonic() + SAVE_SECONDS

    def save_regularly(self) -> None:
        """Write the index once a minute during the work."""
        if time.monotonic() > self._save_next:
            self.save(complete=False)
