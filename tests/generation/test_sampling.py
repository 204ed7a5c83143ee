"""Generated codes are reproducible: streams depend on their seed and prompt, not on length or on other streams."""

import numpy as np
import pytest

from audiornn import codec
from audiornn.generation import sampling
from audiornn.generation.fused.draws import Limits

ENGINES = ["tensorflow", "fused", "fused-bf16"]


@pytest.mark.parametrize("engine", ENGINES)
def test_generation_at_temperature_0_takes_the_likeliest_codes_of_the_model(model, engine):
    prompt = np.random.default_rng(0).integers(0, 256, (3, 40)).astype(np.uint8)
    codes = sampling.generate(model, 50, [0.0, 0.0, 0.0], prompt=prompt, engine_name=engine)
    logits = model(np.concatenate([prompt, codes], axis=1)).numpy()[:, 39:-1]
    chosen = np.take_along_axis(logits, codes[..., None].astype(int), -1)[..., 0]
    np.testing.assert_allclose(chosen, logits.max(-1), atol=0.1 if engine == "fused-bf16" else 1e-4)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_same_seed_gives_the_same_codes_for_any_length(model, engine):
    temperatures = [1.0, 1.0]
    first = sampling.generate(model, 2500, temperatures, seed=5, engine_name=engine)
    np.testing.assert_array_equal(first, sampling.generate(model, 2500, temperatures, seed=5, engine_name=engine))
    np.testing.assert_array_equal(
        first[:, :1200], sampling.generate(model, 1200, temperatures, seed=5, engine_name=engine)
    )
    assert (first != sampling.generate(model, 2500, temperatures, seed=6, engine_name=engine)).mean() > 0.3
    assert (first[0] != first[1]).mean() > 0.3  # streams have numbers of their own


@pytest.mark.slow
def test_a_tensorflow_stream_has_the_same_bytes_alone_and_in_a_batch(model):
    random = np.random.default_rng(3)
    prompts = random.integers(0, 256, (9, 50)).astype(np.uint8)
    temperatures = [1.0, 0.8, (0.7, 1.1), 1.0, 1.0, 0.0, 1.2, 0.9, 1.0]
    options = {"seed": 2, "limits": Limits(top_p=0.95), "engine_name": "tensorflow"}
    together = sampling.generate(model, 1500, temperatures, prompt=prompts, **options)
    for n in (1, 2, 3, 6):
        fewer = sampling.generate(model, 1500, temperatures[:n], prompt=prompts[:n], **options)
        np.testing.assert_array_equal(fewer, together[:n])


def test_without_a_prompt_streams_start_from_silence(model):
    codes = sampling.generate(model, 20, [0.0])
    logits = model(np.concatenate([[[codec.SILENCE]], codes], axis=1).astype(np.uint8)).numpy()[0, :-1]
    np.testing.assert_allclose(logits[np.arange(20), codes[0]], logits.max(-1), atol=1e-4)


def test_a_temperature_ramp_goes_from_start_to_end(model):
    cold = sampling.generate(model, 2000, [0.0], engine_name="fused")[0]
    ramp = sampling.generate(model, 2000, [(0.0, 2.0)], engine_name="fused")[0]
    assert ramp[0] == cold[0]
    spread = [len(set(part)) for part in np.array_split(ramp, 4)]
    assert spread[-1] > spread[0]


def test_progress_is_reported_per_chunk(model):
    told = []
    sampling.generate(model, 2300, [1.0], on_progress=lambda done, seconds: told.append((done, seconds)))
    assert [done for done, _ in told] == [1000, 2000, 2300]
    assert all(seconds > 0 for _, seconds in told)


def test_endless_chunks_are_the_codes_of_generate(model):
    endless = sampling.generate_blocks(model, [1.0], seed=5)
    made = np.concatenate([next(endless) for _ in range(3)], axis=1)
    np.testing.assert_array_equal(made, sampling.generate(model, 3000, [1.0], seed=5))
