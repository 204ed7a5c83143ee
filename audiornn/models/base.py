"""Interface of all models."""

import abc
from dataclasses import dataclass
from typing import Any

from audiornn.backend import keras, tf
from audiornn.codec import CodecSettings
from audiornn.common.array_types import Tensor
from audiornn.common.validation import Count

State = Any  # a nest of tensors, whose first axis is the batch


@dataclass(frozen=True)
class TrainingWindow:
    """The windows that a model was trained on: codes before the first target, and targets, at most."""

    context: Count
    targets_per_window: Count


class AudioModel(keras.Model, abc.ABC):
    """A network that predicts the distribution of the next code, in two forms.

    Parallel over sequences, for training and evaluation (`forward`); one code at a time with a state, for generation
    (`step`). Both give the same logits to within float32 round-off (1e-4).

    Attributes
    ----------
    sizes
        Arguments of the constructor.
    codec
        How the codes that the model knows are made; set by training and by `audiornn.load`.
    window
        The windows that it was trained on; set likewise.
    trained_steps
        Updates that led to its weights, those before `train.start_from` included; None, if that is not known.
    hop
        Codes per tick of the model's slowest clock. A sequence that is passed to `forward` in chunks is cut at
        multiples of it; only the last chunk may have any length.
    """

    sizes: dict[str, Any]
    codec: CodecSettings
    window: TrainingWindow
    trained_steps: int | None = None
    hop: int = 1

    @abc.abstractmethod
    def forward(
        self,
        codes: Tensor,
        state: State,
        training: bool = False,
        padding_mask: Tensor | None = None,
        num_last: int | None = None,
    ) -> tuple[Tensor, State]:
        """Logits for a sequence, and the state after it.

        Parameters
        ----------
        codes
            Integers [batch, time], 0 to 255.
        state
            State before the sequence; see `initial_state`.
        training
            Whether batch normalisation uses the statistics of this batch.
        padding_mask
            Bool [batch, time]: False for padding, which must come after the codes of a row.
        num_last
            Number of last positions to compute logits for (default: all).

        Returns
        -------
        Logits float32 [batch, num_last or time, 256], and the state.
        """

    @abc.abstractmethod
    def initial_state(self, batch: int) -> State:
        """Initial state of `batch` streams."""

    @abc.abstractmethod
    def step(self, codes: Tensor, state: State) -> tuple[Tensor, State]:
        """One step: codes int [batch] and the state before -> logits float32 [batch, 256] and the state after."""

    @property
    @abc.abstractmethod
    def output_bias(self) -> Tensor | None:
        """Bias [256] of the output layer, which training initialises to the log of the code frequencies.

        None if the model has another prior.
        """

    @classmethod
    def sizes_at(cls, sizes: dict[str, Any], sample_rate: int) -> dict[str, Any]:
        """Sizes in which those that are None, as they follow from the sample rate in Hz, have their values."""
        return sizes

    def loss_and_hits(
        self,
        codes: Tensor,
        labels: Tensor,
        state: State,
        training: bool = True,
        padding_mask: Tensor | None = None,
        num_last: int | None = None,
    ) -> tuple[Tensor, Tensor, State]:
        """Negative log-likelihood of the target codes; a model may avoid computing all 256 logits.

        Parameters
        ----------
        labels
            int32 [batch, num_last or time]: targets, the codes that follow the last ones of `codes`.

        Others as in `forward`.

        Returns
        -------
        Loss in nats float32 [batch, num_last or time]; top-1 hits, 0 or 1, which a model may compute on a subset; and
        the state.
        """
        logits, after = self.forward(codes, state, training, padding_mask, num_last)
        nats = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        return nats, tf.cast(tf.argmax(logits, -1, tf.int32) == labels, tf.float32), after

    def call(
        self, codes: Tensor, training: bool = False, padding_mask: Tensor | None = None, num_last: int | None = None
    ) -> Tensor:
        """Logits float32 [batch, num_last or time, 256] of codes int [batch, time]; row t predicts code t + 1."""
        batch = tf.shape(codes)[0] if codes.shape[0] is None else codes.shape[0]
        return self.forward(codes, self.initial_state(batch), training, padding_mask, num_last)[0]

    def prefill(self, codes: Tensor, state: State) -> tuple[Tensor, State]:
        """Process a prompt, codes int [batch, time]: logits [batch, 256] after its last code, and the state."""
        logits, state = self.forward(codes, state, num_last=1)
        return logits[:, -1], state

    def build_weights(self) -> None:
        """Create all weights by a forward pass over a short sequence."""
        self(tf.zeros([1, 2], tf.uint8))
