"""TensorFlow engine for any model."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiornn.backend import tf
from audiornn.codec import CODES
from audiornn.common.array_types import Tensor
from audiornn.generation.fused.draws import UNLIMITED, Limits
from audiornn.models.base import AudioModel, State


def draw(logits: Tensor, temperature: Tensor, uniform: Tensor, limits: Limits = UNLIMITED) -> Tensor:
    """Sample codes from `softmax(logits / temperature)` by inversion of the distribution function.

    Parameters
    ----------
    logits
        Float [streams, 256].
    temperature
        Float [streams]; 0 takes the likeliest code.
    uniform
        Float [streams] in [0, 1).
    limits
        Restrictions of sampling; see `audiornn.generation.fused.draws.Limits`.

    Returns
    -------
    Codes int32 [streams].
    """
    top_k, top_p, confidence_threshold = limits
    scaled = logits / tf.where(temperature > 0, temperature, 1)[:, None]
    weights = tf.exp(scaled - tf.reduce_max(scaled, -1, keepdims=True))
    if 0 < top_k < CODES or top_p < 1:
        order = tf.argsort(-weights, axis=-1, stable=True)
        ranked = tf.gather(weights, order, batch_dims=1)
        if 0 < top_k < CODES:
            ranked *= tf.cast(tf.range(CODES) < top_k, weights.dtype)
        if top_p < 1:
            before = tf.cumsum(ranked, -1, exclusive=True)
            ranked *= tf.cast(before < top_p * tf.reduce_sum(ranked, -1, keepdims=True), weights.dtype)
        weights = tf.gather(ranked, tf.argsort(order, axis=-1), batch_dims=1)
    if confidence_threshold < 1:
        own = tf.exp(logits - tf.reduce_max(logits, -1, keepdims=True))
        weights = tf.where(confidence_threshold * tf.reduce_sum(own, -1, keepdims=True) <= 1, own, weights)
    cumulative = tf.cumsum(weights, -1)
    drawn = tf.reduce_sum(tf.cast(cumulative <= uniform[:, None] * cumulative[:, -1:], tf.int32), -1)
    likeliest = tf.argmax(logits, -1, tf.int32)
    # uniform * total can round up to the total, beyond the last code.
    return tf.where((temperature > 0) & (drawn < CODES), drawn, likeliest)


class TensorFlowEngine:
    """Generate with any model: its `step` in a `tf.while_loop`."""

    name = "tensorflow"

    def __init__(self, model: AudioModel, limits: Limits = UNLIMITED) -> None:
        self.model = model
        self._state: list[Tensor] = []
        self._structure: State = None
        self._logits: Tensor | None = None

        def step(codes: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
            logits, after = model.step(codes, tf.nest.pack_sequence_as(self._structure, state))
            return logits, tf.nest.flatten(after)

        @tf.function(reduce_retracing=True)
        def generate(logits: Tensor, state: list[Tensor], uniform: Tensor, temperature: Tensor) -> tuple[Tensor, ...]:
            def body(t: Tensor, logits: Tensor, state: list[Tensor], codes: Tensor) -> tuple[Tensor, ...]:
                code = draw(logits, temperature[t], uniform[t], limits)
                logits, state = step(code, state)
                return t + 1, logits, state, codes.write(t, code)

            return loop(body, logits, state, tf.int32, tf.shape(uniform)[0])

        @tf.function(reduce_retracing=True)
        def teacher_force(logits: Tensor, state: list[Tensor], codes: Tensor) -> tuple[Tensor, ...]:
            def body(t: Tensor, logits: Tensor, state: list[Tensor], kept: Tensor) -> tuple[Tensor, ...]:
                logits, state = step(codes[t], state)
                return t + 1, logits, state, kept.write(t, logits)

            return loop(body, logits, state, tf.float32, tf.shape(codes)[0])

        def loop(
            body: Callable[..., tuple[Tensor, ...]], logits: Tensor, state: list[Tensor], kind: Any, length: Tensor
        ) -> tuple[Tensor, ...]:
            kept = tf.TensorArray(kind, length)
            _, logits, state, kept = tf.while_loop(
                lambda t, *_: t < length, body, (0, logits, state, kept), parallel_iterations=1
            )
            return logits, state, kept.stack()

        self._generate, self._teacher_force = generate, teacher_force

    def load_state(self, logits: NDArray[np.float32], state: State) -> None:
        """See `Engine`."""
        self._structure, self._state = state, tf.nest.flatten(state)
        self._logits = tf.constant(logits)

    def generate(self, uniform: NDArray[np.float32], temperature: NDArray[np.float32]) -> NDArray[np.uint8]:
        """See `Engine`."""
        arguments = (tf.constant(np.ascontiguousarray(part.T)) for part in (uniform, temperature))
        self._logits, self._state, codes = self._generate(self._logits, self._state, *arguments)
        return codes.numpy().T.astype(np.uint8)

    def teacher_force(self, codes: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See `Engine`."""
        given = tf.constant(np.ascontiguousarray(codes.T), tf.int32)
        self._logits, self._state, kept = self._teacher_force(self._logits, self._state, given)
        return kept.numpy().transpose(1, 0, 2)
