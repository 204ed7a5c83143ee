"""The training loop: epochs, batches, chunks of windows, updates, validations, checkpoints."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from audiornn.backend import tf
from audiornn.common.array_types import Tensor
from audiornn.common.errors import AudioRNNError
from audiornn.dataset import shards
from audiornn.dataset.manifest import REMEDY, Manifest
from audiornn.models.base import AudioModel
from audiornn.training.budget import Budget
from audiornn.training.checkpoints import Checkpointer
from audiornn.training.devices import optimizers
from audiornn.training.devices.steps import DeviceSteps
from audiornn.training.progress.bar import ModelOnDemand, Progress
from audiornn.training.progress.curves import ValidationRecord
from audiornn.training.progress.meter import PendingMetrics, ProgressMeter
from audiornn.training.progress.state import TargetSums, TrainingState
from audiornn.training.scores import evaluate_dataset


class PendingGradients(NamedTuple):
    """Gradients that await an update, summed over chunks, and the fraction of the budget used before the first."""

    gradients: list[Tensor]
    sums: Tensor  # nats, hits, targets
    chunks: int
    budget_used: float


class Trainer:
    """A training run: `fit` is the loop; its steps follow in the order in which it takes them, then their conditions.

    If several workers train together, each runs this same loop. They wait for each other wherever they compute
    together: in `resume`, in gradients and updates, in a validation, in `_agree_with_workers`, once per batch and at
    the end, and, if each reads its own shards, in `_chunk_starts`. Nothing else may wait for other workers, as they may
    not all get there: whether a checkpoint is due, for example, may differ between them.

    Parameters
    ----------
    devices
        The model and its optimiser.
    manifest
        Of the shards.
    validation, validation_batches
        Batches of the validation split, and how many there are.
    budget, checkpointer, meter
        How long to train; checkpoints; metrics of the updates.
    worker, workers
        Which shards to read: all, or those of one of several workers; see `distribution.own_shards`.

    Attributes
    ----------
    on_validation, on_batch
        Callbacks, as of `train`; the last argument of `on_validation` is whether the weights are the best so far.
    """

    def __init__(
        self,
        devices: DeviceSteps,
        manifest: Manifest,
        validation: "tf.data.Dataset",
        validation_batches: int,
        budget: Budget,
        checkpointer: Checkpointer,
        meter: ProgressMeter,
        worker: int = 0,
        workers: int = 1,
    ) -> None:
        self.devices, self.params, self.plan = devices, devices.params, devices.plan
        self.manifest, self.validation, self.validation_batches = manifest, validation, validation_batches
        self.worker, self.workers = worker, workers
        self.budget, self.checkpointer, self.meter = budget, checkpointer, meter
        self.on_validation: Callable[[ValidationRecord, AudioModel, bool], None] = lambda record, model, best: None
        self.on_batch: Callable[[Progress, ModelOnDemand], None] = lambda progress, model: None
        self.state = TrainingState()
        self.best_weights: list[Tensor] = []
        self.learning_rate = 0.0  # of the last update
        self.pending_gradients: PendingGradients | None = None

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
            self.meter.bar.write(f"resuming after step {self.state.steps}, where training was interrupted")
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
            before = state.epochs, state.batches
            for codes, targets in self._read_epoch():
                self._train_batch(codes, targets)
                state.add_batch(self.budget.batches_per_epoch)
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
            if before == (state.epochs, state.batches) and not state.stop_reason:
                raise AudioRNNError(f"{self.manifest.folder}: its shards hold no windows; {REMEDY}")
        self._finish()

    def _train_batch(self, codes: Tensor, targets: Tensor) -> None:
        """Train on a batch, chunk by chunk, with an update per `accumulation_steps` chunks, until the budget ends."""
        state, devices = self.state, self.devices
        starts = self._chunk_starts(targets)
        inputs = self._add_input_noise(codes)
        codes, targets, inputs = devices.split_over_devices(codes, targets, inputs, own=self.workers > 1)
        carried = devices.burn_in(inputs)
        for i, start in enumerate(starts):
            budget_used = self._budget_used(of_batch=i / len(starts))
            gradients, sums, carried = devices.compute_gradients(codes, targets, tf.constant(start), carried, inputs)
            pending = self._accumulate(gradients, sums, budget_used)
            ends_epoch = state.batches == self.budget.batches_per_epoch - 1 and start == starts[-1]
            if pending.chunks == self.params.accumulation_steps or ends_epoch:
                self._update_weights(pending)
                self._stop_if_budget_is_used_up(of_batch=(i + 1) / len(starts))
                if state.stop_reason:
                    return

    def _accumulate(self, gradients: list[Tensor], sums: Tensor, budget_used: float) -> PendingGradients:
        """Add the gradients of a chunk to those that await an update; returns their sum."""
        chunks = 1
        if before := self.pending_gradients:
            gradients, sums = self.devices.add_gradients(before.gradients, gradients), before.sums + sums
            chunks, budget_used = before.chunks + 1, before.budget_used
        self.pending_gradients = PendingGradients(gradients, sums, chunks, budget_used)
        return self.pending_gradients

    def _update_weights(self, pending: PendingGradients) -> None:
        """Update the weights at the learning rate of the first chunk."""
        self.learning_rate = optimizers.learning_rate(self.params, self.state.steps, pending.budget_used)
        norm = self.devices.apply_gradients(pending.gradients, pending.sums[2], self.learning_rate)
        self.state.steps += 1
        self.pending_gradients = None
        self.meter.add(self.state, PendingMetrics(self.learning_rate, pending.sums, norm))

    def _validate(self) -> None:
        """Score the weights and keep the best; stop if none have been better for too long."""
        state, devices, meter = self.state, self.devices, self.meter
        meter.fetch(state)
        if state.diverged:
            return
        with meter.stopwatch.paused(), devices.ema_weights() as model:
            begin = time.perf_counter()
            scores = evaluate_dataset(
                meter.bar.track_validation(self.validation, self.validation_batches),
                lambda *batch: devices.score_batch(*devices.split_over_devices(*batch)),
            )
            meter.validation_seconds = time.perf_counter() - begin
            record = ValidationRecord(
                epoch=state.count_epochs(self.budget.batches_per_epoch),
                step=state.steps,
                train_loss=state.since_validation.bits_per_sample,
                validation_loss=scores["bits_per_sample"],
                train_accuracy=state.since_validation.accuracy,
                validation_accuracy=scores["accuracy"],
                learning_rate=self.learning_rate,
                targets_per_second=state.targets_per_second,
            )
            state.since_validation, state.validated_steps = TargetSums(), state.steps
            best = state.add_validation(record)
            if best:
                self.best_weights = [variable.numpy() for variable in model.variables]
            meter.curves.flush()
            self.on_validation(record, model, best)
        meter.bar.write(f"{record} (best)" if best else f"{record}")
        patience = self.params.patience
        if patience and state.validations_since_best >= patience and not state.stop_reason:
            unit = "validations" if self.params.validate_every_steps else "epochs"
            state.stop_reason = f"early: no better validation loss for {patience} {unit}"

    def _save_checkpoint(self) -> None:
        """Save everything that the rest of the training depends on."""
        self.meter.fetch(self.state)
        self.meter.curves.flush()  # points after this checkpoint are reported again on resume
        self.state.elapsed = self.budget.read_clock()
        weights = [variable.numpy() for variable in self.devices.variables]
        self.checkpointer.save(self.state, [*weights, *self.best_weights])

    def _finish(self) -> None:
        """Give the model its best weights."""
        self.meter.curves.flush()
        self.state.elapsed = self.budget.read_clock()
        if not self.best_weights:
            self.checkpointer.clear()  # it would only end here again
            raise AudioRNNError(self.state.stop_reason)
        self.devices.set_weights(self.best_weights)

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

    def _add_input_noise(self, codes: Tensor) -> Tensor:
        """What the model sees of a batch: other noise in each, and on each worker that reads its own shards."""
        if not self.params.input_noise:
            return codes
        batch = self.state.count_batches(self.budget.batches_per_epoch)
        return self.devices.add_input_noise(codes, tf.constant([self.params.seed, batch * self.workers + self.worker]))

    def _chunk_starts(self, targets: Tensor) -> range:
        """First codes of the chunks that have a target, on any worker."""
        starts = self.plan.chunk_starts(int(targets.numpy().max()))
        if self.workers == 1:
            return starts
        most = self.plan.chunk_starts(self.plan.targets)
        return most[: self.devices.max_over_workers(len(starts), len(most))]

    def _budget_used(self, of_batch: float = 0.0) -> float:
        """The fraction of the budget that is used up after `of_batch` of the next batch."""
        batches = self.state.count_batches(self.budget.batches_per_epoch) + of_batch
        return self.budget.compute_fraction(self.state.steps, batches)

    def _stop_if_budget_is_used_up(self, of_batch: float = 0.0) -> None:
        """Stop, unless there already is another reason."""
        if not self.state.stop_reason and self._budget_used(of_batch) >= 1:
            self.state.stop_reason = f"after {self.budget}"

    def _agree_with_workers(self, interrupted: bool) -> tuple[bool, bool]:
        """Agree on the time, and whether a checkpoint is due and training interrupted: for all workers, if for any."""
        due = self.checkpointer.is_due(self.state.steps)
        any_due, any_interrupted, self.budget.elapsed = self.devices.mean_over_workers(
            float(due), float(interrupted), self.budget.read_clock()
        )
        return any_due > 0, any_interrupted > 0

    def _is_validation_due(self) -> bool:
        """Whether to score the weights now; always at the end, if they have changed since the last validation."""
        state, interval = self.state, self.params.validate_every_steps
        since = state.steps - state.validated_steps
        if state.stop_reason:
            return since > 0
        return since >= interval if interval else not state.batches

    def _report_progress(self) -> None:
        """Report progress to the caller, unless training has diverged."""
        state = self.state
        if state.diverged:
            return
        record = state.history[-1] if state.history and state.validated_steps == state.steps else None
        used = 1.0 if state.stop_reason else min(1.0, self._budget_used())
        epoch = state.count_epochs(self.budget.batches_per_epoch)
        with self.meter.stopwatch.paused():
            self.on_batch(Progress(epoch, state.steps, used, validation=record), self._finite_model)

    @contextmanager
    def _finite_model(self) -> Iterator[AudioModel | None]:
        """The model as a validation would score it; None if weights are not finite, as the loss will soon show."""
        with self.devices.ema_weights() as model:
            yield model if all(np.isfinite(weight).all() for weight in model.get_weights()) else None
