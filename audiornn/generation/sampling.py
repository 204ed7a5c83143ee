"""Sampling of codes, one after the other, by an engine that carries the model's state.

Engines: `tensorflow` runs any model's `step` in a compiled loop; `fused` runs kernels written for a model on the CPU,
many times faster, and `fused-bf16` does so with rounded weights. `auto` selects `fused` if there is one for the model,
as for all in the registry.
"""

import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from audiornn.backend import tf
from audiornn.codec import SILENCE
from audiornn.generation.engines import create_engine
from audiornn.generation.fused.draws import UNLIMITED, Limits
from audiornn.models.base import AudioModel, State

BLOCK_SAMPLES = 1000  # samples per block, between two reports of progress; random numbers are drawn in the same blocks

Temperature = float | tuple[float, float]  # constant, or a linear ramp from the first to the last sample


def prefill(model: AudioModel, prompt: NDArray[np.uint8]) -> tuple[NDArray[np.float32], State]:
    """Logits [streams, 256] and state after prompts uint8 [streams, n], by the parallel form of the model.

    Each distinct prompt is processed alone, so that its bits do not depend on the others.
    """
    different, which = np.unique(prompt, axis=0, return_inverse=True)
    results = [model.prefill(tf.constant(row[None]), model.initial_state(1)) for row in different]
    logits = np.concatenate([logits.numpy() for logits, _ in results])[which]
    state = tf.nest.map_structure(lambda *rows: tf.gather(tf.concat(rows, 0), which), *(state for _, state in results))
    return logits, state


def random_stream(seed: int, stream: int) -> np.random.Generator:
    """The random generator of a stream, independent of the other streams of a batch."""
    return np.random.Generator(np.random.Philox(key=[seed, stream]))


def generate_blocks(
    model: AudioModel,
    temperature: Sequence[Temperature],
    *,
    samples: int | None = None,
    prompt: NDArray[np.uint8] | None = None,
    seed: int = 0,
    limits: Limits = UNLIMITED,
    engine_name: str = "auto",
) -> Iterator[NDArray[np.uint8]]:
    """Generate parallel streams of codes in blocks uint8 [streams, up to 1000]; see `generate`.

    Without `samples` the stream is endless; temperature ramps then stay at their start.
    """
    streams = len(temperature)
    if prompt is None:
        prompt = np.full([streams, 1], SILENCE, np.uint8)
    ramps = np.array([t if isinstance(t, tuple) else (t, t) for t in temperature], np.float64)
    engine = create_engine(model, engine_name, limits)
    engine.load_state(*prefill(model, prompt))
    random = [random_stream(seed, stream) for stream in range(streams)]
    done = 0
    while samples is None or done < samples:
        n = BLOCK_SAMPLES if samples is None else min(BLOCK_SAMPLES, samples - done)
        uniform = np.stack([r.random(BLOCK_SAMPLES, np.float32)[:n] for r in random])
        progress = np.zeros(n) if samples is None else (done + np.arange(n)) / max(samples - 1, 1)
        temperatures = ramps[:, :1] * (1 - progress) + ramps[:, 1:] * progress
        yield engine.generate(uniform, temperatures.astype(np.float32))
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
    """Generate parallel streams of codes.

    Parameters
    ----------
    model
        Any model.
    samples
        Codes per stream.
    temperature
        One per stream: below 1 favours likely codes, above 1 unlikely ones, 0 takes the likeliest. A pair is a linear
        ramp from the first to the last sample.
    prompt
        Codes uint8 [streams, n], n >= 1, to continue; not part of the result. By default a single code of silence.
    seed
        Random seed; with the same model and settings it gives the same streams.
    limits
        Restrictions of sampling; see `audiornn.generation.fused.draws.Limits`.
    engine_name
        One of `ENGINES`.
    on_progress
        Called with the samples per stream so far, and the seconds since the start of the first block.

    Returns
    -------
    Codes uint8 [streams, samples].
    """
    made, done, begin = [], 0, time.perf_counter()
    for block in generate_blocks(
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
