"""Clips during training: one soon, then one every N epochs, from one prompt and the same random numbers."""

import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from audiornn import figures
from audiornn.array_types import Codes
from audiornn.dataset import shards
from audiornn.dataset.recordings import loudest
from audiornn.dataset.shards import Manifest
from audiornn.generation import clips
from audiornn.models.base import AudioModel
from audiornn.params import Generate, Train
from audiornn.training.progress import ModelOnDemand, Progress

SHARE = 0.05  # of the time that training takes, which clips may take at most
SECONDS, PROMPT_SECONDS = 2.0, 0.5
WINDOWS = 64  # that are searched for a prompt
FIRST = 15.0  # seconds that a first clip is expected to take, compilation included
MEASURED = 10.0  # seconds of training, compiled, from which it is judged how long all of it will take


class TrainingClips:
    """Makes a clip where one is due and the time that training is expected to take allows it.

    The first is due at once, later ones whenever another `listen_every` epochs have passed. The first is paid in
    advance, out of the time that clips may take in all of the training; what is left then becomes available evenly as
    the budget is spent.

    The weights are only read, and random numbers are drawn from a generator of its own: training goes on as it would
    have without.

    Parameters
    ----------
    manifest
        Of the shards, of whose validation split a loud piece becomes the prompt.
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
        manifest: Manifest,
        params: Train,
        deliver: Callable[[Path], None],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.manifest, self.deliver, self.clock = manifest, deliver, clock
        self.every = params.listen_every
        self.request = Generate(seconds=SECONDS, seed=params.seed)
        self.begin, self.cost = clock(), FIRST  # cost: what the next clip is expected to take
        self.count, self.seconds = 0, 0.0
        self._compiled: tuple[float, float] | None = None  # time and share of the budget at the first call
        self._first = 0.0  # seconds that the first clip took
        self._due = 0.0  # the epoch of the next clip
        self._told = False

    def after_batch(self, progress: Progress, model: ModelOnDemand) -> None:
        """Make a clip if it is due and may be made."""
        if self.every is None:
            return
        begin = self.clock()
        self._compiled = self._compiled or (begin, progress.spent)
        if progress.epoch < self._due or not self._allowed(begin, progress.spent):
            return
        with model() as current, tempfile.TemporaryDirectory() as folder:
            if current is None:
                return
            compilation = self._make(progress, current, Path(folder))
            self.deliver(Path(folder))
        took = self.clock() - begin
        if not self.count:
            self._first = took
            took -= compilation  # the next one is spared it
        self.cost = took
        self.count, self.seconds = self.count + 1, self.seconds + self.clock() - begin
        # 1e-6: an epoch such as 0.6 must not become due again at 0.6000000001, which is 3 times 0.2.
        self._due = (math.floor(progress.epoch / self.every + 1e-6) + 1) * self.every

    @property
    def share(self) -> float:
        """The share of the time since the begin that clips took."""
        return self.seconds / max(self.clock() - self.begin, 1e-9)

    def expected(self, now: float, spent: float) -> float | None:
        """Seconds that the whole training is expected to take, clips left out; None while it is too early to say."""
        assert self._compiled
        since, before = self._compiled
        elapsed, learned = (now - start - self.seconds for start in (self.begin, since))
        if spent >= 1:
            return elapsed
        if learned < MEASURED or spent <= before:
            return None
        return elapsed + learned / (spent - before) * (1 - spent)

    def _allowed(self, now: float, spent: float) -> bool:
        """Whether the next clip may be made now."""
        expected = self.expected(now, spent)
        if expected is None:
            return False
        allowed = SHARE * expected
        if self.count:
            before = self._compiled[1] if self._compiled else 0.0
            passed = (spent - before) / (1 - before) if before < 1 else 1.0
            return self.seconds + self.cost <= self._first + (allowed - self._first) * passed
        if self.cost > allowed and not self._told:
            self._told = True
            tqdm.write(
                f"no clips to listen to: the first takes about {self.cost:.0f} s, more than {SHARE:.0%} of the "
                f"{expected:.0f} s that the training is expected to take"
            )
        return self.cost <= allowed

    def _make(self, progress: Progress, model: AudioModel, folder: Path) -> float:
        """Leave a clip in a folder; the seconds of it that went into compilation."""
        start = prompt(self.manifest)
        begin = time.perf_counter()
        [clip], speed = clips.generate_clips(model, self.request, start[None])
        compilation = max(0.0, time.perf_counter() - begin - len(clip.codes) / speed)
        name = f"step-{progress.step:07d}"
        replace(clip, name=name).write(folder)
        title = f"Epoch {progress.epoch:g}, step {progress.step}"
        if progress.scored:
            title += f": validation {progress.scored.validation_loss:.3f} bits per sample"
        figures.save(figures.clip(clip.wave, clip.sample_rate, title), folder / f"{name}.png")
        return compilation


def prompt(manifest: Manifest) -> Codes:
    """The loudest begin of the validation split's first windows: half a second, or what they hold, uint8 [n]."""
    context = manifest.layout.context
    codes, targets = next(iter(shards.read(manifest, "validation", WINDOWS)))
    whole = codes.numpy()[targets.numpy() > 0]
    length = min(round(PROMPT_SECONDS * manifest.codec.sample_rate), context + int(targets.numpy().max()))
    held = [row[:length] for row, n in zip(whole, targets.numpy(), strict=False) if context + n >= length]
    return loudest(held)
