"""Hear a model learn: a clip after every so many epochs, from the same prompt and the same random numbers."""

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from audiornn import clips, figures, shards
from audiornn.models.base import AudioModel
from audiornn.params import Generate, Train
from audiornn.parts import loudest
from audiornn.training import Epoch

SHARE = 0.05  # of the time since training began, which clips may take at most
SECONDS, PROMPT_SECONDS = 2.0, 0.5
WINDOWS = 64  # that are searched for a prompt
FIRST = 15.0  # seconds that a first clip is expected to take, compilation included; later ones: as long as the last


class Listener:
    """Makes a clip where one is due and the time that clips have taken allows it.

    The weights are only read, and random numbers are drawn from a generator of its own: training goes on as it would
    have without.

    Parameters
    ----------
    folder
        Shards, of whose validation part a loud piece becomes the prompt.
    params
        The `train` section.
    deliver
        Is given a folder with the wav file and the figure of a clip, which are gone afterwards.
    clock
        Seconds.

    Attributes
    ----------
    count, seconds
        Clips so far, and the time that they took.
    """

    def __init__(
        self,
        folder: str | Path,
        params: Train,
        deliver: Callable[[Path], None],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.folder, self.deliver, self.clock = Path(folder), deliver, clock
        self.every = params.listen_every
        self.request = Generate(seconds=SECONDS, seed=params.seed)
        self.begin, self.cost = clock(), FIRST
        self.count, self.seconds = 0, 0.0
        self._heard = 0.0  # the epoch of the last clip

    def __call__(self, epoch: Epoch, model: AudioModel) -> None:
        """After a validation: make a clip if it is due, or say why not."""
        if self.every is None or epoch.epoch < self._heard + self.every:
            return
        begin = self.clock()
        allowed = SHARE * (begin - self.begin)
        if self.seconds + self.cost > allowed:
            tqdm.write(
                f"epoch {epoch.epoch:g}: no clip to listen to: with about {self.cost:.1f} s for it, clips would take "
                f"more than {SHARE:.0%} of the training time so far"
            )
            return
        with tempfile.TemporaryDirectory() as place:
            self._make(epoch, model, Path(place))
            self.deliver(Path(place))
        self.cost = self.clock() - begin
        self.count, self.seconds, self._heard = self.count + 1, self.seconds + self.cost, epoch.epoch

    @property
    def share(self) -> float:
        """The share of the time since the begin that clips took."""
        return self.seconds / max(self.clock() - self.begin, 1e-9)

    def _make(self, epoch: Epoch, model: AudioModel, place: Path) -> None:
        start = prompt(self.folder, model.settings["codec"]["sample_rate"])
        [clip], _ = clips.make(model, self.request, start[None])
        name = f"step-{epoch.step:07d}"
        replace(clip, name=name).write(place)
        title = f"Epoch {epoch.epoch:g}, step {epoch.step}: validation {epoch.validation_loss:.3f} bits per sample"
        figures.save(figures.clip(clip.wave, clip.sample_rate, title), place / f"{name}.png")


def prompt(folder: str | Path, sample_rate: int) -> NDArray[np.uint8]:
    """The loudest begin of the validation part's first windows: half a second, or what they hold, uint8 [n]."""
    context = shards.read_manifest(folder)["context"]
    codes, targets = next(iter(shards.read(folder, "validation", WINDOWS)))
    whole = codes.numpy()[targets.numpy() > 0]
    length = min(round(PROMPT_SECONDS * sample_rate), context + int(targets.numpy().max()))
    held = [row[:length] for row, n in zip(whole, targets.numpy(), strict=False) if context + n >= length]
    return loudest(held)
