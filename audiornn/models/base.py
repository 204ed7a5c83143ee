"""The contract that every model keeps."""

import abc
from dataclasses import dataclass
from typing import Any

from audiornn.backend import keras, tf
from audiornn.codec import CodecSettings

State = Any  # a nest of tensors, whose first axis is the batch


@dataclass(frozen=True)
class TrainingWindow:
    """The windows that a model was trained on: codes before the first target, and targets, at most."""

    context: int
    span: int


class AudioModel(keras.Model, abc.ABC):
    """A network that predicts the distribution of the next code, usable two ways.

    In parallel, over whole sequences, for training and evaluation; one sample at a time, with a state that is
    carried, for generation. Both give the same logits to within float32 round-off (1e-4).

    Attributes
    ----------
    sizes
        The arguments that build the model again.
    codec
        How the codes that the model knows are made; set by training and by `audiornn.load`.
    window
        The windows that it was trained on; set likewise.
    hop
        Codes of the model's slowest clock. A sequence that is given to `run` in pieces is cut at multiples of it; only
        the last piece may have any length.
    """

    sizes: dict[str, Any]
    codec: CodecSettings
    window: TrainingWindow
    hop: int = 1

    @abc.abstractmethod
    def run(
        self, codes: Any, state: State, training: bool = False, valid: Any = None, last: int | None = None
    ) -> tuple:
        """Logits and the state after the last code: what `call` and `consume` are made of.

        Parameters
        ----------
        codes
            Integers [batch, time], 0 to 255.
        state
            As `initial_state` gives it.
        training
            Whether batch normalisation takes its statistics from this batch.
        valid
            Bool [batch, time]: which codes are real; those that fill up a batch must stand behind the real ones.
        last
            Compute logits for this many last positions alone (default: for all).

        Returns
        -------
        Logits float32 [batch, last or time, 256], and the state.
        """

    @abc.abstractmethod
    def initial_state(self, batch: int) -> State:
        """The state before the first code, for `batch` streams."""

    @abc.abstractmethod
    def step(self, codes: Any, state: State) -> tuple:
        """One sample: codes int [batch] and the state before them -> logits float32 [batch, 256], state after them."""

    @property
    @abc.abstractmethod
    def output_bias(self) -> Any:
        """The variable [256] that is added to the logits last; training sets it to the log of the code frequencies.

        None where a model has other knowledge to start from.
        """

    def learn(
        self, codes: Any, labels: Any, state: State, training: bool = True, valid: Any = None, last: int | None = None
    ) -> tuple:
        """What training needs: -log P of the codes that came, without the other 255 where a model can do without.

        Parameters
        ----------
        labels
            int32 [batch, last or time]: the codes that follow the last ones of `codes`.

        Others as for `run`.

        Returns
        -------
        Nats float32 [batch, last or time]; whether each label was the likeliest code, as 0 or 1, of which a model may
        take samples; and the state.
        """
        logits, after = self.run(codes, state, training, valid, last)
        nats = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        return nats, tf.cast(tf.argmax(logits, -1, tf.int32) == labels, tf.float32), after

    def call(self, codes: Any, training: bool = False, valid: Any = None, last: int | None = None) -> Any:
        """Logits float32 [batch, last or time, 256] of codes int [batch, time]; `[:, t]` predicts `codes[:, t + 1]`."""
        batch = tf.shape(codes)[0] if codes.shape[0] is None else codes.shape[0]
        return self.run(codes, self.initial_state(batch), training, valid, last)[0]

    def consume(self, codes: Any, state: State) -> tuple:
        """Logits [batch, 256] after the last of codes int [batch, time], and the state: a prompt in one pass."""
        logits, state = self.run(codes, state, last=1)
        return logits[:, -1], state

    def build_weights(self) -> None:
        """Create all weights, by running a short sequence through the model."""
        self(tf.zeros([1, 2], tf.uint8))
