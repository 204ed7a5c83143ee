"""Optimisers, and the schedule of their learning rate, which is a function of the budget, be it in minutes."""

import math

from audiornn.backend import GPUS, keras, tf
from audiornn.common.errors import AudioRNNError
from audiornn.models.base import AudioModel
from audiornn.params import Train


def learning_rate(params: Train, step: int, budget_used: float) -> float:
    """The learning rate of an update.

    A linear warm-up over the first `warmup_steps`, times a cosine to zero at the end of the budget (Loshchilov & Hutter
    2017), or times one where the schedule is constant.

    Parameters
    ----------
    step
        Updates before this one.
    budget_used
        Fraction of the budget used, 0 to 1.
    """
    warmup = min(1.0, (step + 1) / max(1, params.warmup_steps))
    decay = (1 + math.cos(math.pi * min(1.0, budget_used))) / 2 if params.schedule == "cosine" else 1.0
    return params.learning_rate * warmup * decay


def mixed_precision(wanted: bool | str) -> bool:
    """Let TensorFlow compute in float16 where that is precise enough; returns whether it does.

    It chooses the operations in its graphs; models need no change (Micikevicius et al. 2018).

    Parameters
    ----------
    wanted
        `train.mixed_precision`: true, false, or `auto` for true on a GPU.

    Raises
    ------
    AudioRNNError
        If it is true, but there is no GPU.
    """
    if wanted is True and not GPUS:
        raise AudioRNNError("train.mixed_precision is true, but no GPU was found; CPUs gain nothing from float16")
    used = bool(wanted and GPUS)
    tf.config.optimizer.set_experimental_options({"auto_mixed_precision": used})
    return used


def build_optimizer(params: Train, model: AudioModel, scaled: bool = False) -> keras.optimizers.Optimizer:
    """The Keras optimiser for a model's weights; learning rates are set from outside, gradients come clipped.

    AdamW (Loshchilov & Hutter 2019), Adam (Kingma & Ba 2015) or RMSprop. With AdamW weights decay, in matrices alone:
    not in biases and scales, and not in embeddings, whose rows are moved only by the codes that occur.

    With `scaled` it scales losses, for gradients in float16, and skips updates whose gradients overflow.
    """
    rate = params.learning_rate
    if params.optimizer == "adamw":
        optimizer = keras.optimizers.AdamW(rate, weight_decay=params.weight_decay)
    else:
        optimizer = {"adam": keras.optimizers.Adam, "rmsprop": keras.optimizers.RMSprop}[params.optimizer](rate)
    if optimizer.weight_decay:
        optimizer.exclude_from_weight_decay([v for v in model.trainable_variables if not has_weight_decay(v)])
    optimizer.build(model.trainable_variables)
    # Gradients are already summed over devices, for clipping by the norm of the sum: Keras must not sum them again.
    assert hasattr(optimizer, "_all_reduce_sum_gradients")
    optimizer._all_reduce_sum_gradients = lambda gradients_and_weights: gradients_and_weights
    return keras.optimizers.LossScaleOptimizer(optimizer) if scaled else optimizer


def has_weight_decay(variable: keras.Variable) -> bool:
    """Whether a weight decays towards zero: matrices do, vectors and embeddings do not."""
    return len(variable.shape) > 1 and "embedding" not in variable.path
