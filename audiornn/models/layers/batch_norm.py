"""Batch normalisation with sample weights."""

from typing import Any

from audiornn.backend import keras, tf
from audiornn.common.array_types import Tensor


class BatchNormalization(keras.layers.Layer):
    """Batch normalisation over all but the last axis (Ioffe & Szegedy 2015), with weighted statistics.

    Keras' layer supports masks but no weights. With weights, a layer over a table of all codes has the statistics of
    the codes themselves. On several devices the statistics are those of the whole batch.
    """

    def __init__(self, momentum: float = 0.9, epsilon: float = 1e-3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.momentum, self.epsilon = momentum, epsilon

    def build(self, width: int) -> None:
        """Create the weights for an input of `width` values."""
        self.gamma = self.add_weight(shape=[width], initializer="ones", name="gamma")
        self.beta = self.add_weight(shape=[width], initializer="zeros", name="beta")
        shared = {"shape": [width], "trainable": False, "aggregation": "only_first_replica"}  # equal on all devices
        self.moving_mean = self.add_weight(initializer="zeros", name="moving_mean", **shared)
        self.moving_variance = self.add_weight(initializer="ones", name="moving_variance", **shared)
        self.built = True

    def call(self, x: Tensor, training: bool = False, weight: Tensor | None = None) -> Tensor:
        """Normalise float [..., width]; `weight` float [...] are sample weights (default: equal)."""
        if training:
            axes = list(range(len(x.shape) - 1))
            weight = tf.ones(tf.shape(x)[:-1]) if weight is None else weight
            weight = weight[..., None]
            sums = _all_reduce_sum(tf.concat([tf.reduce_sum(x * weight, axes), [tf.reduce_sum(weight)]], 0))
            mean = sums[:-1] / sums[-1]
            variance = _all_reduce_sum(tf.reduce_sum(tf.square(x - mean) * weight, axes)) / sums[-1]
            for moving, now in ((self.moving_mean, mean), (self.moving_variance, variance)):
                moving.assign(moving * self.momentum + now * (1 - self.momentum))
        else:
            mean, variance = self.moving_mean, self.moving_variance
        scale = tf.convert_to_tensor(self.gamma) * tf.math.rsqrt(variance + self.epsilon)
        return x * scale + (self.beta - mean * scale)


def _all_reduce_sum(x: Tensor) -> Tensor:
    """The sum of a tensor over the devices that share a batch."""
    context = tf.distribute.get_replica_context()
    return x if context is None or context.num_replicas_in_sync == 1 else context.all_reduce("sum", x)
