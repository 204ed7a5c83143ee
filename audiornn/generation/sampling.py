"""Generate codes sample by sample with an engine that carries the model's state.

Two engines keep one protocol: `tensorflow` runs any model's `step` in a compiled loop; `fused` runs kernels made for a
model on the CPU, many times faster, and `fused-bf16` the same with rounded weights. `auto` takes the exact fused engine
where a model has one, as all of the registry have.
"""

import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from audiornn.backend import tf
from audiornn.codec import SILENCE
from audiornn.generation.engines import engine
from audiornn.generation.fused.draws import UNLIMITED, Limits
from audiornn.models.base import AudioModel, State

CHUNK = 1000  # samples between two looks at the progress; random numbers are drawn by so many

Temperature = float | tuple[float, float]  # constant, or a ramp from the first to the last sample


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
    runner.load_state(*consume(model, prompt))
    random = [uniforms(seed, stream) for stream in range(streams)]
    done = 0
    while samples is None or done < samples:
        n = CHUNK if samples is None else min(CHUNK, samples - done)
        uniform = np.stack([r.random(CHUNK, np.float32)[:n] for r in random])
        place = np.zeros(n) if samples is None else (done + np.arange(n)) / max(samples - 1, 1)
        heat = ramps[:, :1] * (1 - place) + ramps[:, 1:] * place
        yield runner.generate(uniform, heat.astype(np.float32))
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
        Of the draws; see `audiornn.generation.fused.draws.Limits`.
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
