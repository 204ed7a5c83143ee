"""Train a model on shards: one loop, which keeps the best weights and knows when to stop."""

import csv
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from audiornn import evaluation, models, shards
from audiornn.backend import deterministic, keras, tf
from audiornn.errors import AudioRNNError
from audiornn.files import atomic_file
from audiornn.models.base import AudioModel
from audiornn.params import Train

BITS = 1 / math.log(2)
SMOOTHING = 0.9  # of the running loss that divergence is judged by
CODES_PER_BATCH = {"sequence": 8_192, "window": 65_536}  # where train.batch is not set
FEWEST_WINDOWS = 4  # a batch, even of long windows


@dataclass
class Epoch:
    """What is known after an epoch; losses in bits per sample, accuracies as shares, training's while it learned."""

    epoch: int
    train_loss: float
    validation_loss: float
    train_accuracy: float
    validation_accuracy: float
    learning_rate: float
    targets_per_second: float


@dataclass
class Result:
    """How a training went. `stopped` says why in a sentence; `diverged` whether the loss ran away."""

    history: list[Epoch] = field(default_factory=list)
    best_epoch: int = 0
    best_validation: float = math.inf
    steps: int = 0
    targets: int = 0
    seconds: float = 0.0
    stopped: str = ""
    diverged: bool = False

    @property
    def targets_per_second(self) -> float:
        """Targets learned from a second of training, validation not included."""
        return self.targets / self.seconds if self.seconds else 0.0


