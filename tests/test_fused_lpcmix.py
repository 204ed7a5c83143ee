"""The fast engine of lpcmix is the network, for any sizes, streams and prompts."""

import numpy as np
import pytest

from audiornn import models, sampling
from audiornn.backend import keras
from audiornn.codec import SILENCE
from tests import contract

SIZES = [
    {"hidden": 24, "units": 20, "frame": 8, "mixture": 3, "history": 5, "predictors": [[8, 40, 4], [4, 24, 1]]},
    {"hidden": 70, "units": 3, "frame": 1, "mixture": 1, "history": 1, "predictors": [[4, 24, 1]], "layers": 0},
]


def build(sizes, train=False, codes=None):
    keras.utils.set_random_seed(0)
    model = models.build("lpcmix", **sizes)
    return contract.trained(model, codes, steps=10) if train else contract.shaken(model)


@pytest.fixture(scope="module")
def model(sine_codes):
    """Trained a little on a sine."""
    return build(SIZES[0], train=True, codes=sine_codes[: 4 * 200].reshape(4, 200))


def check(model, streams, before, time, atol=1e-4):
    codes = contract.codes_of(streams, before + time)
    expected = model(codes).numpy()[:, before:]
    engine = sampling.engine(model, "fused")
    engine.start(*sampling.consume(model, codes[:, :before]))
    np.testing.assert_allclose(engine.follow(codes[:, before:]), expected, atol=atol)


@pytest.mark.parametrize("streams", [1, 7])
@pytest.mark.parametrize("before", [1, 300])
def test_the_fused_engine_is_the_trained_network(model, streams, before):
    check(model, streams, before, 3000)


@pytest.mark.parametrize("sizes", SIZES)
def test_the_fused_engine_takes_any_sizes_and_weights(sizes):
    shaken = build(sizes)
    for before in (1, 7, 8, 9):
        check(shaken, 2, before, 600)


def test_a_stream_is_the_same_bytes_whatever_runs_beside_it(model):
    prompt = np.full([6, 1], SILENCE, np.uint8)
    for engine in ("fused", "fused-bf16"):
        together = sampling.generate(model, 1500, [1.0] * 6, prompt=prompt, seed=3, engine_name=engine)
        alone = sampling.generate(model, 1500, [1.0], prompt=prompt[:1], seed=3, engine_name=engine)
        np.testing.assert_array_equal(together[:1], alone)
        assert len(np.unique(together[0])) > 10


def test_engines_draw_the_same_codes(model, sine_codes):
    drawn = [
        sampling.generate(model, 300, [1.0], prompt=sine_codes[None, :500], seed=1, engine_name=engine)
        for engine in ("tensorflow", "fused")
    ]
    np.testing.assert_array_equal(*drawn)


def test_rounded_weights_change_logits_a_little(model, sine_codes):
    logits = []
    for name in ("fused", "fused-bf16"):
        engine = sampling.engine(model, name)
        engine.start(*sampling.consume(model, sine_codes[None, :100]))
        logits.append(engine.follow(sine_codes[None, 100:1100]))
    difference = np.abs(logits[0] - logits[1])
    assert 0 < difference.mean() < 0.05
