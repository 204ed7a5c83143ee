"""Generate codes sample by sample with an engine that carries the model's state.

Two engines keep one protocol: `tensorflow` runs any model's `step` in a compiled loop; `fused` runs kernels made for a
model on the CPU, many times faster, and `fused-bf16` the same with rounded weights. `auto` takes the exact fused engine
where a model has one, as all of the registry have.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from audiornn.backend import tf
from audiornn.codec import CODES, SILENCE
from audiornn.errors import AudioRNNError
from audiornn.kernels import UNLIMITED, Limits
from audiornn.models.base import AudioModel, State

CHUNK = 1000  # samples between two looks at the progress; random numbers are drawn by so many
ENGINES = ("auto", "fused", "fused-bf16", "tensorflow")
# Module and class of the engines made for a model, by its name in `audiornn.models.REGISTRY`.
FUSED = {
    "lpcmix": "audiornn.fused_lpcmix:FusedLPCMix",
    "audiornn": "audiornn.fused:FusedAudioRNN",
    "samplernn": "audiornn.fused_tiers:FusedSampleRNN",
    "linear": "audiornn.fused_tiers:FusedLinear",
}
Temperature = float | tuple[float, float]  # constant, or a ramp from the first to the last sample


class Engine(Protocol):
    """What generates: streams side by side, each with its state.

    `name` is the engine's; `start` takes logits [streams, 256] and state after a prompt; `advance` draws the next codes
    uint8 [streams, n] by uniform numbers in [0, 1) and temperatures, both float32 [streams, n]; `follow` takes given
    codes instead and returns the logits [streams, n, 256] after each.
    """

    name: str

    def start(self, logits: NDArray[np.float32], state: State) -> None: ...

    def advance(self, uniform: NDArray[np.float32], temperature: NDArray[np.float32]) -> NDArray[np.uint8]: ...

    def follow(self, codes: NDArray[np.uint8]) -> NDArray[np.float32]: ...


def draw(logits: Any, temperature: Any, uniform: Any, limits: Limits = UNLIMITED) -> Any:
    """Codes drawn from `softmax(logits / temperature)` by inversion of the distribution function.

    Parameters
    ----------
    logits
        Float [streams, 256].
    temperature
        Float [streams]; 0 takes the likeliest code.
    uniform
        Float [streams] in [0, 1).
    limits
        Of the draws; see `audiornn.kernels.Limits`.

    Returns
    -------
    Codes int32 [streams].
    """
    top_k, top_p, certain = limits
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
    if certain < 1:
        own = tf.exp(logits - tf.reduce_max(logits, -1, keepdims=True))
        weights = tf.where(certain * tf.reduce_sum(own, -1, keepdims=True) <= 1, own, weights)
    cumulative = tf.cumsum(weights, -1)
    drawn = tf.reduce_sum(tf.cast(cumulative <= uniform[:, None] * cumulative[:, -1:], tf.int32), -1)
    likeliest = tf.argmax(logits, -1, tf.int32)
    # uniform * total can round up to the total: no code is left then.
    return tf.where((temperature > 0) & (drawn < CODES), drawn, likeliest)


class TensorFlowEngine:
    """Generate with any model: its `step` in a `tf.while_loop`."""

    name = "tensorflow"

    def __init__(self, model: AudioModel, limits: Limits = UNLIMITED) -> None:
        self.model = model
        self._state: list[Any] = []
        self._structure: State = None
        self._logits: Any = None

        def step(codes: Any, state: list[Any]) -> tuple[Any, list[Any]]:
            logits, after = model.step(codes, tf.nest.pack_sequence_as(self._structure, state))
            return logits, tf.nest.flatten(after)

        @tf.function(reduce_retracing=True)
        def advance(logits: Any, state: list[Any], uniform: Any, temperature: Any) -> tuple:
            def body(t: Any, logits: Any, state: list[Any], codes: Any) -> tuple:
                code = draw(logits, temperature[t], uniform[t], limits)
                logits, state = step(code, state)
                return t + 1, logits, state, codes.write(t, code)

            return loop(body, logits, state, tf.int32, tf.shape(uniform)[0])

        @tf.function(reduce_retracing=True)
        def follow(logits: Any, state: list[Any], codes: Any) -> tuple:
            def body(t: Any, logits: Any, state: list[Any], kept: Any) -> tuple:
                logits, state = step(codes[t], state)
                return t + 1, logits, state, kept.write(t, logits)

            return loop(body, logits, state, tf.float32, tf.shape(codes)[0])

        def loop(body: Any, logits: Any, state: list[Any], kind: Any, length: Any) -> tuple:
            kept = tf.TensorArray(kind, length)
            _, logits, state, kept = tf.while_loop(
                lambda t, *_: t < length, body, (0, logits, state, kept), parallel_iterations=1
            )
            return logits, state, kept.stack()

        self._advance, self._follow = advance, follow

    def start(self, logits: NDArray[np.float32], state: State) -> None:
        """See `Engine`."""
        self._structure, self._state = state, tf.nest.flatten(state)
        self._logits = tf.constant(logits)

    def advance(self, uniform: NDArray[np.float32], temperature: NDArray[np.float32]) -> NDArray[np.uint8]:
        """See `Engine`."""
        arguments = (tf.constant(np.ascontiguousarray(part.T)) for part in (uniform, temperature))
        self._logits, self._state, codes = self._advance(self._logits, self._state, *arguments)
        return codes.numpy().T.astype(np.uint8)

    def follow(self, codes: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See `Engine`."""
        given = tf.constant(np.ascontiguousarray(codes.T), tf.int32)
        self._logits, self._state, kept = self._follow(self._logits, self._state, given)
        return kept.numpy().transpose(1, 0, 2)


