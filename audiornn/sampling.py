"""Generate codes with a compiled loop that carries the model's state: one step of the network a sample."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiornn.backend import tf
from audiornn.codec import SILENCE
from audiornn.models.base import AudioModel

CHUNK = 1000  # samples between two looks at the progress


def uniforms(seed: int, stream: int) -> np.random.Generator:
    """The random numbers of a stream: its own sequence, whatever the other streams of a batch are."""
    return np.random.Generator(np.random.Philox(key=[seed, stream]))


def draw(logits: Any, temperature: Any, uniform: Any) -> Any:
    """Codes drawn from `softmax(logits / temperature)` by inversion of the distribution function.

    Parameters
    ----------
    logits
        Float [batch, 256].
    temperature
        Float [batch]; 0 takes the likeliest code.
    uniform
        Float [batch] in [0, 1).

    Returns
    -------
    Codes int32 [batch].
    """
    scaled = logits / tf.where(temperature > 0, temperature, 1)[:, None]
    weights = tf.exp(scaled - tf.reduce_max(scaled, -1, keepdims=True))
    cumulative = tf.cumsum(weights, -1)
    drawn = tf.reduce_sum(tf.cast(cumulative <= uniform[:, None] * cumulative[:, -1:], tf.int32), -1)
    drawn = tf.minimum(drawn, logits.shape[-1] - 1)  # uniform * total can round up to the total
    return tf.where(temperature > 0, drawn, tf.argmax(logits, -1, tf.int32))


def generate(
    model: AudioModel,
    samples: int,
    temperature: Sequence[float],
    *,
    prompt: NDArray[np.uint8] | None = None,
    seed: int = 0,
    on_progress: Callable[[int, float], None] = lambda samples, seconds: None,
) -> NDArray[np.uint8]:
    """Generate streams of codes side by side.

    Parameters
    ----------
    model
        Any model.
    samples
        Codes a stream.
    temperature
        One for each stream: below 1 favours likely codes, above 1 unlikely ones, 0 takes the likeliest.
    prompt
        Codes uint8 [streams, n], n >= 1, that the streams continue; not part of the result. Without one they start
        from a single code of silence.
    seed
        With the same seed, model and settings a stream is the same again.
    on_progress
        Called with the samples a stream so far, and the seconds they took.

    Returns
    -------
    Codes uint8 [streams, samples].
    """
    streams = len(temperature)
    heat = tf.constant(temperature, tf.float32)
    if prompt is None:
        prompt = np.full([streams, 1], SILENCE, np.uint8)
    random = [uniforms(seed, stream) for stream in range(streams)]
    flat_state: list[Any] = []

    @tf.function(reduce_retracing=True)
    def loop(logits: Any, state: list, uniform: Any) -> tuple:
        def body(t: Any, logits: Any, state: list, codes: Any) -> tuple:
            code = draw(logits, heat, uniform[t])
            logits, after = model.step(code, tf.nest.pack_sequence_as(structure, state))
            return t + 1, logits, tf.nest.flatten(after), codes.write(t, code)

        length = tf.shape(uniform)[0]
        codes = tf.TensorArray(tf.int32, length, element_shape=[streams])
        _, logits, state, codes = tf.while_loop(
            lambda t, *_: t < length, body, (0, logits, state, codes), parallel_iterations=1
        )
        return logits, state, tf.cast(codes.stack(), tf.uint8)

    logits, structure = tf.function(model.consume)(prompt, model.initial_state(streams))
    flat_state = tf.nest.flatten(structure)
    blocks, done, begin = [], 0, time.perf_counter()
    while done < samples:
        n = min(CHUNK, samples - done)
        uniform = np.stack([r.random(CHUNK, np.float32)[:n] for r in random], axis=1)
        logits, flat_state, block = loop(logits, flat_state, tf.constant(uniform))
        blocks.append(block.numpy())
        done += n
        on_progress(done, time.perf_counter() - begin)
    return np.concatenate(blocks, axis=0).T if blocks else np.zeros([streams, 0], np.uint8)
