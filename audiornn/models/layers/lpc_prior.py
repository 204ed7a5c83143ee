"""Backward-adaptive linear prediction as input features and as a prior distribution."""

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import numpy as np

from audiornn.backend import COMPILE, keras, tf
from audiornn.codec import CODES, MU
from audiornn.common.array_types import Tensor
from audiornn.kernels.linear_prediction import AMPLITUDES, DECAYS, MAIN_DECAY, FeatureColumns
from audiornn.kernels.predictor import DEFAULT, Predictor
from audiornn.models.layers import logistic_mixture

MIN_COMPILED_CODES = 256  # a sequence of this length is worth the time that compiling takes
ERROR_SHARE = 0.8  # times the recent mean error: unit of everything relative to the prediction
MIN_AMPLITUDE = 1e-5  # added to errors and scales, far below a code's interval
LOG_FACTOR, LOG_OFFSET = 0.3, 1  # of logarithms that networks see: brings them near [-1, 1]
EMBEDDING_FREQUENCIES = np.pi * np.array([1, 2, 4, 8], np.float32)  # frequencies of the prediction's embedding
NUM_POSITION_FEATURES = len(DECAYS) + 2 + 2 * len(EMBEDDING_FREQUENCIES)


class NetworkInputColumns(NamedTuple):
    """Columns of what a network sees of linear prediction, as `network_inputs` gives it.

    Attributes
    ----------
    samples, errors
        The last samples and the cascade's errors for them, latest first.
    other_predictions
        Those other than the cascade's.
    relative_errors
        How much larger than the cascade's their mean errors are.
    position
        Loudness of the error, and where the prediction is.
    companded
        The last samples themselves, on the scale of the codes; a `Prior` has none.
    """

    samples: slice
    errors: slice
    other_predictions: slice
    relative_errors: slice
    position: slice
    companded: slice


def network_input_columns(history: int, predictor: Predictor, companded: int = 0) -> NetworkInputColumns:
    """The columns for a number of last samples, of which so many are also companded."""
    others = predictor.n_other_predictions
    edges = [0, *accumulate((history, history, others, others, NUM_POSITION_FEATURES, companded))]
    return NetworkInputColumns(*(slice(a, b) for a, b in pairwise(edges)))


