"""One listener: a stream at the pace at which it is heard, and what the listener asks for."""

import asyncio
import base64
import json
import secrets
import struct
import time
from collections.abc import Coroutine
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field
from starlette.websockets import WebSocket, WebSocketDisconnect

from audiornn.common.errors import AudioRNNError
from audiornn.common.validation import Section, Seed, validate
from audiornn.generation.fused.engine import FusedEngine
from audiornn.playing.live import BLOCK_SECONDS, Beginning, Block, Change, Controls, LiveStream, PlayableModel
from audiornn.playing.service import Service
from audiornn.playing.takes import LAST_SECONDS, LONGEST_SECONDS, Take, TakeSettings, Tape

AHEAD_SECONDS = 0.2  # how far generation is ahead of what is heard
STATUS_BLOCKS = 25  # from one report of the speed to the next
NO_CODES = np.zeros(0, np.uint8)


class Message(Section):
    """What a page sends: one or several requests.

    Attributes
    ----------
    played, stream
        Samples heard so far, and of which stream.
    controls
        All controls.
    seed, start, prompt_seconds
        Start again: from silence, from a passage of the test split, or as the last time.
    model
        Continue with this one, an id.
    compare, choose, vote
        Two models as X and Y, in an order that stays hidden; which one to hear; which one is better, or just reveal.
    record, keep
        Start or stop recording; keep the last minute.
    """

    played: Annotated[int, Field(ge=0)] | None = None
    stream: int = 0
    controls: Controls | None = None
    seed: Seed | None = None
    start: Literal["silence", "test", "same"] = "same"
    prompt_seconds: Annotated[float, Field(gt=0, le=4)] = 0.5
    model: str | None = None
    compare: Annotated[list[str], Field(min_length=2, max_length=2)] | None = None
    choose: Literal["X", "Y"] | None = None
    vote: Literal["X", "Y", "neither"] | None = None
    record: bool | None = None
    keep: bool = False