def engine(model: AudioModel, name: str = "auto", limits: Limits = UNLIMITED) -> Engine:
    """The engine of a name, made for a model.

    Raises
    ------
    AudioRNNError
        If there is no such engine, or it has no kernels for the model.
    """
    if name not in ENGINES:
        raise AudioRNNError(f"engine is {name!r}, but must be one of {', '.join(ENGINES)}")
    fits = model.name in FUSED
    if name == "tensorflow" or (name == "auto" and not fits):
        return TensorFlowEngine(model, limits)
    if not fits:
        raise AudioRNNError(f"engine is {name!r}, but {model.name} has no fused kernels: auto or tensorflow would do")
    module, fused = FUSED[model.name].split(":")
    return getattr(import_module(module), fused)(model, limits, bfloat16=name == "fused-bf16")


def consume(model: AudioModel, prompt: NDArray[np.uint8]) -> tuple[NDArray[np.float32], State]:
    """Logits [streams, 256] and state after prompts uint8 [streams, n], by the parallel form.

    Each different prompt runs alone, and so leaves the same bits whatever runs beside it.
    """
    different, which = np.unique(prompt, axis=0, return_inverse=True)
    results = [model.consume(tf.constant(row[None]), model.initial_state(1)) for row in different]
    logits = np.concatenate([logits.numpy() for logits, _ in results])[which]
    state = tf.nest.map_structure(lambda *rows: tf.gather(tf.concat(rows, 0), which), *(state for _, state in results))
    return logits, state


def uniforms(seed: int, stream: int) -> np.random.Generator:
    """The random numbers of a stream: its own sequence, whatever the other streams of a batch are."""
    return np.random.Generator(np.random.Philox(key=[seed, stream]))


def blocks(
    model: AudioModel,
    temperature: Sequence[Temperature],
    *,
    samples: int | None = None,
    prompt: NDArray[np.uint8] | None = None,
    seed: int = 0,
    limits: Limits = UNLIMITED,
    engine_name: str = "auto",
) -> Iterator[NDArray[np.uint8]]:
    """Generate streams of codes side by side, block by block: uint8 [streams, up to 1000]; see `generate`.

    Without `samples` the blocks never end; ramps of the temperature then stay at their start.
    """
    streams = len(temperature)
    if prompt is None:
        prompt = np.full([streams, 1], SILENCE, np.uint8)
    ramps = np.array([t if isinstance(t, tuple) else (t, t) for t in temperature], np.float64)
    runner = engine(model, engine_name, limits)
    runner.start(*consume(model, prompt))
    random = [uniforms(seed, stream) for stream in range(streams)]
    done = 0
    while samples is None or done < samples:
        n = CHUNK if samples is None else min(CHUNK, samples - done)
        uniform = np.stack([r.random(CHUNK, np.float32)[:n] for r in random])
        place = np.zeros(n) if samples is None else (done + np.arange(n)) / max(samples - 1, 1)
        heat = ramps[:, :1] * (1 - place) + ramps[:, 1:] * place
        yield runner.advance(uniform, heat.astype(np.float32))
        done += n


def generate(
    model: AudioModel,
    samples: int,
    temperature: Sequence[Temperature],
    *,
    prompt: NDArray[np.uint8] | None = None,
    seed: int = 0,
    limits: Limits = UNLIMITED,
    engine_name: str = "auto",
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
        One for each stream: below 1 favours likely codes, above 1 unlikely ones, 0 takes the likeliest. A pair is a
        ramp from the first to the last sample.
    prompt
        Codes uint8 [streams, n], n >= 1, that the streams continue; not part of the result. Without one they start
        from a single code of silence.
    seed
        With the same seed, model and settings a stream is the same again.
    limits
        Of the draws; see `audiornn.kernels.Limits`.
    engine_name
        One of `ENGINES`.
    on_progress
        Called with the samples a stream so far, and the seconds since the first block was begun.

    Returns
    -------
    Codes uint8 [streams, samples].
    """
    made, done, begin = [], 0, time.perf_counter()
    for block in blocks(
        model,
        temperature,
        samples=samples,
        prompt=prompt,
        seed=seed,
        limits=limits,
        engine_name=engine_name,
    ):
        made.append(block)
        done += block.shape[1]
        on_progress(done, time.perf_counter() - begin)
    return np.concatenate(made, axis=1) if made else np.zeros([len(temperature), 0], np.uint8)
