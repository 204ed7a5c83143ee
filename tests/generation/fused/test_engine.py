"""Every model of the registry has a fast engine, which is the network: for any weights, sizes, streams and prompts."""

import numpy as np
import pytest

from audiornn.backend import keras
from audiornn.codec import SILENCE
from audiornn.generation import engines, sampling
from audiornn.models import registry, storage
from tests.helpers import model_contract
from tests.helpers.model_contract import SMALL

pytestmark = pytest.mark.slow
KINDS = [*registry.REGISTRY, *(f"{name}, predicting" for name in ("audiornn", "samplernn", "linear"))]
ODD = [
    ("lpcmix", {"hidden": 70, "units": 3, "frame": 1, "mixture": 1, "history": 1, "layers": 0}),
    ("audiornn", {"dense": 5, "units": 65, "layers": 3, "predictor": True}),
    ("samplernn", {"frames": [3], "units": 1, "embedding": 1, "lookback": 1, "dense": 3}),
    ("samplernn", {"frames": [12, 6, 2], "units": 70, "embedding": 5, "lookback": 19, "dense": 65}),
    ("linear", {"frames": [4], "units": 70, "layers": 1, "embedding": 3, "lookback": 1, "dense": 66, "residual": 0}),
    ("linear", {"frames": [8, 4, 2], "units": 5, "lookback": 9, "dense": 12, "residual": 2, "predictor": True}),
]


@pytest.fixture(scope="module", params=KINDS)
def model(request, sine_codes):
    """Trained a little on a sine."""
    keras.utils.set_random_seed(0)
    name, _, predicting = request.param.partition(", ")
    made = storage.build(name, **SMALL[name], **({"predictor": True} if predicting else {}))
    return model_contract.trained(made, sine_codes[: 4 * 100].reshape(4, 100), steps=10)


def check(model, codes, expected, streams, before):
    """An engine that takes over after a prompt has the logits of the parallel form."""
    engine = engines.create_engine(model, "fused")
    engine.load_state(*sampling.prefill(model, codes[:streams, :before]))
    logits = engine.teacher_force(codes[:streams, before:])
    np.testing.assert_allclose(logits, expected[:streams, before:], rtol=0, atol=1e-4)


def test_auto_selects_the_fused_engine(model):
    assert engines.create_engine(model).name == "fused"


def test_fused_logits_equal_the_model_for_any_prompt_and_batch(model):
    codes = model_contract.codes_of(7, 3300)
    expected = model(codes).numpy()
    assert np.ptp(expected) > 1
    for streams in (1, 7):
        for before in (1, 300):
            check(model, codes, expected, streams, before)


@pytest.mark.parametrize(("name", "sizes"), [*((name, SMALL[name]) for name in registry.REGISTRY), *ODD])
def test_fused_logits_equal_the_model_for_any_weights_and_sizes(name, sizes):
    keras.utils.set_random_seed(0)
    made = model_contract.shaken(storage.build(name, **sizes), size=0.1)  # more would make logits of hundreds
    codes = model_contract.codes_of(7, 3100)
    expected = made(codes).numpy()
    for streams, before in ((1, 1), (7, made.hop), (1, made.hop + 1), (2, 50)):
        check(made, codes, expected, streams, before)


def test_fused_logits_do_not_depend_on_the_length_of_blocks(model):
    codes = model_contract.codes_of(2, 200)
    whole, pieces = (engines.create_engine(model, "fused") for _ in range(2))
    for engine in (whole, pieces):
        engine.load_state(*sampling.prefill(model, codes[:, :5]))
    expected = whole.teacher_force(codes[:, 5:])
    made = [pieces.teacher_force(codes[:, a:b]) for a, b in ((5, 6), (6, 13), (13, 100), (100, 200))]
    np.testing.assert_array_equal(np.concatenate(made, 1), expected)


def test_a_stream_has_the_same_bytes_alone_and_in_a_batch(model):
    prompt = np.full([6, 1], SILENCE, np.uint8)
    for engine in ("fused", "fused-bf16"):
        together = sampling.generate(model, 1500, [1.0] * 6, prompt=prompt, seed=3, engine_name=engine)
        alone = sampling.generate(model, 1500, [1.0], prompt=prompt[:1], seed=3, engine_name=engine)
        np.testing.assert_array_equal(together[:1], alone)
        assert len(np.unique(together[0])) > 10


def test_fused_and_tensorflow_engines_draw_the_same_codes(model, sine_codes):
    drawn = [
        sampling.generate(model, 300, [1.0], prompt=sine_codes[None, :500], seed=1, engine_name=engine)
        for engine in ("tensorflow", "fused")
    ]
    np.testing.assert_array_equal(*drawn)


def test_bfloat16_weights_change_logits_only_slightly(model, sine_codes):
    logits, heads = [], []
    for name in ("fused", "fused-bf16"):
        engine = engines.create_engine(model, name)
        engine.load_state(*sampling.prefill(model, sine_codes[None, :100]))
        logits.append(engine.teacher_force(sine_codes[None, 100:1100]))
        heads.append(engine.weights.head)
    difference = np.abs(logits[0] - logits[1])
    assert 0 < difference.mean() < 0.05
    assert 2 * heads[1].nbytes == heads[0].nbytes
