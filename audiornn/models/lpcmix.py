"""Backward-adaptive linear prediction, refined by a small network into a mixture of logistic distributions.

    codes ─► linear predictors (prediction.py) ─► prediction p, scale s ──────────────────────────┐
      │                  │                                                                         ▼
      └── last samples and errors, relative to p and s ─► residual layers ─► mixture around p in units of s ─► logits
                         │                                      ▲
                         └───────── every `frame` samples: GRU ─┘

Whatever the loudness and the pitch, the next sample lies around a classical prediction, at a distance of about its
recent error. The network only says how it lies around there: all that it sees is taken relative to prediction and
scale, and its answer is a mixture of logistic distributions in the same units, integrated over the interval of each
code (Salimans et al. 2017). LPCNet (Valin & Skoglund 2019) combines a network with linear prediction in this way, with
transmitted predictors; here they are computed from past codes, as in ITU-T G.728.
"""

from typing import Annotated, Any

import numpy as np
from pydantic import Field

from audiornn.backend import keras, tf
from audiornn.codec import CODES, SILENCE
from audiornn.errors import AudioRNNError
from audiornn.models.base import AudioModel, State
from audiornn.models.recurrent import COMPILE, GRU
from audiornn.prediction import AMPLITUDES, DECAYS, DEFAULT, MAIN_DECAY, Predictor

Count = Annotated[int, Field(ge=1)]
PREDICTORS = [list(p) for p in DEFAULT]

MU = CODES - 1
SCALE = 0.8  # of the recent mean error: the unit of all that the network sees
SMALLEST = 1e-5  # amplitude that is added to scales, far below a code's interval
WIDEST = 3.0  # components are at most e^3 scales wide, and no narrower than e^-3
FLOOR = 2.0**-14  # share of a uniform distribution over the codes: nothing is impossible, and logarithms stay finite
WAVES = np.pi * np.array([1, 2, 4, 8], np.float32)  # of the prediction's embedding
SPREAD = 1.5  # the components' centres lie within so many scales of the prediction before training
COMPILED = 256  # codes a sequence from which compiling is worth its time
HITS_EVERY = 64  # in training accuracy is measured on every so many-th target


# Amplitudes [257] between which the codes' intervals lie, the outermost far out, and the intervals' widths [256].
_companded = 2 * (np.arange(1, CODES) - 0.5) / MU - 1
_edges = np.concatenate([[-1e6], np.sign(_companded) * (CODES ** np.abs(_companded) - 1) / MU, [1e6]])
EDGES, WIDTHS = _edges.astype(np.float32), np.diff(_edges).astype(np.float32)


