"""Mixtures of logistic distributions around a prediction, integrated over the interval of each code.

Salimans et al. 2017 (PixelCNN++) do so for pixels; here the intervals are those of the µ-law codes. Centres and widths
are in units of a scale that comes with the prediction.
"""

import numpy as np

from audiornn.backend import tf
from audiornn.codec import CODES, MU, expand_companded
from audiornn.common.array_types import Tensor

MAX_LOG_WIDTH = 3.0  # widths are between e^-3 and e^3 scales
UNIFORM_SHARE = 2.0**-14  # share of a uniform distribution over the codes, so that logarithms stay finite

# Edges [257] of the codes' intervals in amplitude, the outermost far out, and their widths [256].
EXACT_EDGES = np.concatenate([[-1e6], expand_companded((np.arange(1, CODES) - 0.5) / MU * 2 - 1), [1e6]])
EDGES, WIDTHS = EXACT_EDGES.astype(np.float32), np.diff(EXACT_EDGES).astype(np.float32)


def nats(labels: Tensor, mixture: Tensor, p: Tensor, scale: Tensor) -> Tensor:
    """Negative log-likelihood of the labels.

    Parameters
    ----------
    labels
        Codes int32 [batch, time].
    mixture
        Float [batch, time, 3 * components]: unnormalised log weights, log widths, centres.
    p, scale
        The prediction and the unit of widths and centres, amplitudes float [batch, time].

    Returns
    -------
    Float [batch, time].
    """
    weights, inverse, centres = _components(mixture)
    low, high = ((tf.gather(tf.constant(EDGES), labels + i) - p) / scale for i in (0, 1))
    width = tf.gather(tf.constant(WIDTHS), labels) / scale
    z = ((low[..., None] - centres) * inverse, (high[..., None] - centres) * inverse, width[..., None] * inverse)
    return -_floored(tf.reduce_logsumexp(weights + _log_mass(*z), -1))


def logits(mixture: Tensor, p: Tensor, scale: Tensor) -> Tensor:
    """Log-probability of each code, float [batch, time, 256]; arguments as for `nats`."""
    weights, inverse, centres = (part[..., None] for part in _components(mixture))
    edges = ((tf.constant(EDGES) - p[..., None]) / scale[..., None])[..., None, :]
    widths = (tf.constant(WIDTHS) / scale[..., None])[..., None, :]
    z = (edges - centres) * inverse
    return _floored(tf.reduce_logsumexp(weights + _log_mass(z[..., :-1], z[..., 1:], widths * inverse), -2))


def _components(mixture: Tensor) -> tuple[Tensor, ...]:
    """Log weights, inverse widths and centres of the components, each [batch, time, components]."""
    weights, widths, centres = tf.split(mixture, 3, axis=-1)
    return tf.nn.log_softmax(weights), tf.exp(-MAX_LOG_WIDTH * tf.tanh(widths / MAX_LOG_WIDTH)), centres


def _log_mass(low: Tensor, high: Tensor, width: Tensor) -> Tensor:
    """log(sigmoid(high) - sigmoid(low)) without cancellation: sigmoid(high) sigmoid(-low) (1 - exp(-width)).

    The width is high - low, computed without cancellation.
    """
    return tf.math.log_sigmoid(high) + tf.math.log_sigmoid(-low) + tf.math.log(-tf.math.expm1(-width))


def _floored(log_p: Tensor) -> Tensor:
    """log((1 - UNIFORM_SHARE) p + UNIFORM_SHARE / 256)."""
    floor = np.float32(np.log(UNIFORM_SHARE / CODES))
    larger = tf.maximum(log_p, floor)
    return larger + tf.math.log((1 - UNIFORM_SHARE) * tf.exp(log_p - larger) + tf.exp(floor - larger))
