"""Optimisers and the schedule of their learning rate."""

import math
from typing import Any

from audiornn.backend import GPUS, keras, tf
from audiornn.errors import AudioRNNError
from audiornn.models.base import AudioModel
from audiornn.params import Train


def learning_rate(params: Train, step: int, spent: float) -> float:
    """The learning rate of an update.

    A linear warm-up over the first `warmup_steps`, times a cosine to zero at the end of the budget (Loshchilov & Hutter
    2017), or times one where the schedule is constant.

    Parameters
    ----------
    step
        Updates before this one.
    spent
        Share of the budget that is used up, 0 to 1.
    """
    warm = min(1.0, (step + 1) / max(1, params.warmup_steps))
    fall = (1 + math.cos(math.pi * min(1.0, spent))) / 2 if params.schedule == "cosine" else 1.0
    return params.learning_rate * warm * fall


def mixed_precision(wanted: bool | str) -> bool:
    """Let TensorFlow compute in float16 what float16 is good enough for; whether it does.

    It chooses the operations in the graphs that it runs, so that models need not know (Micikevicius et al. 2018).

    Parameters
    ----------
    wanted
        `train.mixed_precision`: true, false, or `auto` for true on a GPU.

    Raises
    ------
    AudioRNNError
        If it is wanted, but there is no GPU.
    """
    if wanted is True and not GPUS:
        raise AudioRNNError("train.mixed_precision is true, but there is no GPU, and others are no faster in float16")
    used = bool(wanted and GPUS)
    tf.config.optimizer.set_experimental_options({"auto_mixed_precision": used})
    return used


def make(params: Train, model: AudioModel, scaled: bool = False) -> Any:
    """The Keras optimiser for a model's weights; learning rates are set from outside, gradients come clipped.

    AdamW (Loshchilov & Hutter 2019), Adam (Kingma & Ba 2015) or RMSprop. With AdamW weights decay, in matrices alone:
    not in biases and scales, and not in embeddings, whose rows are moved only by the codes that occur.

    With `scaled` it scales losses, for gradients in float16, and passes over updates whose gradients overflow.
    """
    rate = params.learning_rate
    if params.optimizer == "adamw":
        optimizer = keras.optimizers.AdamW(rate, weight_decay=params.weight_decay)
    else:
        optimizer = {"adam": keras.optimizers.Adam, "rmsprop": keras.optimizers.RMSprop}[params.optimizer](rate)
    if optimizer.weight_decay:
        optimizer.exclude_from_weight_decay([v for v in model.trainable_variables if not decays(v)])
    optimizer.build(model.trainable_variables)
    # Gradients are clipped by the norm of their sum over all devices: they come summed, and Keras must not do it again.
    assert hasattr(optimizer, "_all_reduce_sum_gradients")
    optimizer._all_reduce_sum_gradients = lambda gradients_and_weights: gradients_and_weights
    return keras.optimizers.LossScaleOptimizer(optimizer) if scaled else optimizer


def decays(variable: Any) -> bool:
    """Whether a weight is pulled towards zero: matrices are, vectors and embeddings are not."""
    return len(variable.shape) > 1 and "embedding" not in variable.path