class LPCMix(AudioModel):
    """Linear prediction and a mixture.

    Parameters
    ----------
    hidden
        Units of the residual layers, which run for every sample.
    layers
        How many residual layers.
    units
        Units of the GRU, which runs once a frame.
    frame
        Samples of a frame.
    mixture
        Components of the mixture.
    history
        Past samples and errors that the network sees.
    predictors
        Order, window and renewal of each linear predictor; see `audiornn.prediction.Predictor`. For other rates than
        8 kHz scale them: the longest order should reach beyond a pitch period.
    """

    def __init__(
        self,
        hidden: Count = 256,
        layers: Annotated[int, Field(ge=0)] = 2,
        units: Count = 384,
        frame: Count = 16,
        mixture: Count = 4,
        history: Count = 16,
        predictors: list[Annotated[list[Count], Field(min_length=3, max_length=3)]] = PREDICTORS,
    ) -> None:
        super().__init__(name="lpcmix")
        self.hidden, self.units, self.hop, self.mixture, self.history = hidden, units, frame, mixture, history
        try:
            self.predictor = Predictor(predictors)
        except ValueError as error:
            raise AudioRNNError(f"train.model: predictors: {error}") from None
        k = len(predictors) + 1
        self.gru = GRU(units, name="gru")
        self.condition = keras.layers.Dense(hidden, use_bias=False, name="condition")
        self.first = keras.layers.Dense(hidden, name="first")
        self.residual = [keras.layers.Dense(hidden, name=f"residual_{i}") for i in range(layers)]
        self.head = keras.layers.Dense(
            3 * mixture, name="head", kernel_initializer=keras.initializers.RandomNormal(0, 0.01)
        )
        place = len(DECAYS) + 1 + 1 + 2 * len(WAVES)
        self.gru.build(2 * history + place)
        self.condition.build([None, units])
        self.first.build([None, 3 * history + 2 * k + place])
        for layer in [*self.residual, self.head]:
            layer.build([None, hidden])
        shifts = np.linspace(-SPREAD, SPREAD, mixture) if mixture > 1 else np.zeros(1)
        self.head.bias.assign(np.concatenate([np.zeros(2 * mixture), shifts]))
        self.built = True
        # XLA fuses the many small operations between the matrix products.
        self._compiled_distribution = tf.function(self._distribution, jit_compile=COMPILE)
        self._compiled_surprise = tf.function(self._surprise, jit_compile=COMPILE)

    @property
    def output_bias(self) -> Any:
        """None: where codes are likely is the predictors' business."""
        return None

    def initial_state(self, batch: Any) -> State:
        return {
            "predictor": tf.tile(tf.constant(self.predictor.initial_state(1)), [batch, 1]),
            "amplitudes": tf.fill([batch, self.history], float(AMPLITUDES[SILENCE])),
            "errors": tf.zeros([batch, self.history]),
            "gru": tf.zeros([batch, self.units]),
            "condition": tf.zeros([batch, self.hidden]),
            "phase": tf.zeros([batch], tf.int32),  # codes since the last frame began
        }

    def run(
        self, codes: Any, state: State, training: bool = False, valid: Any = None, last: int | None = None
    ) -> tuple:
        seen, after = self._see(codes, state, last)
        return (self._compiled_distribution if codes.shape[1] >= COMPILED else self._distribution)(*seen), after

    def consume(self, codes: Any, state: State) -> tuple:
        seen, after = self._see(codes, state, 1)
        return self._distribution(*seen)[:, -1], after  # prompts have any length: not worth compiling for

    def learn(
        self, codes: Any, labels: Any, state: State, training: bool = True, valid: Any = None, last: int | None = None
    ) -> tuple:
        seen, after = self._see(codes, state, last)
        nats, hits = (self._compiled_surprise if codes.shape[1] >= COMPILED else self._surprise)(labels, *seen)
        return nats, hits, after

    def step(self, codes: Any, state: State) -> tuple:
        known, predictor = self._predict(codes[:, None], state["predictor"])
        amplitudes, errors = self._histories(codes[:, None], known, state)

        def begin() -> tuple:
            frames = self._frames(amplitudes, errors, known)
            gru = self.gru.step(self.gru.project(frames[:, 0]), state["gru"])
            return gru, self.condition(gru)

        gru, condition = tf.cond(state["phase"][0] == 0, begin, lambda: (state["gru"], state["condition"]))
        logits = self._distribution(amplitudes, errors, known, condition[:, None])
        after = {
            "predictor": predictor,
            "amplitudes": amplitudes[:, 1:],
            "errors": errors[:, 1:],
            "gru": gru,
            "condition": condition,
            "phase": (state["phase"] + 1) % self.hop,
        }
        return logits[:, 0], after

    def _see(self, codes: Any, state: State, last: int | None) -> tuple:
        """What the residual layers see of the last codes, see `_mixtures`, and the state after all.

        The state before must be at the begin of a frame.
        """
        time = codes.shape[1]
        known, predictor = self._predict(codes, state["predictor"])
        amplitudes, errors = self._histories(codes, known, state)
        frames = self._frames(amplitudes, errors, known)
        grus = self.gru.scan(self.gru.project(tf.transpose(frames, [1, 0, 2])), state["gru"])
        conditions = self.condition(tf.transpose(grus, [1, 0, 2]))
        after = {
            "predictor": predictor,
            "amplitudes": amplitudes[:, -self.history :],
            "errors": errors[:, -self.history :],
            "gru": grus[-1],
            "condition": conditions[:, -1],
            "phase": tf.fill([tf.shape(codes)[0]], time % self.hop),
        }
        first = time - (last or time)
        each = tf.repeat(conditions, self.hop, axis=1)[:, first:time]
        return (amplitudes[:, first:], errors[:, first:], known[:, first:], each), after

    def _predict(self, codes: Any, state: Any) -> tuple:
        """What the linear predictors know after each code [batch, time, features], and their state."""
        known, after = tf.numpy_function(self.predictor.advance, [codes, state], [tf.float32, tf.float32])
        return tf.ensure_shape(known, [*codes.shape, self.predictor.features]), tf.ensure_shape(after, state.shape)

    def _histories(self, codes: Any, known: Any, state: State) -> tuple:
        """Amplitudes and the predictor's errors [batch, history + time]: the last ones of the state, then the new."""
        amplitudes = tf.gather(tf.constant(AMPLITUDES), tf.cast(codes, tf.int32))
        together = [tf.concat([state["amplitudes"], amplitudes], 1), tf.concat([state["errors"], known[..., -1]], 1)]
        return together[0], together[1]

    def _frames(self, amplitudes: Any, errors: Any, known: Any) -> Any:
        """Inputs of the GRU [batch, frames, ..]: what is known at the first code of each frame."""
        known = known[:, :: self.hop]
        recent = _windows(_compand(amplitudes), self.history, self.hop)
        past_errors = tf.asinh(_windows(errors, self.history, self.hop) / _scale(known, self.predictor)[..., None])
        return tf.concat([recent, past_errors, self._place(known)], -1)

    def _place(self, known: Any) -> Any:
        """Loudness of the error by several means, and where the prediction is, as a smooth code [.., 2 + 4 + 8]."""
        p, scale = known[..., 0], _scale(known, self.predictor)
        errors = known[..., self.predictor.outputs : self.predictor.outputs + len(DECAYS)]
        interval = (tf.abs(p) + 1 / MU) * (2 * np.log(CODES) / MU)  # of the code at p
        companded = _compand(p)[..., None]
        angle = companded * WAVES
        loudness = 0.3 * tf.math.log(errors + SMALLEST) + 1
        resolution = 0.3 * tf.math.log(interval / scale)[..., None]
        return tf.concat([loudness, resolution, companded, tf.sin(angle), tf.cos(angle)], -1)

    def _distribution(self, *seen: Any) -> Any:
        """log P of each code [batch, time, 256]; arguments as of `_mixtures`."""
        return _logits(*self._mixtures(*seen))

    def _surprise(self, labels: Any, amplitudes: Any, errors: Any, known: Any, condition: Any) -> tuple:
        """-log P(label), and whether a label was the likeliest code, of which samples are taken; [batch, time] both."""
        mixtures = self._mixtures(amplitudes, errors, known, condition)
        some = [tf.stop_gradient(part[:, ::HITS_EVERY]) for part in mixtures]
        hits = tf.cast(tf.argmax(_logits(*some), -1, tf.int32) == labels[:, ::HITS_EVERY], tf.float32)
        return _nats(labels, *mixtures), tf.repeat(hits, HITS_EVERY, axis=1)[:, : labels.shape[1]]

    def _mixtures(self, amplitudes: Any, errors: Any, known: Any, condition: Any) -> tuple:
        """The residual layers' answer for every sample.

        Parameters
        ----------
        amplitudes, errors
            Of the codes and, before them, of the history: float32 [batch, history + time].
        known
            What the predictors know after each code, [batch, time, features].
        condition
            What the GRU adds to the first layer, [batch, time, hidden].

        Returns
        -------
        Parameters of the mixture [batch, time, 3 * mixture], prediction and scale [batch, time].
        """
        p, scale = known[..., 0], _scale(known, self.predictor)
        recent, past_errors = _windows(amplitudes, self.history), _windows(errors, self.history)
        n = self.predictor.outputs
        others = known[..., 1:n] - p[..., None]
        means = tf.math.log(known[..., n : 2 * n - 1 + len(DECAYS)] + SMALLEST)
        reliability = means[..., len(DECAYS) :] - means[..., MAIN_DECAY : MAIN_DECAY + 1]
        around = tf.concat([recent - p[..., None], past_errors, others], -1)
        x = tf.concat([tf.asinh(around / scale[..., None]), reliability, self._place(known), _compand(recent)], -1)
        x = tf.nn.silu(self.first(x) + condition)
        for layer in self.residual:
            x += tf.nn.silu(layer(x))
        return self.head(x), p, scale


