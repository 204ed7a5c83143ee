"""Takes: stretches of a live stream that are kept, with all that is needed to generate them again."""

import io
import json
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import soundfile as sf
from pydantic import Field, model_validator

from audiornn.audio.sndfile_decoders import native
from audiornn.common.errors import AudioRNNError
from audiornn.common.files import atomic_file
from audiornn.common.serialization import read_json
from audiornn.common.validation import Count, Section, validate
from audiornn.playing.choices import Choices, EngineName
from audiornn.playing.live import Change, LiveStream, Pcm, PlayableModel

AUDIO = {"wav": "audio/wav", "flac": "audio/flac"}  # formats of takes, and their media types
LAST_SECONDS = 60  # of a stream can be kept after the fact
LONGEST_SECONDS = 1800  # of a take
MAX_COMMENT = 64_000  # characters; the header of a wav file has room for about 100,000


class TakeSettings(Section):
    """What a take was made with.

    Attributes
    ----------
    name
        Its title.
    sample_rate
        In Hz.
    engine
        Which computed it; see `Choices`.
    start, stop
        The stretch of the stream, in samples.
    models
        Where the models were, by digest: a folder, the id of an MLflow run, or a URI such as `models:/audiornn/3`.
    changes
        All changes of the stream from its beginning on.
    """

    name: str = ""
    sample_rate: Count
    engine: EngineName = "fused"
    start: Annotated[int, Field(ge=0)]
    stop: Count
    models: dict[str, str]
    changes: list[Change]

    @model_validator(mode="after")
    def _has_samples(self) -> "TakeSettings":
        if self.start >= self.stop:
            raise ValueError(f"start is {self.start}, but must be below stop, {self.stop}")
        return self


@dataclass(frozen=True)
class Take:
    """Samples int16 [n], and what they were made with."""

    pcm: Pcm
    settings: TakeSettings

    def named(self, name: str) -> "Take":
        return Take(self.pcm, self.settings.model_copy(update={"name": name}))

    def encoded(self, form: str) -> bytes:
        """The take as a file: `wav` or `flac`, with the settings in its comment, or the settings alone as `json`."""
        text = self.settings.model_dump_json(indent=2, exclude_none=True) + "\n"
        if form == "json":
            return text.encode()
        buffer = io.BytesIO()
        with sf.SoundFile(buffer, "w", self.settings.sample_rate, 1, "PCM_16", format=form.upper()) as file:
            if self.settings.name:  # libsndfile refuses empty texts
                file.title = self.settings.name
            compact = self.settings.model_dump_json(exclude_none=True)
            if len(compact) <= MAX_COMMENT:
                file.comment = compact
            file.write(self.pcm)
        return buffer.getvalue()


def read_settings(path: str | Path) -> TakeSettings:
    """The settings of a take, from its JSON file or from the comment of its audio file.

    Raises
    ------
    AudioRNNError
        If the file is missing, or holds no settings.
    """
    if Path(path).suffix == ".json":
        return validate(TakeSettings, read_json(path), path)
    try:
        with sf.SoundFile(native(path)) as file:
            return validate(TakeSettings, json.loads(file.comment), path)
    except sf.SoundFileError as error:
        raise AudioRNNError(f"{path}: cannot be read: {error}") from None
    except ValueError:
        raise AudioRNNError(f"{path}: has no settings in its comment: give the JSON file of the take") from None


def render_file(path: str | Path, output: str | Path, workspace: str | Path, given: str | None = None) -> Take:
    """Generate the take in a file again and write it; see `read_settings`, `Choices.find` and `render`.

    Parameters
    ----------
    path, output
        The take, and where to write it; the suffix says in which format.
    workspace, given
        As for `Choices`.

    Raises
    ------
    AudioRNNError
        Also if the suffix of `output` is not that of a format.
    """
    form = Path(output).suffix.removeprefix(".")
    if form not in AUDIO:
        raise AudioRNNError(f"{output}: is named .{form}, but must end in .{' or .'.join(AUDIO)}")
    settings = read_settings(path)
    choices = Choices(workspace, given, settings.engine)
    take = render(settings, {digest: choices.find(digest, source) for digest, source in settings.models.items()})
    with atomic_file(output) as partial:
        partial.write_bytes(take.encoded(form))
    return take


def render(settings: TakeSettings, models: Mapping[str, PlayableModel]) -> Take:
    """Generate a take again, from the beginning of its stream.

    Raises
    ------
    AudioRNNError
        If the changes are not those of a stream.
    """
    return Take(np.concatenate(list(_render(settings, models))), settings)


def _render(settings: TakeSettings, models: Mapping[str, PlayableModel]) -> Iterator[Pcm]:
    stream, ahead = LiveStream(models), deque(settings.changes)
    while (at := stream.position) < settings.stop:
        while ahead and ahead[0].at <= at:
            stream.apply(ahead.popleft())
        if at == 0 and len(ahead) == len(settings.changes):
            raise AudioRNNError("changes: must begin at 0")
        yield stream.next_block().pcm[max(0, settings.start - at) : settings.stop - at]


class Tape:
    """The last minute of a stream, and all since a recording was started.

    Attributes
    ----------
    recording_from
        Position at which a recording was started, in samples; None without one.
    """

    def __init__(self, sample_rate: int) -> None:
        self._rate = sample_rate
        self._pcm = bytearray()
        self.start = 0
        self.recording_from: int | None = None

    def add(self, pcm: Pcm) -> None:
        """Append samples, and drop those that are no longer needed."""
        self._pcm += pcm.tobytes()
        stop = self.start + len(self._pcm) // 2
        needed = stop - LAST_SECONDS * self._rate
        if self.recording_from is not None:
            needed = min(needed, self.recording_from)
        if needed - self.start > self._rate:  # a second at a time
            del self._pcm[: 2 * (needed - self.start)]
            self.start = needed

    def cut(self, start: int, stop: int) -> Pcm:
        """The samples between two positions."""
        return np.frombuffer(bytes(self._pcm[2 * (start - self.start) : 2 * (stop - self.start)]), "<i2")
