"""Backward-adaptive linear prediction for networks: what they see of it, and a distribution to start from."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from audiornn.backend import COMPILE, keras, tf
from audiornn.codec import CODES
from audiornn.kernels.linear_prediction import AMPLITUDES, DECAYS, DEFAULT, MAIN_DECAY, Predictor
from audiornn.models.layers import logistic_mixture
from audiornn.models.layers.logistic_mixture import MU

COMPILED = 256  # codes a sequence from which compiling is worth its time
SCALE = 0.8  # of the recent mean error: the unit of all that is taken relative to the prediction
SMALLEST = 1e-5  # amplitude that is added to scales, far below a code's interval
WAVES = np.pi * np.array([1, 2, 4, 8], np.float32)  # of the prediction's embedding
PLACE = len(DECAYS) + 2 + 2 * len(WAVES)  # numbers that `place` gives


def advance(predictor: Predictor, codes: Any, state: Any) -> tuple:
    """What the predictor knows after each code, float32 [batch, time, features], and its state: see `Predictor`."""
    known, after = tf.numpy_function(predictor.advance, [codes, state], [tf.float32, tf.float32])
    return tf.ensure_shape(known, [*codes.shape, predictor.features]), tf.ensure_shape(after, state.shape)


def initial_state(predictor: Predictor, batch: Any) -> Any:
    """The predictor's state before the first code, float32 [batch, size]."""
    return tf.tile(tf.constant(predictor.initial_state(1)), [batch, 1])


def scale(known: Any, predictor: Predictor) -> Any:
    """The unit in which the next sample lies around the prediction, float32 [..]."""
    return SCALE * known[..., predictor.outputs + MAIN_DECAY] + SMALLEST


def compand(x: Any) -> Any:
    """The µ-law curve, [-1, 1] -> [-1, 1]."""
    return tf.sign(x) * tf.math.log1p(MU * tf.abs(x)) / np.float32(np.log(CODES))


def place(known: Any, predictor: Predictor) -> Any:
    """Loudness of the error by several means, and where the prediction is, as a smooth code: float32 [.., PLACE]."""
    p, unit = known[..., 0], scale(known, predictor)
    errors = known[..., predictor.outputs : predictor.outputs + len(DECAYS)]
    interval = (tf.abs(p) + 1 / MU) * (2 * np.log(CODES) / MU)  # of the code at p
    companded = compand(p)[..., None]
    angle = companded * WAVES
    loudness = 0.3 * tf.math.log(errors + SMALLEST) + 1
    resolution = 0.3 * tf.math.log(interval / unit)[..., None]
    return tf.concat([loudness, resolution, companded, tf.sin(angle), tf.cos(angle)], -1)


def reliability(known: Any, predictor: Predictor) -> Any:
    """Log of how much larger than the cascade's the mean errors of its parts are, float32 [.., outputs - 1]."""
    n = predictor.outputs
    means = tf.math.log(known[..., n : 2 * n - 1 + len(DECAYS)] + SMALLEST)
    return means[..., len(DECAYS) :] - means[..., MAIN_DECAY : MAIN_DECAY + 1]


class Prior(keras.layers.Layer):
    """Linear prediction for a model that has its own view of the codes, too.

    Parameters
    ----------
    width
        Of the vector that is added to what the model's sample-level network sees.
    predictors
        See `audiornn.kernels.linear_prediction.Predictor`.
    """

    def __init__(self, width: int, predictors: Sequence[Sequence[int]] = DEFAULT, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.predictor = Predictor(predictors)
        self.view = keras.layers.Dense(width, use_bias=False, name="view")
        self.view.build([None, 2 * self.predictor.outputs + PLACE])
        # One logistic around the prediction: log weight, log width, centre. Its width is learned.
        self.shape = self.add_weight(shape=[1], initializer="zeros", name="shape")
        self.built = True
        self._distribution = tf.function(self._distribute, jit_compile=COMPILE)

    def initial_state(self, batch: Any) -> Any:
        """The predictor's state before the first code."""
        return initial_state(self.predictor, batch)

    def run(self, codes: Any, state: Any, last: int | None = None, seen: int | None = None) -> tuple:
        """What is known of the codes that follow.

        Parameters
        ----------
        codes
            Int [batch, time].
        last, seen
            Give probabilities, or vectors, for this many last codes alone (default: for all).

        Returns
        -------
        Vectors [batch, seen or time, width], log P of each code [batch, last or time, 256], and the state.
        """
        known, after = advance(self.predictor, codes, state)
        if seen:
            known, codes = known[:, -seen:], codes[:, -seen:]
        p, unit = known[..., 0], scale(known, self.predictor)
        amplitude = tf.gather(tf.constant(AMPLITUDES), tf.cast(codes, tf.int32))
        around = tf.concat(
            [
                (amplitude - p)[..., None],
                known[..., -1:],
                known[..., 1 : self.predictor.outputs] - p[..., None],
            ],
            -1,
        )
        x = [tf.asinh(around / unit[..., None]), reliability(known, self.predictor), place(known, self.predictor)]
        if last:
            p, unit = p[:, -last:], unit[:, -last:]
        distribute = self._distribution if p.shape[1] >= COMPILED else self._distribute
        return self.view(tf.concat(x, -1)), distribute(p, unit), after

    def step(self, codes: Any, state: Any) -> tuple:
        """One sample: codes int [batch] -> vector [batch, width], log P [batch, 256], and the state."""
        vectors, log_p, after = self.run(codes[:, None], state)
        return vectors[:, 0], log_p[:, 0], after

    def _distribute(self, p: Any, unit: Any) -> Any:
        nothing = tf.zeros([*p.shape, 1])
        mixture = tf.concat([nothing, nothing + tf.convert_to_tensor(self.shape), nothing], -1)
        return logistic_mixture.logits(mixture, p, unit)
