"""Endless audio that is steered while it is generated, and can be generated again to the byte."""

import base64
import binascii
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from audiornn.codec import CODES, CodecSettings
from audiornn.common.array_types import Codes, Logits
from audiornn.common.errors import AudioRNNError
from audiornn.common.validation import Section, Seed
from audiornn.generation.fused.draws import Limits
from audiornn.generation.fused.engine import FusedEngine
from audiornn.generation.sampling import random_stream
from audiornn.generation.streaming import StreamDecoder, pcm16
from audiornn.models.base import State

BLOCK_SECONDS = 0.02  # changes take effect between two blocks
HISTORY = 2000  # codes that a model hears of the one before it

Pcm = NDArray[np.int16]


class Controls(Section):
    """What may change while the audio continues: see `audiornn.params.Generate`; `level_db` is the gain in dB."""

    temperature: Annotated[float, Field(ge=0, le=10)] = 1.0
    top_k: Annotated[int, Field(ge=0, le=256)] = 0
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.998
    confidence_threshold: Annotated[float, Field(gt=0, le=1)] = 0.5
    level_db: Annotated[float, Field(ge=-60, le=12)] = 0.0


class Beginning(Section):
    """A new start: random seed, and the codes to continue in base64."""

    seed: Seed = 0
    prompt: str = ""

    @field_validator("prompt")
    @classmethod
    def _is_base64(cls, prompt: str) -> str:
        try:
            base64.b64decode(prompt, validate=True)
        except binascii.Error:
            raise ValueError("must be base64") from None
        return prompt

    @property
    def codes(self) -> Codes:
        """The prompt, uint8 [n]."""
        return np.frombuffer(base64.b64decode(self.prompt), np.uint8)


class Change(Section):
    """What changes at a position in the stream, in samples; what is None stays. `model` is a digest."""

    at: Annotated[int, Field(ge=0)] = 0
    beginning: Beginning | None = None
    model: str | None = None
    controls: Controls | None = None


@dataclass(frozen=True)
class PlayableModel:
    """A model that is ready to generate.

    Attributes
    ----------
    digest
        SHA-256 of configuration and weights.
    codec
        Its codec.
    engine
        Holds its weights; each stream has a copy with a state of its own.
    start
        Logits and state after a single code of silence.
    load
        Seconds of one core per second of audio.
    """

    digest: str
    codec: CodecSettings
    engine: FusedEngine
    start: tuple[Logits, State]
    load: float = 0.0

    def primed(self, codes: Codes) -> FusedEngine:
        """An engine that has heard codes uint8 [n]."""
        engine = copy(self.engine)
        engine.load_state(*self.start)
        if len(codes):
            engine.teacher_force(codes[None])
        return engine


class Block(NamedTuple):
    """PCM [n], and the mean entropy in bits of the model's predictions of these samples."""

    pcm: Pcm
    bits: float


class LiveStream:
    """One endless stream: the same changes at the same positions give the same samples.

    Parameters
    ----------
    models
        By digest; all that changes name.

    Attributes
    ----------
    position
        Samples so far.
    """

    def __init__(self, models: Mapping[str, PlayableModel]) -> None:
        self._models = models
        self.position = 0
        self._changes: list[Change] = []
        self._beginnings: list[tuple[int, int]] = []  # index in `_changes`, and position of the first sample
        self._controls = Controls()
        self._model: PlayableModel | None = None
        self._decoder: StreamDecoder | None = None
        self._history: Codes = np.zeros(0, np.uint8)
        self._ending: Pcm = np.zeros(0, np.int16)
        self._gain = 0.0

    def apply(self, change: Change, primed: FusedEngine | None = None) -> None:
        """Change something from here on; `primed` is the engine of a new start, where it is already at hand.

        Raises
        ------
        AudioRNNError
            If the model is unknown or has another codec, or the first change is not a beginning with a model.
        """
        self._controls = change.controls or self._controls
        model = self._models.get(change.model) if change.model else self._model
        if model is None or (self._decoder is None and not change.beginning):
            raise AudioRNNError(f"change at {change.at}: must have a beginning and a known model, has {change.model}")
        if self._model and model.codec != self._model.codec:
            raise AudioRNNError(f"change at {change.at}: has a model of another codec, {model.codec}")
        self._model = model
        if change.beginning:
            self._begin(change.beginning, primed or model.primed(change.beginning.codes))
        elif change.model:
            self._engine = model.primed(self._history)
        c = self._controls
        self._engine.limits = Limits(c.top_k, c.top_p, c.confidence_threshold)
        complete = {"model": model.digest, "controls": c} if change.beginning else {}
        self._changes.append(change.model_copy(update={"at": self.position, **complete}))

    def _begin(self, beginning: Beginning, engine: FusedEngine) -> None:
        assert self._model is not None
        codes, codec = beginning.codes, self._model.codec
        if self._decoder:  # what the limiter still holds, faded out
            rest = self._decoder.decode(codes[:0], last=True)
            self._ending = pcm16(rest * np.linspace(1, 0, len(rest)))
        self._decoder = StreamDecoder(codec, codes if len(codes) else None)
        self._gain = 0.0  # the first block fades in
        self._engine, self._history = engine, codes[-HISTORY:]
        self._random = random_stream(beginning.seed, 0)
        self._beginnings.append((len(self._changes), self.position + len(self._ending)))

    def next_block(self) -> Block:
        """The next samples; a beginning must have been applied."""
        assert self._model is not None and self._decoder is not None
        n = max(1, round(BLOCK_SECONDS * self._model.codec.sample_rate))
        logits = np.empty((1, n, CODES), np.float32)
        temperature = np.full((1, n), self._controls.temperature, np.float32)
        codes = self._engine.generate(self._random.random((1, n), np.float32), temperature, logits)[0]
        gain = np.linspace(self._gain, 10 ** (self._controls.level_db / 20), n + 1)[1:]
        self._gain = float(gain[-1])
        pcm = np.concatenate([self._ending, pcm16(self._decoder.decode(codes, gain=gain))])
        self._ending = self._ending[:0]
        self._history = np.concatenate([self._history, codes])[-HISTORY:]
        self.position += len(pcm)
        return Block(pcm, entropy_bits(logits))

    def changes(self, start: int) -> tuple[int, list[Change]]:
        """What the samples from position `start` on follow from.

        Returns
        -------
        The position of the last beginning before `start`, and all changes since then, at positions relative to it.
        """
        index, origin = max((b for b in self._beginnings if b[1] <= start), default=self._beginnings[0])
        since = self._changes[index:]
        return origin, [change.model_copy(update={"at": max(0, change.at - origin)}) for change in since]

    def forget(self, before: int) -> None:
        """Drop the changes that samples from position `before` on do not depend on."""
        index, _ = max((b for b in self._beginnings if b[1] <= before), default=self._beginnings[0])
        self._changes = self._changes[index:]
        self._beginnings = [(i - index, position) for i, position in self._beginnings if i >= index]


def entropy_bits(logits: Logits) -> float:
    """Mean entropy in bits of the distributions with logits [..., 256]."""
    x = logits - logits.max(-1, keepdims=True)
    weights = np.exp(x)
    total = weights.sum(-1)
    return float(np.mean(np.log(total) - (weights * x).sum(-1) / total) / np.log(2))