def _windows(x: Any, width: int, hop: int = 1) -> Any:
    """[batch, width + time] -> [batch, ceil(time / hop), width]: the latest `width` values up to each, latest first."""
    time = x.shape[1] - width
    return tf.stack([x[:, width - j : width - j + time : hop] for j in range(width)], -1)


def _compand(x: Any) -> Any:
    """The µ-law curve, [-1, 1] -> [-1, 1]."""
    return tf.sign(x) * tf.math.log1p(MU * tf.abs(x)) / np.float32(np.log(CODES))


def _scale(known: Any, predictor: Predictor) -> Any:
    return SCALE * known[..., predictor.outputs + MAIN_DECAY] + SMALLEST


def _components(outputs: Any) -> tuple:
    """Log weights, inverse widths and centres of the components, each [batch, time, mixture]."""
    weights, widths, centres = tf.split(outputs, 3, axis=-1)
    return tf.nn.log_softmax(weights), tf.exp(-WIDEST * tf.tanh(widths / WIDEST)), centres


def _log_mass(low: Any, high: Any, width: Any) -> Any:
    """log(sigmoid(high) - sigmoid(low)) without cancellation: sigmoid(high) sigmoid(-low) (1 - exp(-width)).

    The width is high - low, but not as the difference of two rounded numbers.
    """
    return tf.math.log_sigmoid(high) + tf.math.log_sigmoid(-low) + tf.math.log(-tf.math.expm1(-width))


