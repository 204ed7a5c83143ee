"""Clips during training: one soon, then one every N epochs, from one prompt and the same random numbers."""

import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from audiornn.common.array_types import Codes
from audiornn.common.waits import announced
from audiornn.dataset import shards
from audiornn.dataset.manifest import Manifest
from audiornn.generation import clips
from audiornn.models.base import AudioModel
from audiornn.params import Generate, Train
from audiornn.preparation.recordings import loudest
from audiornn.training.progress.bar import ModelOnDemand, Progress

SHARE = 0.05  # maximum share of the training time that clips may take
SECONDS, PROMPT_SECONDS = 2.0, 0.5
WINDOWS = 64  # windows searched for a prompt
FIRST = 15.0  # estimated seconds for the first clip, with compilation
MEASURED = 10.0  # seconds of training, after compilation, from which the total time is extrapolated


class TrainingClips:
    """Generate clips during training, within a share of the expected training time.

    The first clip is due at once, further ones every `clip_every_epochs` epochs. The first is charged in advance to the
    time allowed for clips; the rest of that time becomes available in proportion to the budget used.

    The weights are only read, and the random generator is separate: training is the same as without clips.

    Parameters
    ----------
    manifest
        Of the shards, of whose validation split a loud piece becomes the prompt.
    params
        The `train` section.
    deliver
        Called with a temporary folder that holds the wav file and the figure of a clip.
    clock
        Seconds.

    Attributes
    ----------
    count, seconds
        Number of clips so far, and the time they took.
    """

    def __init__(
        self,
        manifest: Manifest,
        params: Train,
        deliver: Callable[[Path], None],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.manifest, self.deliver, self.clock = manifest, deliver, clock
        self.every = params.clip_every_epochs
        self.request = Generate(seconds=SECONDS, seed=params.seed)
        self.begin, self.cost = clock(), FIRST  # cost: expected seconds for the next clip
        self.count, self.seconds = 0, 0.0
        self._compiled: tuple[float, float] | None = None  # time and budget used at the first call
        self._first = 0.0  # seconds that the first clip took
        self._due = 0.0  # epoch of the next clip
        self._told = False

    def after_batch(self, progress: Progress, model: ModelOnDemand) -> None:
        """Make a clip if it is due and may be made."""
        if self.every is None:
            return
        begin = self.clock()
        self._compiled = self._compiled or (begin, progress.budget_used)
        if progress.epoch < self._due or not self._allowed(begin, progress.budget_used):
            return
        with model() as current, tempfile.TemporaryDirectory() as folder:
            if current is None:
                return
            with announced("generating a clip" if self.count else "generating the first clip, compiled once"):
                compilation = self._make(progress, current, Path(folder))
            self.deliver(Path(folder))
        took = self.clock() - begin
        if not self.count:
            self._first = took
            took -= compilation  # later clips do not compile
        self.cost = took
        self.count, self.seconds = self.count + 1, self.seconds + self.clock() - begin
        # 1e-6: with floats, 3 * 0.2 is 0.6000000001: without the margin the clip of epoch 0.6 would be due twice.
        self._due = (math.floor(progress.epoch / self.every + 1e-6) + 1) * self.every

    @property
    def share(self) -> float:
        """Share of the time since the start that clips took."""
        return self.seconds / max(self.clock() - self.begin, 1e-9)

    def expected(self, now: float, budget_used: float) -> float | None:
        """Expected duration of the training in seconds, without clips; None while it is too early to estimate."""
        assert self._compiled
        since, before = self._compiled
        elapsed, learned = (now - start - self.seconds for start in (self.begin, since))
        if budget_used >= 1:
            return elapsed
        if learned < MEASURED or budget_used <= before:
            return None
        return elapsed + learned / (budget_used - before) * (1 - budget_used)

    def _allowed(self, now: float, budget_used: float) -> bool:
        """Whether the time allows a clip now."""
        expected = self.expected(now, budget_used)
        if expected is None:
            return False
        allowed = SHARE * expected
        if self.count:
            before = self._compiled[1] if self._compiled else 0.0
            passed = (budget_used - before) / (1 - before) if before < 1 else 1.0
            return self.seconds + self.cost <= self._first + (allowed - self._first) * passed
        if self.cost > allowed and not self._told:
            self._told = True
            tqdm.write(
                f"no clips during training: the first takes about {self.cost:.0f} s, more than {SHARE:.0%} of the "
                f"expected training time of {expected:.0f} s"
            )
        return self.cost <= allowed

    def _make(self, progress: Progress, model: AudioModel, folder: Path) -> float:
        """Write a clip to a folder; return the seconds spent on compilation."""
        from audiornn import figures  # with matplotlib, for which not every training has to wait

        start = prompt(self.manifest)
        begin = time.perf_counter()
        [clip], speed = clips.generate_clips(model, self.request, start[None])
        compilation = max(0.0, time.perf_counter() - begin - len(clip.codes) / speed)
        name = f"step-{progress.step:07d}"
        replace(clip, name=name).write(folder)
        title = f"Epoch {progress.epoch:g}, step {progress.step}"
        if progress.validation:
            title += f": validation {progress.validation.validation_loss:.3f} bits per sample"
        figures.save(figures.clip(clip.wave, clip.sample_rate, title), folder / f"{name}.png")
        return compilation


def prompt(manifest: Manifest) -> Codes:
    """The loudest start of a window among the first ones of the validation split: at most half a second, uint8 [n]."""
    context = manifest.layout.context
    codes, targets = next(iter(shards.read(manifest, "validation", WINDOWS)))
    whole = codes.numpy()[targets.numpy() > 0]
    length = min(round(PROMPT_SECONDS * manifest.codec.sample_rate), context + int(targets.numpy().max()))
    held = [row[:length] for row, n in zip(whole, targets.numpy(), strict=False) if context + n >= length]
    return loudest(held)
