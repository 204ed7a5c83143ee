"""The training loop: epochs, batches, chunks of windows, updates, validations, checkpoints."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from audiornn.backend import tf
from audiornn.codec_metrics import BITS_PER_NAT
from audiornn.common.array_types import Tensor
from audiornn.common.errors import AudioRNNError
from audiornn.dataset import shards
from audiornn.dataset.manifest import REMEDY, Manifest
from audiornn.models.base import AudioModel
from audiornn.training.budget import Budget
from audiornn.training.checkpoints import Checkpointer
from audiornn.training.devices import optimizers
from audiornn.training.devices.steps import DeviceSteps
from audiornn.training.progress.bar import ModelOnDemand, Progress, ProgressBar, Stopwatch
from audiornn.training.progress.curves import StepCurves, ValidationRecord
from audiornn.training.progress.divergence import divergence_message
from audiornn.training.progress.state import TargetSums, TrainingState
from audiornn.training.scores import evaluate_dataset

FETCH_EVERY = 10  # updates whose metrics are fetched from the device at a time


class PendingGradients(NamedTuple):
    """Gradients that await an update, summed over chunks, and the fraction of the budget used before the first."""

    gradients: list[Tensor]
    sums: Tensor  # nats, hits, targets
    chunks: int
    budget_used: float


class PendingMetrics(NamedTuple):
    """Metrics of an update that are still on the device."""

    learning_rate: float
    sums: Tensor  # nats, hits, targets
    gradient_norm: Tensor


class Trainer:
    """A training run: `fit` is the loop, and the methods after it stand in the order in which it calls them.

    Where several workers train together, each runs this same loop. They wait for each other wherever they compute
    together: in `resume`, in the gradients and updates, in a validation, in `_agree_with_workers`, once per batch and
    at the end, and where each reads its own shards, in `_chunk_starts`. Nothing else may do so, as what leads there,
    such as a checkpoint that is due, may differ between them.

    Parameters
    ----------
    devices
        The model and its optimiser.
    manifest
        Of the shards.
    validation, validation_batches
        Batches of the validation split, and how many there are.
    budget, checkpointer, bar
        How long to train; checkpoints; where progress is shown.
    worker, workers
        Which shards to read: all, or those of one of several workers; see `distribution.own_shards`.

    Attributes
    ----------
    on_validation, on_batch
        Hooks; `on_validation` is told whether the weights are the best so far. See `train`.
    """

    def __init__(
        self,
        devices: DeviceSteps,
        manifest: Manifest,
        validation: "tf.data.Dataset",
        validation_batches: int,
        budget: Budget,
        checkpointer: Checkpointer,
        bar: ProgressBar,
        worker: int = 0,
        workers: int = 1,
    ) -> None:
        self.devices, self.params, self.plan = devices, devices.params, devices.plan
        self.manifest, self.validation, self.validation_batches = manifest, validation, validation_batches
        self.worker, self.workers = worker, workers
        self.budget, self.checkpointer, self.bar = budget, checkpointer, bar
        self.on_validation: Callable[[ValidationRecord, AudioModel, bool], None] = lambda record, model, best: None
        self.on_batch: Callable[[Progress, ModelOnDemand], None] = lambda progress, model: None
        self.curves = StepCurves(report=lambda points: None)
        self.state = TrainingState()
        self.best_weights: list[Tensor] = []
        self.learning_rate = 0.0  # of the last update
        self.pending_gradients: PendingGradients | None = None
        self.pending_metrics: list[PendingMetrics] = []
        self.stopwatch = Stopwatch()
        self.validation_seconds = 0.0  # that the last validation took

    def resume(self) -> None:
        """Continue from the last checkpoint, if there is one.

        Raises
        ------
        AudioRNNError
            If it does not fit the model, or the workers do not find the same one.
        """
        if found := self.checkpointer.load():
            self.state, arrays = found
            variables, weights = self.devices.variables, self.devices.model.variables
            wanted = [tuple(variable.shape) for variable in variables]
            best = [tuple(weight.shape) for weight in weights]
            if [array.shape for array in arrays] not in (wanted, wanted + best):
                raise AudioRNNError(f"{self.checkpointer.place}: does not fit the model; remove it and run again")
            for variable, array in zip(variables, arrays[: len(variables)], strict=True):
                variable.assign(array)
            self.best_weights = arrays[len(variables) :]
            self.budget.elapsed_before_resume = self.state.elapsed
            self.bar.write(f"resuming after step {self.state.steps}, where training was interrupted")
        mean, self.budget.elapsed = self.devices.mean_over_workers(self.state.steps, self.budget.read_clock())
        if mean != self.state.steps:
            raise AudioRNNError(
                f"{self.checkpointer.place}: step {self.state.steps}, but other workers resume from another step: all "
                "must see the same checkpoints, or none"
            )

    def fit(self, interrupted: Callable[[], bool]) -> None:
        """Train until the budget is used up or there is another reason to stop; the model then has its best weights."""
        state = self.state
        while not state.stop_reason:
            begun = state.epochs, state.batches
            for codes, targets in self._read_epoch():
                self._train_batch(codes, targets)
                self._count_batch()
                checkpoint_due, interrupt = self._agree_with_workers(interrupted())
                if not self.pending_gradients:
                    self._stop_if_budget_is_used_up()
                if self._is_validation_due():
                    self._validate()
                self._report_progress()
                if state.stop_reason:  # the last validation took a while, in which there may have been a signal
                    checkpoint_due, interrupt = False, self._agree_with_workers(interrupted())[1]
                if (checkpoint_due or interrupt) and not (self.pending_gradients or state.diverged):
                    self._save_checkpoint()
                    if interrupt:
                        raise KeyboardInterrupt
                if state.stop_reason:
                    break
            if begun == (state.epochs, state.batches) and not state.stop_reason:
                raise AudioRNNError(f"{self.manifest.folder}: its shards hold no windows; {REMEDY}")
        self._finish()

    def _read_epoch(self) -> "tf.data.Dataset":
        """The remaining batches of the epoch: codes uint8 [batch, context + targets], targets int32 [batch].

        Where each worker reads its own shards, its part of the batches.
        """
        return shards.read(
            self.manifest,
            "train",
            self.plan.batch_size // self.workers,
            seed=self.params.seed,
            epoch=self.state.epochs,
            skip=self.state.batches,
            crop_targets=self.params.crop_targets,
            worker=self.worker,
            workers=self.workers,
        )

    def _train_batch(self, codes: Tensor, targets: Tensor) -> None:
        """Train on a batch, chunk by chunk, with an update per `accumulation_steps` chunks, until the budget ends."""
        state, devices = self.state, self.devices
        starts = self._chunk_starts(targets)
        codes, targets = devices.split_over_devices(codes, targets, own=self.workers > 1)
        carried = devices.burn_in(codes)
        for i, start in enumerate(starts):
            budget_used = self._budget_used(of_batch=i / len(starts))
            gradients, sums, carried = devices.gradients(codes, targets, tf.constant(start), carried)
            pending = self._accumulate(gradients, sums, budget_used)
            ends_epoch = state.batches == self.budget.batches_per_epoch - 1 and start == starts[-1]
            if pending.chunks == self.params.accumulation_steps or ends_epoch:
                self._update_weights(pending)
                self._stop_if_budget_is_used_up(of_batch=(i + 1) / len(starts))
                if state.stop_reason:
                    return

    def _chunk_starts(self, targets: Tensor) -> range:
        """First codes of the chunks that have a target, on any worker."""
        starts = self.plan.chunk_starts(int(targets.numpy().max()))
        if self.workers == 1:
            return starts
        most = self.plan.chunk_starts(self.plan.targets)
        return most[: self.devices.max_over_workers(len(starts), len(most))]

    def _accumulate(self, gradients: list[Tensor], sums: Tensor, budget_used: float) -> PendingGradients:
        """Add the gradients of a chunk to those that await an update."""
        chunks = 1
        if before := self.pending_gradients:
            gradients, sums = self.devices.add_gradients(before.gradients, gradients), before.sums + sums
            chunks, budget_used = before.chunks + 1, before.budget_used
        self.pending_gradients = PendingGradients(gradients, sums, chunks, budget_used)
        return self.pending_gradients

    def _update_weights(self, pending: PendingGradients) -> None:
        """Update the weights, at the learning rate of the first chunk."""
        self.learning_rate = optimizers.learning_rate(self.params, self.state.steps, pending.budget_used)
        norm = self.devices.apply_gradients(pending.gradients, pending.sums[2], self.learning_rate)
        self.state.steps += 1
        self.pending_gradients = None
        self.pending_metrics.append(PendingMetrics(self.learning_rate, pending.sums, norm))
        if len(self.pending_metrics) == FETCH_EVERY:
            self._fetch_metrics()

    def _fetch_metrics(self) -> None:
        """Fetch the metrics of the last updates from the device, count them, and stop if the loss has diverged."""
        if not self.pending_metrics:
            return
        state, pending = self.state, self.pending_metrics
        seconds = self.stopwatch.lap()
        state.seconds += seconds
        for step, update in enumerate(pending, state.steps - len(pending) + 1):
            nats, hits, targets = update.sums.numpy().tolist()
            self.bar.recent.add(nats, hits, targets)
            state.targets += int(targets)
            state.since_validation.add(nats, hits, targets)
            point = state.curve_sums.add(
                step, nats, targets, update.learning_rate, float(update.gradient_norm), seconds / len(pending)
            )
            if point:
                self.curves.add(point)
            cause = state.monitor.observe(nats / targets, self.params.divergence_bits)
            if cause:
                state.diverged = True
                state.stop_reason = divergence_message(cause, state.epochs + 1, step, state.best_epoch, self.params)
                break
        self.pending_metrics = []
        used = self._budget_used()
        self.bar.recent.mark(state.seconds, used, state.targets)
        self.bar.update(state, used, self._time_left(used))
        self.curves.flush_if_due()

    def _time_left(self, budget_used: float) -> float | None:
        """Expected seconds to the end of the training, validations included; None while it is too early to tell."""
        state, recent = self.state, self.bar.recent
        learning = self.budget.seconds_left() if self.params.minutes else recent.seconds_left(budget_used)
        if learning is None:
            return None
        # Before the first validation: a forward pass is about a third of an update.
        speed = recent.targets_per_second
        expected = self.manifest.splits["validation"].targets / speed / 3 if speed else 0.0
        batches = state.epochs * self.budget.batches_per_epoch + state.batches
        return learning + self.budget.validations_left(state.steps, batches) * (self.validation_seconds or expected)

    def _budget_used(self, of_batch: float = 0.0) -> float:
        """The fraction of the budget that is used up after `of_batch` of the next batch."""
        state = self.state
        batches = state.epochs * self.budget.batches_per_epoch + state.batches + of_batch
        return self.budget.fraction(state.steps, batches)

    def _stop_if_budget_is_used_up(self, of_batch: float = 0.0) -> None:
        """Stop, unless there was another reason before."""
        if not self.state.stop_reason and self._budget_used(of_batch) >= 1:
            self.state.stop_reason = f"after {self.budget}"

    def _count_batch(self) -> None:
        """Advance to the next batch, or to the next epoch."""
        state = self.state
        state.batches += 1
        if state.batches == self.budget.batches_per_epoch:
            state.epochs, state.batches = state.epochs + 1, 0

    def _agree_with_workers(self, interrupted: bool) -> tuple[bool, bool]:
        """Agree on the time, and whether a checkpoint is due and training interrupted: for all workers, if for any."""
        due = self.checkpointer.is_due(self.state.steps)
        any_due, any_interrupted, self.budget.elapsed = self.devices.mean_over_workers(
            float(due), float(interrupted), self.budget.read_clock()
        )
        return any_due > 0, any_interrupted > 0

    def _is_validation_due(self) -> bool:
        """Whether the weights are to be scored now: always at the end."""
        state, interval = self.state, self.params.validate_every_steps
        since = state.steps - state.validated_steps
        if state.stop_reason:
            return since > 0
        return since >= interval if interval else not state.batches

    def _validate(self) -> None:
        """Score the weights and keep the best; stop where none have been better for too long."""
        self._fetch_metrics()
        state, devices = self.state, self.devices
        if state.diverged:
            return
        with self.stopwatch.paused(), devices.ema_weights() as model:
            begin = time.perf_counter()
            scores = evaluate_dataset(
                self.bar.validation(self.validation, self.validation_batches),
                lambda *batch: devices.score_batch(*devices.split_over_devices(*batch)),
            )
            self.validation_seconds = time.perf_counter() - begin
            sums = state.since_validation
            record = ValidationRecord(
                epoch=self._epoch,
                step=state.steps,
                train_loss=sums.nats / sums.targets * BITS_PER_NAT,
                validation_loss=scores["bits_per_sample"],
                train_accuracy=sums.hits / sums.targets,
                validation_accuracy=scores["accuracy"],
                learning_rate=self.learning_rate,
                targets_per_second=state.targets_per_second,
            )
            state.since_validation, state.validated_steps = TargetSums(), state.steps
            best = state.add_validation(record)
            if best:
                self.best_weights = [variable.numpy() for variable in model.variables]
            self.curves.flush()
            self.on_validation(record, model, best)
        self.bar.write(f"{record} (best)" if best else f"{record}")
        patience = self.params.patience
        if patience and state.validations_since_best >= patience and not state.stop_reason:
            unit = "validations" if self.params.validate_every_steps else "epochs"
            state.stop_reason = f"early: no better validation loss for {patience} {unit}"

    @property
    def _epoch(self) -> float:
        """Passes over the training split so far, whole ones as whole numbers."""
        passes = self.state.epochs + self.state.batches / self.budget.batches_per_epoch
        return int(passes) if passes == int(passes) else round(passes, 4)

    def _report_progress(self) -> None:
        """Tell the caller where training stands, unless it diverged."""
        state = self.state
        if state.diverged:
            return
        record = state.history[-1] if state.history and state.validated_steps == state.steps else None
        used = 1.0 if state.stop_reason else min(1.0, self._budget_used())
        with self.stopwatch.paused():
            self.on_batch(Progress(self._epoch, state.steps, used, record), self._finite_model)

    @contextmanager
    def _finite_model(self) -> Iterator[AudioModel | None]:
        """The model as a validation would score it; None, where weights are not finite, as the loss will show soon."""
        with self.devices.ema_weights() as model:
            yield model if all(np.isfinite(weight).all() for weight in model.get_weights()) else None

    def _save_checkpoint(self) -> None:
        """Save all that the rest of the training depends on."""
        self._fetch_metrics()
        self.curves.flush()  # points after this checkpoint are reported again on resume
        self.state.elapsed = self.budget.read_clock()
        weights = [variable.numpy() for variable in self.devices.variables]
        self.checkpointer.save(self.state, [*weights, *self.best_weights])

    def _finish(self) -> None:
        """Give the model its best weights."""
        self.curves.flush()
        self.state.elapsed = self.budget.read_clock()
        if not self.best_weights:
            self.checkpointer.clear()  # it would only end here again
            raise AudioRNNError(self.state.stop_reason)
        self.devices.set_weights(self.best_weights)