def _nats(labels: Any, outputs: Any, p: Any, scale: Any) -> Any:
    """-log P(label) [batch, time]."""
    weights, inverse, centres = _components(outputs)
    low, high = ((tf.gather(tf.constant(EDGES), labels + i) - p) / scale for i in (0, 1))
    width = tf.gather(tf.constant(WIDTHS), labels) / scale
    z = ((low[..., None] - centres) * inverse, (high[..., None] - centres) * inverse, width[..., None] * inverse)
    return -_floored(tf.reduce_logsumexp(weights + _log_mass(*z), -1))


def _logits(outputs: Any, p: Any, scale: Any) -> Any:
    """log P of each code [batch, time, 256]."""
    weights, inverse, centres = (part[..., None] for part in _components(outputs))
    edges = ((tf.constant(EDGES) - p[..., None]) / scale[..., None])[..., None, :]
    widths = (tf.constant(WIDTHS) / scale[..., None])[..., None, :]
    z = (edges - centres) * inverse
    return _floored(tf.reduce_logsumexp(weights + _log_mass(z[..., :-1], z[..., 1:], widths * inverse), -2))


def _floored(log_p: Any) -> Any:
    """log((1 - FLOOR) p + FLOOR / 256)."""
    floor = np.float32(np.log(FLOOR / CODES))
    larger = tf.maximum(log_p, floor)
    return larger + tf.math.log((1 - FLOOR) * tf.exp(log_p - larger) + tf.exp(floor - larger))
