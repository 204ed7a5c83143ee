"""Train a model on shards: one loop, which keeps the best weights and knows when to stop."""

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from audiornn.backend import deterministic, tf
from audiornn.dataset import shards
from audiornn.dataset.shards import Manifest
from audiornn.errors import AudioRNNError
from audiornn.evaluation import scores as scores_module
from audiornn.evaluation.scores import default_batch
from audiornn.models import storage
from audiornn.models.base import AudioModel, TrainingWindow
from audiornn.params import Train
from audiornn.training import distribution, optimizers
from audiornn.training.batch_plan import plan
from audiornn.training.checkpoints import Store, identity, interruptions
from audiornn.training.progress import BAR, BITS, Epoch, ModelOnDemand, Point, Progress, Result, write_log
from audiornn.training.steps import Learner

SMOOTHING = 0.9  # of the running loss that divergence is judged by
SETTLE = 10  # updates whose numbers are fetched from the device at a time
POINT = 20  # updates that make a point of the curves by step
DELIVERY = 5.0  # seconds after which such points are handed on


def train(
    manifest: Manifest,
    output: str | Path,
    params: Train,
    *,
    log: str | Path | None = None,
    on_epoch: Callable[[Epoch, AudioModel], None] = lambda epoch, model: None,
    on_batch: Callable[[Progress, ModelOnDemand], None] = lambda progress, model: None,
    on_steps: Callable[[list[Point]], None] = lambda points: None,
    model_files: dict[str, Any] | None = None,
    store: Store | None = None,
    clock: Callable[[], float] = time.monotonic,
    progress: bool = True,
) -> tuple[AudioModel, Result]:
    """Train a model on the training part of a folder of shards.

    After each epoch, or every `evaluate_steps` updates, the validation part is scored; whenever it is the best so far,
    the model is written to `output`, so that whatever ends a run, the best weights are there. A run ends when its
    budget is used up, after `patience` validations without a better one, or when it diverges: when the loss is not
    finite, or its running mean has risen by `divergence_bits` over its lowest. At the end there is a validation, which
    a budget of minutes does not cover.

    Parameters
    ----------
    manifest
        Of the shards, as `audiornn.dataset.shards.write` leaves them.
    output
        Folder for the best model.
    params
        The `train` section.
    log
        A csv file with a line a validation.
    on_epoch
        Called after each validation, with the model that was scored.
    on_batch
        Called after each batch, and after the validation where one follows, with a context that gives the model as a
        validation would score it. It may read the weights; its time does not count as time of learning.
    on_steps
        Called every some seconds with points of the curves by step.
    model_files
        More JSON files to store with the model, by name.
    store
        Where checkpoints are kept. What is found there is gone on with: the training ends as if it had never been
        interrupted, to the bit, unless its budget is in minutes.
    clock
        Seconds that a budget of minutes is counted in, such as `time.process_time`.
    progress
        Whether to show a progress bar on stderr.

    Returns
    -------
    The model with its best weights, and how it went.

    Raises
    ------
    AudioRNNError
        If parameters do not fit the model or the shards, or if it diverged before the first validation, so that there
        is no model to keep.
    KeyboardInterrupt
        After a signal to interrupt or terminate the process; with a store, once all is saved.
    """
    begin = clock()
    strategy = distribution.strategy(params.strategy)
    writes = distribution.is_chief()
    deterministic(params.seed)
    layout, split = manifest.layout, manifest.splits["train"]
    with strategy.scope():
        model = storage.build(params.model.name, **params.model.sizes)
        model.codec, model.window = manifest.codec, TrainingWindow(layout.context, layout.span)
        start_at_frequencies(model, split.code_counts)
        optimizer = optimizers.make(params, model, scaled=optimizers.mixed_precision(params.mixed_precision))
    devices = strategy.num_replicas_in_sync
    batches = plan(params, layout.context, layout.span, split.windows, model.hop, devices)
    learner = Learner(model, optimizer, batches, params, strategy)

    def on_validation(epoch: Epoch, scored: AudioModel, best: bool) -> None:
        if best:
            storage.save(scored, output, model_files)
        if log:
            write_log(log, training.result.history)
        on_epoch(epoch, scored)

    with tqdm(total=1.0, bar_format=BAR, disable=not progress or not writes, dynamic_ncols=True) as bar:
        training = Training(learner, manifest, clock, begin, store, bar)
        if writes:
            training.on_validation, training.on_batch, training.on_steps = on_validation, on_batch, on_steps
        if training.restore() and training.best and writes:  # the output may have been removed since
            with learner.holding(training.best):
                storage.save(model, output, model_files)
            if log:
                write_log(log, training.result.history)
        with interruptions() if store or distribution.cluster() else nullcontext(lambda: False) as interrupted:
            training.loop(interrupted)
    return model, training.result