class Listener:
    """A connected page.

    Parameters
    ----------
    service
        What it shares with other listeners.
    socket
        Accepted. Blocks of audio are binary messages: number of the stream (uint32), bits per sample (float32), samples
        (int16). All other messages are JSON.

    Attributes
    ----------
    token
        Names this listener in requests beside the socket; it cannot be guessed.
    """

    def __init__(self, service: Service, socket: WebSocket) -> None:
        self.token = secrets.token_urlsafe(16)
        self._service, self._socket = service, socket
        self._room, self._busy = asyncio.Event(), asyncio.Lock()
        self._models: dict[str, PlayableModel] = {}
        self._sources: dict[str, str] = {}
        self._number = 0
        self._controls, self._seed, self._prompt = Controls(), 0, NO_CODES
        self._change = Change()  # for the next block
        self._primed: FusedEngine | None = None  # for its beginning
        self._blind: dict[str, str] = {}
        self._held: list[dict[str, Any]] = []  # news of takes, which would reveal the models of a blind comparison
        self._seconds = BLOCK_SECONDS

    async def run(self) -> None:
        """Serve the page until it leaves.

        Raises
        ------
        AudioRNNError
            If the first model cannot be loaded, or the cores do not carry another listener.
        """
        try:
            await self._send({"token": self.token, "controls": self._controls.model_dump()})
            first = self._service.choices.default
            async with self._busy:
                await self._open(await self._load(first), first)
            async with asyncio.TaskGroup() as self._tasks:
                self._tasks.create_task(self._play())
                self._tasks.create_task(self._receive())
        except* WebSocketDisconnect:
            pass
        finally:
            self._service.loads.pop(self.token, None)

    async def continue_file(self, content: bytes, offset: float, seconds: float) -> None:
        """Start again from a passage of an audio file.

        Raises
        ------
        AudioRNNError
            If it cannot be used.
        """
        async with self._busy:
            codec = self._model.codec
            self._prompt = await self._service.run(self._service.file_prompt, content, codec, offset, seconds)
            await self._restart()

    async def _send(self, news: dict[str, Any]) -> None:
        await self._socket.send_text(json.dumps(news))

    async def _play(self) -> None:
        """Generate and send, never far ahead of what is heard."""
        blocks = 0
        while True:
            stream, rate = self._stream, self._model.codec.sample_rate
            if stream.position - self._played > (AHEAD_SECONDS - BLOCK_SECONDS) * rate:
                self._room.clear()
                await self._room.wait()
                continue
            change, primed = self._change, self._primed
            self._change, self._primed = Change(), None
            at = stream.position
            block = await self._service.generate(self._next_block, stream, change, primed)
            if stream is not self._stream:  # one of another sample rate has begun
                continue
            self._tape.add(block.pcm)
            stream.forget(self._tape.start)
            if change != Change():
                await self._send({"changed": at})
            await self._socket.send_bytes(struct.pack("<If", self._number, block.bits) + block.pcm.tobytes())
            recording = self._tape.recording_from
            if recording is not None and stream.position - recording > LONGEST_SECONDS * rate:
                await self._stop_recording()
            blocks += 1
            if blocks % STATUS_BLOCKS == 0:
                await self._send({"speed": BLOCK_SECONDS / self._seconds, "listeners": len(self._service.loads)})

    def _next_block(self, stream: LiveStream, change: Change, primed: FusedEngine | None) -> Block:
        begin = time.perf_counter()
        if change != Change():
            stream.apply(change, primed)
        block = stream.next_block()
        self._seconds += 0.1 * (time.perf_counter() - begin - self._seconds)
        return block

    async def _receive(self) -> None:
        while True:
            try:
                text = await self._socket.receive_text()
                await self._handle(validate(Message, json.loads(text), "message"))
            except AudioRNNError as error:
                await self._send({"error": str(error)})
            except (ValueError, KeyError, RecursionError):  # KeyError: bytes instead of text
                await self._send({"error": "message: not JSON"})

    async def _handle(self, message: Message) -> None:
        if message.played is not None and message.stream == self._number:
            self._played = min(message.played, self._stream.position)
            self._room.set()
        if message.controls:
            self._controls = message.controls
            self._change = self._change.model_copy(update={"controls": message.controls})
        if message.seed is not None:
            self._later(self._begin(message.seed, message.start, message.prompt_seconds))
        if message.model:
            self._later(self._switch(message.model))
        if message.compare:
            self._later(self._compare(*message.compare))
        if message.choose:
            self._later(self._choose(message.choose))
        if message.vote:
            self._later(self._vote(message.vote))
        if message.record is not None:
            await self._stop_recording()
            if message.record:
                self._tape.recording_from = max(self._played, self._tape.start)
                await self._send({"recording": True})
        if message.keep:
            last = self._played - LAST_SECONDS * self._model.codec.sample_rate
            await self._keep(max(last, self._tape.start), self._played)

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        """Do what may take long, one after the other, while the audio continues."""

        async def run() -> None:
            async with self._busy:
                try:
                    await work
                except AudioRNNError as error:
                    await self._send({"error": str(error)})

        self._tasks.create_task(run())

    async def _load(self, choice_id: str) -> PlayableModel:
        source = self._service.choices[choice_id].source
        model = await self._service.run(self._service.choices.load, source)
        self._service.admit(self.token, model)
        self._models[model.digest], self._sources[model.digest] = model, source
        return model

    async def _open(self, model: PlayableModel, choice_id: str, letter: str = "") -> None:
        """Begin a new stream, at the sample rate of the model; `letter` as for `_switch`."""
        self._number += 1
        named = {"letter": letter} if letter else {"model": choice_id}
        await self._send({"stream": self._number, "sample_rate": model.codec.sample_rate, **named})
        self._model, self._prompt = model, NO_CODES
        self._stream, self._tape, self._played = LiveStream(self._models), Tape(model.codec.sample_rate), 0
        self._change = Change(beginning=Beginning(seed=self._seed), model=model.digest, controls=self._controls)
        self._primed = None
        self._room.set()

    async def _begin(self, seed: int, start: str, seconds: float) -> None:
        if start == "silence":
            self._prompt = NO_CODES
        elif start == "test":
            self._prompt = await self._service.run(self._service.test_prompt, self._model.codec, seconds)
        self._seed = seed
        await self._restart()

    async def _restart(self) -> None:
        primed = await self._service.generate(self._model.primed, self._prompt)
        beginning = Beginning(seed=self._seed, prompt=base64.b64encode(self._prompt.tobytes()).decode())
        self._change, self._primed = self._change.model_copy(update={"beginning": beginning}), primed

    async def _switch(self, choice_id: str, letter: str = "") -> None:
        """Continue with another model; `letter` stands for its name in a blind comparison."""
        model = await self._load(choice_id)
        if model.codec != self._model.codec:
            await self._stop_recording()
            await self._open(model, choice_id, letter)
            return
        self._model, self._primed = model, None
        self._change = self._change.model_copy(update={"model": model.digest})
        await self._send({"letter": letter} if letter else {"model": choice_id})

    async def _compare(self, first: str, second: str) -> None:
        if (await self._load(first)).codec != (await self._load(second)).codec:
            raise AudioRNNError("compare: the two models must have the same sample rate and codec")
        self._blind = dict(zip("XY", secrets.SystemRandom().sample([first, second], 2), strict=True))
        await self._switch(self._blind["X"], "X")

    async def _choose(self, letter: str) -> None:
        if self._blind:
            await self._switch(self._blind[letter], letter)

    async def _vote(self, vote: str) -> None:
        """End a blind comparison, after the switches that were asked for before."""
        if self._blind:
            await self._send({"revealed": self._blind, "vote": vote})
            self._blind = {}
            while self._held:
                await self._send(self._held.pop(0))

    async def _stop_recording(self) -> None:
        """Keep what was recorded, if anything was."""
        start, self._tape.recording_from = self._tape.recording_from, None
        if start is not None:
            await self._send({"recording": False})
            if start < self._played:
                await self._keep(start, self._played)

    async def _keep(self, start: int, stop: int) -> None:
        if start >= stop:
            raise AudioRNNError("nothing to keep: nothing has been heard yet")
        rate, (origin, changes) = self._model.codec.sample_rate, self._stream.changes(start)
        changes = [change for change in changes if change.at < stop - origin]
        settings = TakeSettings(
            sample_rate=rate,
            engine=self._service.choices.engine_name,
            start=start - origin,
            stop=stop - origin,
            models={change.model: self._sources[change.model] for change in changes if change.model},
            changes=changes,
        )
        key = self._service.keep(Take(self._tape.cut(start, stop), settings))
        self._held.append({"take": key, "seconds": (stop - start) / rate})
        while self._held and not self._blind:
            await self._send(self._held.pop(0))
