"""Backward-adaptive linear prediction, refined by a small network into a mixture of logistic distributions.

    codes ─► linear predictors (kernels/linear_prediction.py) ─► prediction p, scale s ────────────┐
      │                  │                                                                         ▼
      └── last samples and errors, relative to p and s ─► residual layers ─► mixture around p in units of s ─► logits
                         │                                      ▲
                         └───────── every `frame` samples: GRU ─┘

At any loudness and pitch the next sample lies near a classical prediction, at a distance of about its recent error. The
network models the residual: its inputs are relative to prediction and scale, and its output is a mixture of logistic
distributions in the same units, integrated over the interval of each code (Salimans et al. 2017). LPCNet (Valin &
Skoglund 2019) combines a network with linear prediction in this way, with transmitted predictors; here they are
computed from past codes, as in ITU-T G.728.
"""

import math
from itertools import accumulate, pairwise
from typing import Annotated, Any, NamedTuple

import numpy as np
from pydantic import Field

from audiornn.backend import COMPILE, keras, tf
from audiornn.codec import SILENCE
from audiornn.common.array_types import Tensor
from audiornn.common.errors import AudioRNNError
from audiornn.common.validation import Layers, Width
from audiornn.kernels.linear_prediction import AMPLITUDES, FeatureColumns
from audiornn.kernels.predictor import DEFAULT, DEFAULT_RATE, Predictor
from audiornn.models.base import AudioModel, State
from audiornn.models.layers import logistic_mixture, lpc_prior
from audiornn.models.layers.gru import GRU

# Order, window and update interval of each predictor.
Predictors = Annotated[
    list[Annotated[list[Annotated[int, Field(ge=1, le=1 << 16)]], Field(min_length=3, max_length=3)]],
    Field(max_length=16),
]
MIN_RATE, MAX_RATE = 8_000, 48_000  # Hz, between which the predictors follow from the sample rate

INITIAL_CENTRE_RANGE = 1.5  # initial centres of the components, in scales around the prediction
ACCURACY_STRIDE = 64  # training accuracy is measured on every 64th target


class FrameColumns(NamedTuple):
    """Columns of the GRU's input, each as those of the same name in `lpc_prior.NetworkInputColumns`."""

    companded: slice
    errors: slice
    position: slice


def frame_columns(history: int) -> FrameColumns:
    """The columns for a number of last samples."""
    edges = [0, *accumulate((history, history, lpc_prior.NUM_POSITION_FEATURES))]
    return FrameColumns(*(slice(a, b) for a, b in pairwise(edges)))