class Training:
    """A training under way: `loop` is all of it; the other methods learn, count and validate."""

    def __init__(
        self,
        learner: Learner,
        manifest: Manifest,
        clock: Callable[[], float],
        begin: float,
        store: Store | None,
        bar: Any,
    ) -> None:
        self.learner, self.params, self.manifest = learner, learner.params, manifest
        self.clock, self.begin = clock, begin
        self.store, self.bar = store, bar
        self.on_validation: Callable[[Epoch, AudioModel, bool], None] = lambda epoch, model, best: None
        self.on_batch: Callable[[Progress, ModelOnDemand], None] = lambda progress, model: None
        self.on_steps: Callable[[list[Point]], None] = lambda points: None
        self.batches = -(-manifest.splits["train"].windows // learner.layout.batch)  # an epoch
        self.validation = shards.read(manifest, "validation", default_batch(manifest.layout.length))
        self.result, self.before, self.used = Result(), 0.0, 0.0
        self.best: list[Any] = []  # weights
        self.gathered: Any = None  # gradients and sums of pieces that await an update; how many; budget spent before
        self.unsettled: list[tuple[float, Any, Any]] = []  # learning rate, sums and norm of updates
        self.points: list[Point] = []
        self.mark = self.delivered = time.perf_counter()
        self.saved = time.monotonic()  # when, and after how many updates
        self.saved_steps = 0

    def loop(self, interrupted: Callable[[], bool]) -> None:
        """Train until the budget is used up or there is another reason to stop; the model then has its best weights."""
        result, params = self.result, self.params
        while not result.stopped:
            order: dict[str, Any] = {"seed": params.seed, "epoch": result.epochs, "skip": result.batches}
            for codes, targets in shards.read(
                self.manifest, "train", self.learner.layout.batch, **order, crop=params.crop
            ):
                self.learn(codes, targets)
                result.batches += 1
                if result.batches == self.batches:
                    result.epochs, result.batches = result.epochs + 1, 0
                if self.validation_is_due():
                    self.validate()
                self.tell()
                if result.stopped:
                    break
                if not self.gathered:
                    ends = self.learner.agree(interrupted())[0] > 0
                    if self.store and (ends or self.checkpoint_is_due()):
                        self.save(self.store)
                    if ends:
                        raise KeyboardInterrupt
        self.deliver()
        if not self.best:
            if self.store:
                self.store.clear()  # it would only end here again
            raise AudioRNNError(result.stopped)
        self.learner.put(self.best)

    def learn(self, codes: Any, targets: Any) -> None:
        """Learn a batch of windows, piece by piece; stop where the budget ends."""
        result, learner = self.result, self.learner
        windows = learner.share(codes, targets)
        state = learner.begin(windows[0])
        starts = learner.layout.starts(int(targets.numpy().max()))
        for i, start in enumerate(starts):
            spent = self.spent(i / len(starts))
            gradients, sums, state = learner.learn(*windows, tf.constant(start), state)
            self.gather(gradients, sums, spent)
            ends_epoch = result.batches == self.batches - 1 and start == starts[-1]
            if self.gathered[2] == self.params.accumulate or ends_epoch:
                self.update()
                if self.spent((i + 1) / len(starts)) >= 1:
                    result.stopped = result.stopped or f"after {self.params.budget}"
                if result.stopped:
                    return

    def gather(self, gradients: Any, sums: Any, spent: float) -> None:
        """Add gradients to those that await an update."""
        if self.gathered:
            others, their_sums, pieces, spent = self.gathered
            self.gathered = self.learner.add(others, gradients), their_sums + sums, pieces + 1, spent
        else:
            self.gathered = gradients, sums, 1, spent

    def update(self) -> None:
        """Move the weights by what was gathered, at the learning rate of the first of it."""
        gradients, sums, _, spent = self.gathered
        self.rate = optimizers.learning_rate(self.params, self.result.steps, spent)
        norm = self.learner.update(gradients, sums[2], self.rate)
        self.result.steps += 1
        self.gathered = None
        self.unsettled.append((self.rate, sums, norm))
        if len(self.unsettled) == SETTLE:
            self.settle()

    def spent(self, of_batch: float = 0.0) -> float:
        """The share of the budget that is used up after `of_batch` of the next batch."""
        result, params = self.result, self.params
        result.elapsed = self.before + self.clock() - self.begin
        if params.minutes:
            self.used = self.learner.agree(result.elapsed)[0] / (60 * params.minutes)
        elif params.steps:
            self.used = result.steps / params.steps
        else:
            assert params.epochs  # one budget is set
            self.used = (result.epochs * self.batches + result.batches + of_batch) / (params.epochs * self.batches)
        return self.used

    @property
    def passes(self) -> float:
        """Passes over the training part so far, whole ones as whole numbers."""
        passes = self.result.epochs + self.result.batches / self.batches
        return int(passes) if passes == int(passes) else round(passes, 4)

    def tell(self) -> None:
        """Hand on where the training stands; the time that this takes is not the learner's."""
        result, begin = self.result, time.perf_counter()
        if result.diverged:
            return
        scored = result.history[-1] if result.history and result.evaluated == result.steps else None
        spent = 1.0 if result.stopped else min(1.0, self.used)
        self.on_batch(Progress(self.passes, result.steps, spent, scored), self.learner.averaged)
        self.mark += time.perf_counter() - begin

    def settle(self) -> None:
        """Fetch the numbers of the last updates, count them, and see whether the loss has run away."""
        result, params = self.result, self.params
        seconds = time.perf_counter() - self.mark
        self.mark += seconds
        result.seconds += seconds
        first = result.steps - len(self.unsettled) + 1
        for step, (rate, sums, norm) in enumerate(self.unsettled, first):
            nats, hits, targets = sums.numpy().tolist()
            loss = nats / targets
            result.targets += int(targets)
            result.sums = [a + b for a, b in zip(result.sums, (nats, hits, targets), strict=True)]
            of_point = (nats, targets, float(norm), seconds / len(self.unsettled))
            result.point = [a + b for a, b in zip(result.point, of_point, strict=True)]
            if step % POINT == 0:
                nats, targets, norms, took = result.point
                self.points.append(Point(step, nats / targets * BITS, rate, norms / POINT, targets / took))
                result.point = [0.0] * 4
            before = loss if math.isnan(result.running) else result.running
            result.running = SMOOTHING * before + (1 - SMOOTHING) * loss
            result.lowest = min(result.lowest, result.running)
            if not math.isfinite(loss) or (result.running - result.lowest) * BITS > params.divergence_bits:
                result.diverged, result.stopped = True, self.divergence(step, loss)
                break
        if self.unsettled:
            self.show(hits / targets)
        self.unsettled.clear()
        if time.perf_counter() - self.delivered > DELIVERY:
            self.deliver()

    def deliver(self) -> None:
        """Hand the points of the curves on."""
        if self.points:
            self.on_steps(self.points)
        self.points, self.delivered = [], time.perf_counter()

    def validation_is_due(self) -> bool:
        """Whether the weights are to be scored now: always at the end."""
        since = self.result.steps - self.result.evaluated
        if self.result.stopped:
            return since > 0
        return since >= self.params.evaluate_steps if self.params.evaluate_steps else not self.result.batches

    def validate(self) -> None:
        """Score the weights, keep the best; stop where none have been better for too long."""
        result, learner = self.result, self.learner
        self.settle()
        if result.diverged:
            return
        with learner.averaged() as model:
            scores = scores_module.evaluate_dataset(
                self.validation, lambda *batch: learner.score(*learner.share(*batch))
            )
            nats, hits, targets = result.sums
            epoch = Epoch(
                epoch=self.passes,
                step=result.steps,
                train_loss=nats / targets * BITS,
                validation_loss=scores["bits_per_sample"],
                train_accuracy=hits / targets,
                validation_accuracy=scores["accuracy"],
                learning_rate=self.rate,
                targets_per_second=result.targets_per_second,
            )
            result.history.append(epoch)
            result.sums, result.evaluated = [0.0] * 3, result.steps
            best = epoch.validation_loss < result.best_validation  # never true of NaN
            if best:
                result.best_epoch, result.best_validation, result.waited = epoch.epoch, epoch.validation_loss, 0
                self.best = [variable.numpy() for variable in model.variables]
            else:
                result.waited += 1
            self.deliver()
            self.on_validation(epoch, model, best)
        self.bar.write(
            f"epoch {epoch.epoch:3g}: {epoch.train_loss:.3f} bits, {epoch.train_accuracy:.1%} right in training; "
            f"{epoch.validation_loss:.3f} bits, {epoch.validation_accuracy:.1%} right in validation"
            + (" (best)" if best else "")
        )
        if self.params.patience and result.waited >= self.params.patience and not result.stopped:
            times = (
                f"{self.params.patience} validations"
                if self.params.evaluate_steps
                else f"{self.params.patience} epochs"
            )
            result.stopped = f"early: no better validation loss for {times}"
        self.mark = time.perf_counter()

    def checkpoint_is_due(self) -> bool:
        """Whether enough time or updates have passed since the last checkpoint."""
        minutes, steps = self.params.checkpoint_minutes, self.params.checkpoint_steps
        return bool(minutes and time.monotonic() - self.saved >= 60 * minutes) or bool(
            steps and self.result.steps - self.saved_steps >= steps
        )

    def save(self, store: Store) -> None:
        """Keep all that the rest of the training depends on."""
        self.settle()
        self.deliver()  # what is handed on later is made again by who goes on from here
        if distribution.is_chief():
            arrays = [*(variable.numpy() for variable in self.learner.variables), *self.best]
            store.save(self.result.steps, arrays, {"identity": self.identity(), "result": asdict(self.result)})
        self.saved, self.saved_steps = time.monotonic(), self.result.steps

    def identity(self) -> list[Any]:
        """What a checkpoint must agree in."""
        return [identity(self.params.model_dump(), self.manifest), asdict(self.learner.layout)]

    def restore(self) -> bool:
        """Go on from the store's last checkpoint, if there is one.

        Raises
        ------
        AudioRNNError
            If the machines of a cluster do not find the same one.
        """
        found = self._restore()
        if self.learner.agree(self.result.steps)[0] != self.result.steps:
            raise AudioRNNError(
                f"{self.store.folder if self.store else 'no checkpoints'}: step {self.result.steps}, but other "
                "machines go on from another step: all must see the same checkpoints, or none"
            )
        return found

    def _restore(self) -> bool:
        if not self.store or not (saved := self.store.load()):
            return False
        arrays, about = saved
        if about["identity"] != self.identity():
            self.bar.write(f"{self.store.folder}: of other settings, data or code: the training begins anew")
            self.store.clear()
            return False
        for variable, array in zip(self.learner.variables, arrays, strict=False):
            variable.assign(array)
        self.best = arrays[len(self.learner.variables) :]
        history = [Epoch(**epoch) for epoch in about["result"].pop("history")]
        self.result = Result(history, **about["result"])
        self.before, self.saved_steps = self.result.elapsed, self.result.steps
        self.bar.write(f"going on after step {self.result.steps}, where the training was interrupted")
        return True

    def show(self, accuracy: float) -> None:
        """Say on the progress bar how it goes."""
        result = self.result
        self.bar.set_description_str(
            f"epoch {result.epochs + 1}, step {result.steps}: {result.running * BITS:.3f} bits, {accuracy:.1%} right, "
            f"{result.targets_per_second:,.0f} targets/s",
            refresh=False,
        )
        self.bar.update(min(1.0, self.spent()) - self.bar.n)

    def divergence(self, step: int, loss: float) -> str:
        """What is said of a loss that has run away."""
        result, params = self.result, self.params
        running, lowest = result.running * BITS, result.lowest * BITS
        what = (
            f"the running loss rose to {running:.2f} bits, {running - lowest:.2f} above its lowest"
            if math.isfinite(loss)
            else f"the loss is {loss}"
        )
        kept = f"the weights of epoch {result.best_epoch:g} are kept" if self.best else "there is no model to keep"
        return (
            f"training diverged in epoch {result.epochs + 1}, step {step}: {what}; {kept}; "
            f"a train.learning_rate below {params.learning_rate:g} or a train.clip_norm below {params.clip_norm:g} "
            "may help"
        )


def start_at_frequencies(model: AudioModel, counts: list[int]) -> None:
    """Let a fresh model predict the frequencies of the codes: it need not learn them first."""
    if model.output_bias is not None:
        smoothed = np.asarray(counts, np.float64) + 1
        model.output_bias.assign(np.log(smoothed / smoothed.sum()))
