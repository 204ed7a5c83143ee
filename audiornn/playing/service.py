"""What all listeners share: models, cores, takes."""

import asyncio
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import numpy as np

from audiornn.codec import CodecSettings
from audiornn.common.array_types import Codes
from audiornn.common.errors import AudioRNNError
from audiornn.common.parallel import cores
from audiornn.dataset.manifest import read_manifest
from audiornn.generation.prompts import MAX_UPLOADED_SECONDS, file_prompt
from audiornn.models.folder import source_folder
from audiornn.naming import slug
from audiornn.playing.choices import Choices, model_digest
from audiornn.playing.live import PlayableModel
from audiornn.playing.takes import Take
from audiornn.preparation.encoded import EncodedCorpus
from audiornn.preparation.recordings import SplitRecordings
from audiornn.tracking import runs

SHARE = 0.8  # of the cores that listeners may take
MOST_TAKES = 32  # in memory; the oldest one goes first
ENCODED, SHARDS = Path("data/encode"), Path("data/shard")

T = TypeVar("T")


class Service:
    """Models, cores and takes, for all listeners.

    Parameters
    ----------
    choices
        The models.
    share
        How much of the cores all listeners together may take.

    Attributes
    ----------
    loads
        Cores that each listener takes, by its token.
    """

    def __init__(self, choices: Choices, share: float = SHARE) -> None:
        self.choices = choices
        self.loads: dict[str, float] = {}
        self._share = share
        self._takes: dict[str, Take] = {}
        self._audio = ThreadPoolExecutor(cores(), "audio")
        self._other = ThreadPoolExecutor(1, "other")

    def close(self) -> None:
        """End the threads."""
        self._audio.shutdown()
        self._other.shutdown()

    async def generate(self, work: Callable[..., T], *arguments: object) -> T:
        """Run what generates audio in a thread; the kernels do not hold Python's lock."""
        return await asyncio.get_running_loop().run_in_executor(self._audio, work, *arguments)

    async def run(self, work: Callable[..., T], *arguments: object) -> T:
        """Run what may take long in a thread, one after the other."""
        return await asyncio.get_running_loop().run_in_executor(self._other, work, *arguments)

    def admit(self, token: str, model: PlayableModel) -> None:
        """Reserve what a listener takes with a model, instead of what it took before; the first one always fits.

        Raises
        ------
        AudioRNNError
            If the cores do not carry it beside the others.
        """
        others = [load for other, load in self.loads.items() if other != token]
        if others and sum(others) + model.load > self._share * cores():
            raise AudioRNNError(
                f"{cores()} cores are busy with {len(others)} other listener{'s' * (len(others) > 1)}, and this model "
                f"takes {model.load:.2f} of one: try again when somebody has left"
            )
        self.loads[token] = model.load

    def keep(self, take: Take) -> str:
        """Hold a take for download; returns its id, which cannot be guessed."""
        key = secrets.token_urlsafe(16)
        self._takes[key] = take
        while len(self._takes) > MOST_TAKES:
            self._takes.pop(next(iter(self._takes)))
        return key

    def take(self, key: str) -> Take:
        """A take by its id."""
        if key not in self._takes:
            raise AudioRNNError(f"take {key!r}: not in memory any more, which holds the last {MOST_TAKES}")
        return self._takes[key]

    def log(self, key: str, name: str) -> str:
        """Log a take to the MLflow run of the model that it begins with; returns the run's id."""
        take = self.take(key).named(name)
        workspace = self.choices.workspace
        key_of_model = str(take.settings.changes[0].model)
        folder = source_folder(source := take.settings.models[key_of_model], workspace)
        if model_digest(folder) != key_of_model:
            raise AudioRNNError(f"{source}: is another model now than the one of the take, whose run is not known")
        if not (folder / runs.RUN_FILE).is_file():
            raise AudioRNNError(f"{folder / runs.RUN_FILE}: no such file: which run trained the model is not known")
        with runs.reopen(workspace, folder) as run, TemporaryDirectory() as files:
            for form in ("wav", "json"):
                (Path(files) / f"{slug(name)}.{form}").write_bytes(take.encoded(form))
            run.log_artifact(files, f"played/{slug(key[:8])}")
        return run.run_id

    def file_prompt(self, content: bytes, codec: CodecSettings, offset: float, seconds: float) -> Codes:
        """A passage of an audio file as codes; see `audiornn.generation.prompts.file_prompt`."""
        with TemporaryDirectory() as folder:
            file = Path(folder) / "prompt"
            file.write_bytes(content)
            try:
                return file_prompt(file, seconds, codec, offset, MAX_UPLOADED_SECONDS)
            except AudioRNNError as error:
                raise AudioRNNError(str(error).replace(str(file), "the file")) from None

    def test_prompt(self, codec: CodecSettings, seconds: float) -> Codes:
        """A random passage of the test split.

        Raises
        ------
        AudioRNNError
            If there is no data in the workspace, or it has another codec.
        """
        root = self.choices.workspace
        test = SplitRecordings(EncodedCorpus(root / ENCODED), read_manifest(root / SHARDS))
        if test.codec != codec:
            raise AudioRNNError(f"{root / ENCODED}: has the codec {test.codec}, but the model has {codec}")
        return np.array(test.draw_prompts(1, round(seconds * codec.sample_rate), secrets.randbelow(2**31))[0])