class LPCMix(AudioModel):
    """Linear prediction refined into a mixture of logistics.

    Parameters
    ----------
    hidden
        Units of the residual layers, which run for every sample.
    layers
        Number of residual layers.
    units
        Units of the GRU, which runs once per frame.
    frame
        Samples per frame.
    mixture
        Components of the mixture.
    history
        Number of past samples and errors in the input.
    predictors
        Order, window and update interval of each linear predictor; see `audiornn.kernels.predictor.Predictor`.
        None: those of `default_predictors`.
    """

    def __init__(
        self,
        hidden: Width = 256,
        layers: Layers = 2,
        units: Width = 384,
        frame: Width = 16,
        mixture: Width = 4,
        history: Width = 16,
        predictors: Predictors | None = None,
    ) -> None:
        super().__init__(name="lpcmix")
        self.hidden, self.units, self.hop, self.mixture, self.history = hidden, units, frame, mixture, history
        try:
            self.predictor = Predictor(default_predictors(DEFAULT_RATE) if predictors is None else predictors)
        except ValueError as error:
            raise AudioRNNError(f"train.model: predictors: {error}") from None
        self.gru = GRU(units, name="gru")
        self.condition = keras.layers.Dense(hidden, use_bias=False, name="condition")
        self.first = keras.layers.Dense(hidden, name="first")
        self.residual = [keras.layers.Dense(hidden, name=f"residual_{i}") for i in range(layers)]
        self.head = keras.layers.Dense(
            3 * mixture, name="head", kernel_initializer=keras.initializers.RandomNormal(0, 0.01)
        )
        self.frame_columns = frame_columns(history)
        self.gru.build(self.frame_columns.position.stop)
        self.condition.build([None, units])
        self.input_columns = lpc_prior.network_input_columns(history, self.predictor, companded=history)
        self.first.build([None, self.input_columns.companded.stop])
        for layer in [*self.residual, self.head]:
            layer.build([None, hidden])
        centres = np.linspace(-INITIAL_CENTRE_RANGE, INITIAL_CENTRE_RANGE, mixture) if mixture > 1 else np.zeros(1)
        self.head.bias.assign(np.concatenate([np.zeros(2 * mixture), centres]))
        self.built = True
        # XLA fuses the many small operations between the matrix products.
        self._compiled_distribution = tf.function(self._distribution, jit_compile=COMPILE)
        self._compiled_nll_and_hits = tf.function(self._nll_and_hits, jit_compile=COMPILE)

    @classmethod
    def sizes_at(cls, sizes: dict[str, Any], sample_rate: int) -> dict[str, Any]:
        given = sizes["predictors"]
        return {**sizes, "predictors": default_predictors(sample_rate) if given is None else given}

    @property
    def output_bias(self) -> Tensor | None:
        """None: the predictors supply the prior."""
        return None

    def initial_state(self, batch: int | Tensor) -> State:
        return {
            "predictor": lpc_prior.initial_state(self.predictor, batch),
            "amplitudes": tf.fill([batch, self.history], float(AMPLITUDES[SILENCE])),
            "errors": tf.zeros([batch, self.history]),
            "gru": tf.zeros([batch, self.units]),
            "condition": tf.zeros([batch, self.hidden]),
            "phase": tf.zeros([batch], tf.int32),  # codes since the last frame boundary
        }

    def forward(
        self,
        codes: Tensor,
        state: State,
        training: bool = False,
        padding_mask: Tensor | None = None,
        num_last: int | None = None,
    ) -> tuple[Tensor, State]:
        features, after = self._features(codes, state, num_last)
        compiled = codes.shape[1] >= lpc_prior.MIN_COMPILED_CODES
        return (self._compiled_distribution if compiled else self._distribution)(*features), after

    def prefill(self, codes: Tensor, state: State) -> tuple[Tensor, State]:
        features, after = self._features(codes, state, 1)
        return self._distribution(*features)[:, -1], after  # prompts have any length: compilation does not pay

    def loss_and_hits(
        self,
        codes: Tensor,
        labels: Tensor,
        state: State,
        training: bool = True,
        padding_mask: Tensor | None = None,
        num_last: int | None = None,
    ) -> tuple[Tensor, Tensor, State]:
        features, after = self._features(codes, state, num_last)
        compiled = codes.shape[1] >= lpc_prior.MIN_COMPILED_CODES
        nats, hits = (self._compiled_nll_and_hits if compiled else self._nll_and_hits)(labels, *features)
        return nats, hits, after

    def step(self, codes: Tensor, state: State) -> tuple[Tensor, State]:
        features, predictor = lpc_prior.lpc_features(self.predictor, codes[:, None], state["predictor"])
        amplitudes, errors = self._histories(codes[:, None], features, state)

        def begin() -> tuple[Tensor, ...]:
            frames = self._frames(amplitudes, errors, features)
            gru = self.gru.step(self.gru.project(frames[:, 0]), state["gru"])
            return gru, self.condition(gru)

        gru, condition = tf.cond(state["phase"][0] == 0, begin, lambda: (state["gru"], state["condition"]))
        logits = self._distribution(amplitudes, errors, features, condition[:, None])
        after = {
            "predictor": predictor,
            "amplitudes": amplitudes[:, 1:],
            "errors": errors[:, 1:],
            "gru": gru,
            "condition": condition,
            "phase": (state["phase"] + 1) % self.hop,
        }
        return logits[:, 0], after

    def _features(self, codes: Tensor, state: State, num_last: int | None) -> tuple[Tensor, ...]:
        """What the residual layers see of the last codes, as `_mixtures` takes it, and the state after all.

        The initial state must be at a frame boundary.
        """
        time = codes.shape[1]
        features, predictor = lpc_prior.lpc_features(self.predictor, codes, state["predictor"])
        amplitudes, errors = self._histories(codes, features, state)
        frames = self._frames(amplitudes, errors, features)
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
        first = time - (num_last or time)
        conditions_per_sample = tf.repeat(conditions, self.hop, axis=1)[:, first:time]
        return (amplitudes[:, first:], errors[:, first:], features[:, first:], conditions_per_sample), after

    @property
    def _columns(self) -> FeatureColumns:
        return self.predictor.columns

    def _histories(self, codes: Tensor, features: Tensor, state: State) -> tuple[Tensor, ...]:
        """Amplitudes and prediction errors [batch, history + time]: those of the state, then the new ones."""
        amplitudes = tf.gather(tf.constant(AMPLITUDES), tf.cast(codes, tf.int32))
        errors = features[..., self._columns.residual]
        return tf.concat([state["amplitudes"], amplitudes], 1), tf.concat([state["errors"], errors], 1)

    def _frames(self, amplitudes: Tensor, errors: Tensor, features: Tensor) -> Tensor:
        """Inputs of the GRU [batch, frames, n], at the first code of each frame, with the columns of `FrameColumns`."""
        features = features[:, :: self.hop]
        recent = _windows(lpc_prior.compand(amplitudes), self.history, self.hop)
        scale = lpc_prior.error_scale(features, self._columns)
        past_errors = tf.asinh(_windows(errors, self.history, self.hop) / scale[..., None])
        return tf.concat([recent, past_errors, lpc_prior.position_features(features, self._columns)], -1)

    def _distribution(self, *features: Tensor) -> Tensor:
        """Log-probability of each code [batch, time, 256]; arguments as for `_mixtures`."""
        return logistic_mixture.logits(*self._mixtures(*features))

    def _nll_and_hits(self, labels: Tensor, *features: Tensor) -> tuple[Tensor, ...]:
        """Negative log-likelihood of the labels, and top-1 hits, computed on a subset; [batch, time] each."""
        mixtures = self._mixtures(*features)
        subsampled = [tf.stop_gradient(part[:, ::ACCURACY_STRIDE]) for part in mixtures]
        likeliest = tf.argmax(logistic_mixture.logits(*subsampled), -1, tf.int32)
        hits = tf.cast(likeliest == labels[:, ::ACCURACY_STRIDE], tf.float32)
        return logistic_mixture.nats(labels, *mixtures), tf.repeat(hits, ACCURACY_STRIDE, axis=1)[:, : labels.shape[1]]

    def _mixtures(self, amplitudes: Tensor, errors: Tensor, features: Tensor, condition: Tensor) -> tuple[Tensor, ...]:
        """Parameters of the mixture for every sample.

        Parameters
        ----------
        amplitudes, errors
            Of the history, then of the codes: float32 [batch, history + time].
        features
            What the predictors know after each code, [batch, time, n_features].
        condition
            Output of the GRU that is added to the first layer, [batch, time, hidden].

        Returns
        -------
        Parameters of the mixture [batch, time, 3 * mixture], prediction and scale [batch, time].
        """
        columns = self._columns
        p, scale = features[..., columns.cascade], lpc_prior.error_scale(features, columns)
        recent, past_errors = _windows(amplitudes, self.history), _windows(errors, self.history)
        x = lpc_prior.network_inputs(recent, past_errors, features, columns)
        x = tf.concat([x, lpc_prior.compand(recent)], -1)
        x = tf.nn.silu(self.first(x) + condition)
        for layer in self.residual:
            x += tf.nn.silu(layer(x))
        return self.head(x), p, scale


def default_predictors(sample_rate: int) -> list[list[int]]:
    """Predictors for a sample rate in Hz: orders and windows that last as long as at 8 kHz, updated about as often.

    Below 8 kHz they are those of 8 kHz, above 48 kHz those of 48 kHz, as the cost of a sample grows with the rate.
    """
    factor = min(max(sample_rate, MIN_RATE), MAX_RATE) / DEFAULT_RATE
    interval = 1 << int(math.log2(factor))  # a power of two, as update intervals are
    return [[round(order * factor), round(window * factor), interval * update] for order, window, update in DEFAULT]


def _windows(x: Tensor, width: int, hop: int = 1) -> Tensor:
    """[batch, width + time] -> [batch, ceil(time / hop), width]: last `width` values per position, latest first."""
    time = x.shape[1] - width
    return tf.stack([x[:, width - j : width - j + time : hop] for j in range(width)], -1)
