"""A model that compiles in no time, for tests of training."""

from pathlib import Path
from typing import Annotated, Any

import tensorflow as tf
from pydantic import Field

from audiornn.codec import CODES
from audiornn.models import storage
from audiornn.models.base import AudioModel, State, TrainingWindow
from tests.conftest import CODEC

RUN = "0123456789abcdef" * 2


class TinyModel(AudioModel):
    """A leaky sum of embedded codes, renewed every `hop` codes, and a dense layer.

    Its state has tensors of several kinds: the sum, float64 [b, units]; how many codes there were, int32 [b, 1].
    """

    def __init__(self, units: Annotated[int, Field(ge=1)] = 8, hop: Annotated[int, Field(ge=1)] = 1) -> None:
        super().__init__()
        self.units, self.hop = units, hop
        self.embedding = self.add_weight(shape=[CODES, units], initializer="random_normal", name="embedding")
        self.kernel = self.add_weight(shape=[units, CODES], initializer="glorot_uniform", name="kernel")
        self.bias = self.add_weight(shape=[CODES], initializer="zeros", name="bias")

    @property
    def output_bias(self) -> Any:
        return self.bias

    def initial_state(self, batch: Any) -> State:
        return {"sum": tf.zeros([batch, self.units], tf.float64), "codes": tf.zeros([batch, 1], tf.int32)}

    def forward(
        self, codes: Any, state: State, training: bool = False, padding_mask: Any = None, num_last: int | None = None
    ) -> tuple:
        time = codes.shape[1]
        powers = 0.9 ** tf.range(time + 1, dtype=tf.float64)
        ticks = tf.range(time) // self.hop * self.hop  # the state is renewed with the first code of each hop
        x = tf.cast(tf.gather(tf.convert_to_tensor(self.embedding), tf.cast(codes, tf.int32)), tf.float64)
        age = tf.range(time)[:, None] - tf.range(time)[None]
        weights = tf.where(age >= 0, tf.gather(powers, tf.maximum(age, 0)), 0)
        sums = tf.einsum("ts,bsu->btu", weights, x) + powers[1:, None] * state["sum"][:, None]
        seen = tf.cast(tf.gather(sums, ticks, axis=1), tf.float32)[:, -(num_last or time) :]
        logits = tf.tanh(seen) @ tf.convert_to_tensor(self.kernel) + self.bias
        return logits, {"sum": sums[:, -1], "codes": state["codes"] + time}

    def step(self, codes: Any, state: State) -> tuple:
        raise NotImplementedError("only for training")


def write_ancestor(folder: Path) -> Path:
    """Store a model as one that was trained for 7 updates in the run `RUN`; the fixture `tiny` must be in use."""
    model = storage.build("tiny", units=8)
    model.codec, model.window, model.trained_steps = CODEC, TrainingWindow(8, 8), 7
    storage.save(model, folder, {"mlflow.json": {"run_id": RUN}})
    return folder