def lpc_features(predictor: Predictor, codes: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """What the predictor knows after each code, float32 [batch, time, n_features], and its state: see `Predictor`."""
    features, after = tf.numpy_function(predictor.process, [codes, state], [tf.float32, tf.float32])
    return tf.ensure_shape(features, [*codes.shape, predictor.n_features]), tf.ensure_shape(after, state.shape)


def initial_state(predictor: Predictor, batch: int | Tensor) -> Tensor:
    """The predictor's state before the first code, float32 [batch, state_size]."""
    return tf.tile(tf.constant(predictor.initial_state(1)), [batch, 1])


def error_scale(features: Tensor, columns: FeatureColumns) -> Tensor:
    """Scale of the prediction error, float32 [..]."""
    return ERROR_SHARE * features[..., columns.main_error] + MIN_AMPLITUDE


def compand(x: Tensor) -> Tensor:
    """`audiornn.codec.compand` of a tensor."""
    return tf.sign(x) * tf.math.log1p(MU * tf.abs(x)) / np.float32(np.log(CODES))


def position_features(features: Tensor, columns: FeatureColumns) -> Tensor:
    """Loudness of the error by several means, and where the prediction is, as a smooth code.

    float32 [.., NUM_POSITION_FEATURES].
    """
    p, scale = features[..., columns.cascade], error_scale(features, columns)
    errors = features[..., columns.cascade_errors]
    interval = (tf.abs(p) + 1 / MU) * (2 * np.log(CODES) / MU)  # of the code at p
    companded = compand(p)[..., None]
    angle = companded * EMBEDDING_FREQUENCIES
    loudness = LOG_FACTOR * tf.math.log(errors + MIN_AMPLITUDE) + LOG_OFFSET
    resolution = LOG_FACTOR * tf.math.log(interval / scale)[..., None]
    return tf.concat([loudness, resolution, companded, tf.sin(angle), tf.cos(angle)], -1)


def relative_log_errors(features: Tensor, columns: FeatureColumns) -> Tensor:
    """Log of how much larger than the cascade's the other predictions' mean errors are, [.., n_other_predictions]."""
    errors = slice(columns.cascade_errors.start, columns.other_errors.stop)
    logs = tf.math.log(features[..., errors] + MIN_AMPLITUDE)
    return logs[..., len(DECAYS) :] - logs[..., MAIN_DECAY, None]


def network_inputs(samples: Tensor, errors: Tensor, features: Tensor, columns: FeatureColumns) -> Tensor:
    """What a network sees of linear prediction, in units of the scale around the prediction, or as logarithms.

    Parameters
    ----------
    samples, errors
        The last samples and the cascade's errors for them, latest first, float32 [.., history].
    features
        What the predictors know of the next sample, float32 [.., n_features].
    columns
        Of `features`.

    Returns
    -------
    float32 [.., n] with the columns of `network_input_columns` up to `position`.
    """
    p = features[..., columns.cascade, None]
    around = tf.concat([samples - p, errors, features[..., columns.other_predictions] - p], -1)
    parts = [
        tf.asinh(around / error_scale(features, columns)[..., None]),
        relative_log_errors(features, columns),
        position_features(features, columns),
    ]
    return tf.concat(parts, -1)


class Prior(keras.layers.Layer):
    """Linear prediction as an additional input and prior of a model.

    Parameters
    ----------
    width
        Width of the vector that is added to the input of the sample-level network.
    predictors
        See `audiornn.kernels.predictor.Predictor`.
    """

    def __init__(self, width: int, predictors: Sequence[Sequence[int]] = DEFAULT, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.predictor = Predictor(predictors)
        self.view = keras.layers.Dense(width, use_bias=False, name="view")
        self.columns = network_input_columns(1, self.predictor)
        self.view.build([None, self.columns.companded.stop])
        # A single logistic distribution around the prediction, whose width is learned.
        self.shape = self.add_weight(shape=[1], initializer="zeros", name="shape")
        self.built = True
        self._compiled_distribution = tf.function(self._distribution, jit_compile=COMPILE)

    def initial_state(self, batch: int | Tensor) -> Tensor:
        """The predictor's state before the first code."""
        return initial_state(self.predictor, batch)

    def forward(
        self, codes: Tensor, state: Tensor, num_last: int | None = None, num_vectors: int | None = None
    ) -> tuple[Tensor, ...]:
        """Input vectors and log-probabilities of the codes that follow.

        Parameters
        ----------
        codes
            Int [batch, time].
        num_last, num_vectors
            Number of last positions for probabilities, or for vectors (default: all).

        Returns
        -------
        Vectors [batch, num_vectors or time, width], log P of each code [batch, num_last or time, 256], and the state.
        """
        features, after = lpc_features(self.predictor, codes, state)
        if num_vectors:
            features, codes = features[:, -num_vectors:], codes[:, -num_vectors:]
        columns = self.predictor.columns
        p, scale = features[..., columns.cascade], error_scale(features, columns)
        amplitude = tf.gather(tf.constant(AMPLITUDES), tf.cast(codes, tf.int32))[..., None]
        seen = network_inputs(amplitude, features[..., columns.residual, None], features, columns)
        if num_last:
            p, scale = p[:, -num_last:], scale[:, -num_last:]
        distribution = self._compiled_distribution if p.shape[1] >= MIN_COMPILED_CODES else self._distribution
        return self.view(seen), distribution(p, scale), after

    def step(self, codes: Tensor, state: Tensor) -> tuple[Tensor, ...]:
        """One step: codes int [batch] -> vector [batch, width], log-probabilities [batch, 256], and the state."""
        vectors, log_p, after = self.forward(codes[:, None], state)
        return vectors[:, 0], log_p[:, 0], after

    def _distribution(self, p: Tensor, scale: Tensor) -> Tensor:
        zero = tf.zeros([*p.shape, 1])
        mixture = tf.concat([zero, zero + tf.convert_to_tensor(self.shape), zero], -1)
        return logistic_mixture.logits(mixture, p, scale)
