"""Models to choose from, and their loading."""

import re
import sys
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from audiornn.codec import SILENCE
from audiornn.common.digests import digest, sha256
from audiornn.common.errors import AudioRNNError
from audiornn.generation.engines import FUSED, create_engine
from audiornn.generation.fused.engine import FusedEngine
from audiornn.generation.sampling import prefill
from audiornn.models import storage
from audiornn.models.folder import CONFIG, WEIGHTS, source_folder
from audiornn.playing.live import BLOCK_SECONDS, Beginning, Change, LiveStream, PlayableModel
from audiornn.ranking import Standing
from audiornn.tracking import runs
from audiornn.tracking.models import registry
from audiornn.tracking.store import StoreError

EngineName = Literal["fused", "fused-bf16"]
DEFAULT = "models"  # what `dvc repro` trained last
MOST_LOADED = 8  # models that stay in memory, beside those that are played
FIXED = re.compile(r"[0-9a-f]{32}|models:/[^@]+/\d+")  # the id of a run, or a registered version
TRIALS = 10  # blocks whose fastest tells how much of a core a model takes


@dataclass(frozen=True)
class Choice:
    """A model on the page: an id, its `source` as `source_folder` takes it, a title, and how good it is, if known."""

    id: str
    source: str
    title: str
    standing: Standing | None


class Choices:
    """The models of a workspace: the one given, `models/`, and those of the MLflow store. Pages name them by ids.

    Parameters
    ----------
    workspace
        With the store.
    given
        What the user named; see `source_folder`.
    engine_name
        `fused`, or `fused-bf16`, which takes half as long; see `audiornn.generation.engines`.

    Attributes
    ----------
    default
        The id of the first one.
    """

    default: str

    def __init__(self, workspace: str | Path, given: str | None = None, engine_name: EngineName = "fused") -> None:
        self.workspace, self._given, self.engine_name = Path(workspace), given, engine_name
        self._choices: dict[str, Choice] = {}
        self._loaded: dict[str, PlayableModel] = {}
        self._folders: dict[str, tuple[Path, str]] = {}  # with digests, of sources that cannot change
        self._lock = threading.Lock()  # Keras builds one model at a time

    def refresh(self) -> list[Choice]:
        """Look for models; the first one is the default.

        Raises
        ------
        AudioRNNError
            If there is none.
        """
        try:
            stored = {model.source: model for model in registry.stored_models(self.workspace)}
        except StoreError as error:  # what is on disk can be played nevertheless
            if not self._given and not (self.workspace / DEFAULT / CONFIG).exists():
                raise
            print(f"warning: models of MLflow are not listed: {error}", file=sys.stderr)
            stored = {}
        found: dict[str, registry.StoredModel] = {}
        if self._given:
            found[self._given] = replace(
                stored.get(self._given) or registry.StoredModel(self._given, "", None), title=self._given
            )
        if (self.workspace / DEFAULT / CONFIG).exists():
            run_file = self.workspace / DEFAULT / runs.RUN_FILE
            run = stored.get(runs.read_run_id(run_file)) if run_file.exists() else None
            found[DEFAULT] = registry.StoredModel(DEFAULT, "models/, the last training", run.standing if run else None)
        found = found | {source: model for source, model in stored.items() if source not in found}
        if not found:
            raise AudioRNNError(
                f"{self.workspace / DEFAULT}: no model, and none in MLflow: train one with dvc repro, or name a folder"
            )
        choices = [Choice(digest(source)[:12], source, model.title, model.standing) for source, model in found.items()]
        self._choices = {choice.id: choice for choice in choices}
        self.default = choices[0].id
        return choices

    def __getitem__(self, choice_id: str) -> Choice:
        """The choice with an id of `refresh`."""
        if choice_id not in self._choices:
            raise AudioRNNError(f"model is {choice_id!r}, but must be an id of the list of models")
        return self._choices[choice_id]

    def find(self, key: str, source: str) -> PlayableModel:
        """The model with a digest: the given one, or that from a source.

        Raises
        ------
        AudioRNNError
            If neither has the digest, or `load` fails.
        """
        for candidate in filter(None, (self._given, source)):
            model = self.load(candidate)
            if model.digest == key:
                return model
        raise AudioRNNError(f"{source}: is not the model of the take, which has the digest {key}: name its folder")

    def load(self, source: str) -> PlayableModel:
        """A model, ready to generate: loaded, compiled and timed, unless it is in memory.

        Raises
        ------
        AudioRNNError
            If it cannot be loaded, or has no fused engine.
        """
        with self._lock:
            folder, key = self._locate(source)
            model = self._loaded.pop(key, None) or _prepare(folder, key, self.engine_name)
            self._loaded[key] = model  # the most recent one comes last
            while len(self._loaded) > MOST_LOADED:
                self._loaded.pop(next(iter(self._loaded)))
            return model

    def _locate(self, source: str) -> tuple[Path, str]:
        """A model's folder and digest; those of runs and versions are remembered, as a server has to send them."""
        if source in self._folders:
            return self._folders[source]
        folder = source_folder(source, self.workspace)
        located = folder, model_digest(folder)
        if FIXED.fullmatch(source):
            self._folders[source] = located
        return located


def model_digest(folder: Path) -> str:
    """SHA-256 of a model's configuration and weights.

    Raises
    ------
    AudioRNNError
        If one of them is missing.
    """
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise AudioRNNError(f"{folder / name}: no such file")
    return digest([sha256(folder / name) for name in (CONFIG, WEIGHTS)])


def _prepare(folder: Path, key: str, engine_name: EngineName) -> PlayableModel:
    model = storage.load(folder)
    if model.name not in FUSED:
        raise AudioRNNError(f"{folder}: {model.name} has no fused engine, and the other one is not fast enough to play")
    made = create_engine(model, engine_name)
    assert isinstance(made, FusedEngine)
    playable = PlayableModel(key, model.codec, made, prefill(model, np.full([1, 1], SILENCE, np.uint8)))
    stream, seconds = LiveStream({key: playable}), []
    stream.apply(Change(beginning=Beginning(), model=key))
    for _ in range(TRIALS):  # the first one compiles
        begin = time.perf_counter()
        stream.next_block()
        seconds.append(time.perf_counter() - begin)
    return replace(playable, load=min(seconds) / BLOCK_SECONDS)