def learning_rate_schedule(params: Train, steps: int) -> Any:
    """Linear warm-up, then constant or a cosine to zero at `steps` (Loshchilov & Hutter 2017)."""
    warmup = min(params.warmup_steps, steps // 2)
    if params.schedule == "cosine":
        return keras.optimizers.schedules.CosineDecay(
            params.learning_rate / max(warmup, 1) if warmup else params.learning_rate,
            decay_steps=max(1, steps - warmup),
            warmup_target=params.learning_rate if warmup else None,
            warmup_steps=warmup,
        )
    if not warmup:
        return params.learning_rate
    boundaries = list(range(1, warmup))
    values = [params.learning_rate * (i + 1) / warmup for i in range(warmup)]
    return keras.optimizers.schedules.PiecewiseConstantDecay(boundaries, values)


def make_optimizer(params: Train, steps: int) -> Any:
    """Adam (Kingma & Ba 2015) or RMSprop, gradients clipped by their global norm."""
    kind = {"adam": keras.optimizers.Adam, "rmsprop": keras.optimizers.RMSprop}[params.optimizer]
    return kind(learning_rate=learning_rate_schedule(params, steps), global_clipnorm=params.clip_norm)


def batch_size(params: Train, window: int) -> int:
    """Windows a batch: `train.batch`, by default as many as hold about 8,000 codes (window objective: 64,000)."""
    return params.batch or max(FEWEST_WINDOWS, CODES_PER_BATCH[params.objective] // window)


def make_step(model: AudioModel, optimizer: Any, context: int, objective: str) -> Callable[[Any, Any], Any]:
    """A compiled function of a batch `(codes, targets)`: one update; loss in nats a target, hits, targets."""

    @tf.function
    def train_step(codes: Any, targets: Any) -> Any:
        if objective == "window":  # one target a window, its last; earlier ones only lead up to it
            codes, context_now = _last_target(codes, targets, context)
            targets = tf.ones_like(targets)
        else:
            context_now = context
        with tf.GradientTape() as tape:
            logits, labels, mask = evaluation.predict(model, codes, targets, context_now, training=True)
            weight = tf.cast(mask, tf.float32)
            nats = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
            count = tf.reduce_sum(weight)
            loss = tf.reduce_sum(nats * weight) / count
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        hits = tf.cast(tf.argmax(logits, -1, tf.int32) == labels, tf.float32)
        return tf.stack([loss, tf.reduce_sum(hits * weight), count])

    return train_step


def _last_target(codes: Any, targets: Any, context: int) -> tuple:
    """Cut each window to the `context` codes before its last target and the target itself.

    With `shard.span: 1` this changes nothing. A target of a longer span sees no more than its guaranteed context, as
    if the window had been written for it alone.
    """
    width = context + 1
    if codes.shape[1] == width:
        return codes, context
    first = targets - 1
    return tf.gather(codes, first[:, None] + tf.range(width)[None], axis=1, batch_dims=1), context


def train(
    folder: str | Path,
    output: str | Path,
    params: Train,
    settings: dict[str, Any] | None = None,
    *,
    log: str | Path | None = None,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
    model_files: dict[str, Any] | None = None,
    progress: bool = True,
) -> tuple[AudioModel, Result]:
    """Train a model on the training part of a folder of shards.

    After each epoch the validation part is scored; whenever it is the best so far, the model is written to `output`,
    so that whatever ends a run, the best weights are there. A run ends after `epochs`, after `patience` epochs
    without a better one, or when it diverges: when the loss is not finite, or its running mean has risen by
    `divergence_bits` over its lowest.

    Parameters
    ----------
    folder
        Shards, as `audiornn.shards.write` leaves them.
    output
        Folder for the best model.
    params
        The `train` section.
    settings
        What is stored with the model for its users; see `AudioModel.settings`.
    log
        A csv file with a line an epoch.
    on_epoch
        Called after each epoch.
    model_files
        More JSON files to store with the model, by name.
    progress
        Whether to show a progress bar on stderr.

    Returns
    -------
    The model with its best weights, and how it went.

    Raises
    ------
    AudioRNNError
        If it diverged before the first epoch was over, so that there is no model to keep.
    """
    deterministic(params.seed)
    manifest = shards.read_manifest(folder)
    context, part = manifest["context"], manifest["parts"]["train"]
    window = context + manifest["span"]
    batch = batch_size(params, window)
    steps_an_epoch = -(-part["windows"] // batch)
    data = shards.read(folder, "train", batch, shuffle_seed=params.seed)
    validation = shards.read(folder, "validation", evaluation.default_batch(window))

    model = models.build(params.model.name, **params.model.model_dump(exclude={"name"}))
    model.settings = dict(settings or {})
    start_at_frequencies(model, part["code_counts"])
    optimizer = make_optimizer(params, steps_an_epoch * params.epochs)
    optimizer.build(model.trainable_variables)
    train_step = make_step(model, optimizer, context, params.objective)
    score_batch = evaluation.scorer(model, context)

    result = Result()
    running = lowest = None
    with tqdm(
        total=steps_an_epoch * params.epochs, unit="step", disable=not progress, dynamic_ncols=True, smoothing=0.1
    ) as bar:
        for number in range(1, params.epochs + 1):
            begin, sums = time.perf_counter(), np.zeros(3)
            for codes, targets in data:
                loss, hits, count = (float(value) for value in train_step(codes, targets))
                sums += [loss * count, hits, count]
                result.steps += 1
                running = loss if running is None else SMOOTHING * running + (1 - SMOOTHING) * loss
                lowest = running if lowest is None else min(lowest, running)
                if not math.isfinite(loss) or (running - lowest) * BITS > params.divergence_bits:
                    result.diverged = True
                    result.stopped = _divergence(loss * BITS, running * BITS, lowest * BITS, number, result, params)
                    break
                elapsed = time.perf_counter() - begin
                bar.set_description(f"epoch {number}/{params.epochs}", refresh=False)
                bar.set_postfix_str(
                    f"{running * BITS:.3f} bits, {hits / count:.1%} right, {sums[2] / elapsed:,.0f} targets/s",
                    refresh=False,
                )
                bar.update()
            if result.diverged:
                break
            seconds = time.perf_counter() - begin
            result.seconds += seconds
            result.targets += int(sums[2])
            scores = evaluation.score(validation, score_batch)
            epoch = Epoch(
                epoch=number,
                train_loss=sums[0] / sums[2] * BITS,
                validation_loss=scores["bits_per_sample"],
                train_accuracy=sums[1] / sums[2],
                validation_accuracy=scores["accuracy"],
                learning_rate=float(optimizer.learning_rate),
                targets_per_second=sums[2] / seconds,
            )
            result.history.append(epoch)
            if epoch.validation_loss < result.best_validation:  # never true of NaN
                result.best_epoch, result.best_validation = number, epoch.validation_loss
                models.save(model, output, model_files)
            if log:
                write_log(log, result.history)
            on_epoch(epoch)
            bar.write(
                f"epoch {number:3d}: {epoch.train_loss:.3f} bits, {epoch.train_accuracy:.1%} right in training; "
                f"{epoch.validation_loss:.3f} bits, {epoch.validation_accuracy:.1%} right in validation"
                + (" (best)" if result.best_epoch == number else "")
            )
            if number - result.best_epoch >= params.patience:
                result.stopped = f"early: no better validation loss for {params.patience} epochs"
                break
    if not result.best_epoch:
        raise AudioRNNError(result.stopped or "validation loss was never finite: no model to keep")
    result.stopped = result.stopped or f"after all {params.epochs} epochs"
    model.load_weights(Path(output) / models.WEIGHTS)
    return model, result


def start_at_frequencies(model: AudioModel, counts: list[int]) -> None:
    """Let a fresh model predict the frequencies of the codes: it need not learn them first."""
    smoothed = np.asarray(counts, np.float64) + 1
    model.output_bias.assign(np.log(smoothed / smoothed.sum()))


def _divergence(loss: float, running: float, lowest: float, epoch: int, result: Result, params: Train) -> str:
    what = (
        f"the loss is {loss}"
        if not math.isfinite(loss)
        else f"the running loss rose to {running:.2f} bits, {running - lowest:.2f} above its lowest"
    )
    kept = f"the weights of epoch {result.best_epoch} are kept" if result.best_epoch else "there is no model to keep"
    return (
        f"training diverged in epoch {epoch}, step {result.steps}: {what}; {kept}; "
        f"a train.learning_rate below {params.learning_rate:g} or a train.clip_norm below {params.clip_norm:g} may help"
    )


def write_log(path: str | Path, history: list[Epoch]) -> None:
    """The history as csv, a line an epoch, written as a whole."""
    with atomic_file(path) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(Epoch.__dataclass_fields__))
        writer.writeheader()
        writer.writerows(asdict(epoch) for epoch in history)
