"""Train a model: what surrounds the loop."""

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from audiornn.backend import deterministic, tf
from audiornn.common.errors import AudioRNNError, one_line
from audiornn.common.interrupts import deferred_signals
from audiornn.dataset import shards
from audiornn.dataset.manifest import Manifest
from audiornn.models import storage
from audiornn.models.base import AudioModel, TrainingWindow
from audiornn.params import Train
from audiornn.training.ancestor import Ancestor, find
from audiornn.training.budget import Budget
from audiornn.training.checkpoints import Checkpointer, CheckpointStore, training_fingerprint
from audiornn.training.devices import distribution, optimizers
from audiornn.training.devices.batch_plan import BatchPlan
from audiornn.training.devices.steps import DeviceSteps
from audiornn.training.loop import Trainer
from audiornn.training.progress.bar import ModelOnDemand, Progress, ProgressBar
from audiornn.training.progress.curves import StepMetrics, ValidationRecord, write_history
from audiornn.training.progress.meter import ProgressMeter
from audiornn.training.progress.state import TrainingState
from audiornn.training.scores import default_batch_size
from audiornn.training.start import start_weights


def train(
    manifest: Manifest,
    output: str | Path,
    params: Train,
    *,
    ancestor: Ancestor | None = None,
    log: str | Path | None = None,
    on_validation: Callable[[ValidationRecord, AudioModel], None] = lambda record, model: None,
    on_batch: Callable[[Progress, ModelOnDemand], None] = lambda progress, model: None,
    on_steps: Callable[[list[StepMetrics]], None] = lambda points: None,
    model_files: dict[str, Any] | None = None,
    store: CheckpointStore | None = None,
    clock: Callable[[], float] = time.monotonic,
    progress: bool = True,
) -> tuple[AudioModel, TrainingState]:
    """Train a model on the training split of a folder of shards.

    After each epoch, or every `validate_every_steps` updates, the model is scored on the validation split and, if it is
    the best so far, written to `output`: whatever ends a run, the best weights are there. A run ends when its budget is
    used up, after `patience` validations without improvement, or if it diverges: if the loss is not finite, or its
    running mean exceeds its minimum by `divergence_bits`. There is a final validation, which a budget of minutes does
    not include.

    Parameters
    ----------
    manifest
        Of the shards, as `audiornn.preparation.shard_writer.write` leaves them.
    output
        Folder for the best model.
    params
        The `train` section.
    ancestor
        The model that training starts from; by default the one that `params.start_from` names, if it names any.
    log
        A csv file with a line per validation.
    on_validation
        Called after each validation, with the model that was scored.
    on_batch
        Called after each batch, and after the validation where one follows, with a context that gives the model as a
        validation would score it, or None, where weights are not finite. It may read the weights; its time does not
        count as time of learning.
    on_steps
        Called every few seconds with new points of the curves by step.
    model_files
        Further JSON files to store with the model, by name.
    store
        Where checkpoints are kept. If it holds one, training resumes from it and gives bit-identical results, unless
        the budget is in minutes.
    clock
        Seconds that a budget of minutes is counted in, such as `time.process_time`; read once per batch.
    progress
        Whether to show a progress bar on stderr.

    Returns
    -------
    The model with its best weights, and the state in which training ended.

    Raises
    ------
    AudioRNNError
        If parameters do not fit the model, the shards or the ancestor, or if it diverged before the first validation,
        so that there is no model to keep; or if another worker is lost.
    KeyboardInterrupt
        After a signal to interrupt or terminate the process; with a store, once all is saved.
    """
    start = clock()
    strategy = distribution.strategy(params.strategy)
    is_chief = distribution.is_chief()
    if params.start_from and not ancestor:
        ancestor = find(params.start_from)
    weights = start_weights(ancestor, manifest, params) if ancestor else None
    steps_before = ancestor.steps if ancestor else 0
    deterministic(params.seed)
    layout, split = manifest.layout, manifest.splits["train"]
    with strategy.scope():
        model = storage.build(params.model.name, manifest.codec.sample_rate, **params.model.sizes)
        model.codec, model.window = manifest.codec, TrainingWindow(layout.context, layout.targets_per_window)
        if weights is None:
            init_bias_from_frequencies(model, split.code_counts)
        else:
            for variable, weight in zip(model.variables, weights, strict=True):
                variable.assign(weight)
        scaled = optimizers.mixed_precision(params.mixed_precision)
        optimizer = optimizers.build_optimizer(params, model, scaled=scaled)
    replicas = strategy.num_replicas_in_sync
    plan = BatchPlan.for_windows(
        params, layout.context, layout.targets_per_window, windows=split.windows, hop=model.hop, replicas=replicas
    )
    devices = DeviceSteps(model, optimizer, plan, params, strategy)
    worker, workers = distribution.own_shards(params, split)
    batches = shards.number_of_batches(manifest, "train", plan.batch_size // workers, workers)
    budget = Budget(params, batches, clock, start)
    start_digest = ancestor.weights_sha256 if ancestor else None
    fingerprint = [training_fingerprint(params.model_dump(), manifest, start_digest), asdict(plan)]
    checkpointer = Checkpointer(store, params, fingerprint, writes=is_chief, workers=workers)
    validation_batch_size = -(-default_batch_size(layout.length) // replicas) * replicas
    validation = shards.read(manifest, "validation", validation_batch_size)
    validation_batches = shards.number_of_batches(manifest, "validation", validation_batch_size)

    def keep(record: ValidationRecord, validated: AudioModel, best: bool) -> None:
        if best:
            validated.trained_steps = steps_before + record.step
            storage.save(validated, output, model_files)
        if log:
            write_history(log, trainer.state.history)
        on_validation(record, validated)

    with ProgressBar(visible=progress and is_chief) as bar:
        if workers > 1:
            bar.write(f"each of {workers} workers reads its own shards (train.shard_policy: {params.shard_policy})")
        meter = ProgressMeter(params, budget, bar, manifest.splits["validation"].targets)
        trainer = Trainer(
            devices, manifest, validation, validation_batches, budget, checkpointer, meter, worker, workers
        )
        if is_chief:
            trainer.on_validation, trainer.on_batch, meter.curves.report = keep, on_batch, on_steps
        trainer.resume()
        if trainer.best_weights and is_chief:  # the output may have been removed since
            with devices.swapped_weights(trainer.best_weights):
                model.trained_steps = steps_before + trainer.state.best_step
                storage.save(model, output, model_files)
            if log:
                write_history(log, trainer.state.history)
        with deferred_signals() if store or distribution.cluster() else nullcontext(lambda: False) as interrupted:
            try:
                trainer.fit(interrupted)
            except tf.errors.OpError as error:
                if not distribution.cluster():
                    raise
                raise AudioRNNError(
                    f"the connection to another worker of TF_CONFIG was lost after step {trainer.state.steps}: start "
                    f"all workers again, and training resumes from the last checkpoint ({one_line(error.message, 100)})"
                ) from None
    model.trained_steps = steps_before + trainer.state.best_step
    return model, trainer.state


def init_bias_from_frequencies(model: AudioModel, counts: Sequence[int]) -> None:
    """Let a fresh model predict the frequencies of the codes, so that it need not learn them first."""
    if model.output_bias is not None:
        smoothed = np.asarray(counts, np.float64) + 1
        model.output_bias.assign(np.log(smoothed / smoothed.sum()))
