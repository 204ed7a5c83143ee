"""SampleRNN's tiers keep their clocks, and its sizes are understood."""

import numpy as np
import pytest

from audiornn.backend import keras
from audiornn.common.errors import AudioRNNError
from audiornn.models import storage
from audiornn.models.layers.tiers import Embedding
from tests.helpers import model_contract

SMALL = {"units": 6, "embedding": 4, "lookback": 3, "dense": 8}


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return model_contract.shaken(storage.build("samplernn", frames=[12, 4], **SMALL))


def test_each_tier_ticks_with_the_first_code_of_each_of_its_frames(model):
    codes, state = model_contract.codes_of(2, 40), model.initial_state(2)
    ticks = {12: [], 4: []}
    for t in range(40):
        before = state["tiers"]["cores"]
        _, state = model.step(codes[:, t], state)
        for frame, old, new in zip(ticks, before, state["tiers"]["cores"], strict=True):
            if not np.array_equal(old, new):
                ticks[frame].append(t)
    assert ticks == {12: [0, 12, 24, 36], 4: list(range(0, 40, 4))}


@pytest.mark.slow
def test_a_frame_is_the_codes_up_to_the_tick(model):
    codes = model_contract.codes_of(1, 24)
    reference = model.forward(codes, model.initial_state(1))[1]["tiers"]["cores"]
    for tier, (frame, last_tick) in enumerate([(12, 12), (4, 20)]):
        for t in range(24):
            changed = codes.copy()
            changed[:, t] ^= 128
            cores = model.forward(changed, model.initial_state(1))[1]["tiers"]["cores"]
            assert np.array_equal(cores[tier], reference[tier]) == (t > last_tick), (frame, t)


@pytest.mark.parametrize("frames", [[3], [8, 4, 2], [6, 2]])
@pytest.mark.slow
def test_any_number_of_tiers_and_any_ratio_keep_the_contract(frames):
    keras.utils.set_random_seed(1)
    made = model_contract.shaken(storage.build("samplernn", frames=frames, **SMALL))
    assert made.hop == frames[0]
    model_contract.check_that_both_forms_are_one_network(made, 2, time=50)
    model_contract.check_that_chunks_have_the_logits_of_the_whole(made)


@pytest.mark.slow
def test_with_linear_prediction_it_keeps_the_contract_and_starts_from_that(sine_codes):
    made = storage.build("samplernn", frames=[4, 2], predictor=True, **SMALL)
    made.head.set_weights([np.zeros([8, 256]), np.zeros(256)])
    logits = made(sine_codes[None, :2000]).numpy()[0, 1000:-1]
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    assert -np.take_along_axis(log_p, sine_codes[1001:2000, None].astype(int), -1).mean() < 3 * np.log(2)
    keras.utils.set_random_seed(1)
    model_contract.shaken(made)
    model_contract.check_that_both_forms_are_one_network(made, 2, time=50)
    model_contract.check_that_chunks_have_the_logits_of_the_whole(made)
    model_contract.check_that_the_last_logits_alone_are_the_last_of_all(made)
    model_contract.check_that_no_logit_depends_on_later_codes(made)


@pytest.mark.parametrize("frames", [[], [16, 3], [4, 16], [4, 4], [16, 4, 1], [16, 0], 16, "16"])
def test_frames_that_do_not_divide_each_other_are_refused(frames):
    with pytest.raises(AudioRNNError, match=r"^train.model: frames(.\d)? is ") as caught:
        storage.build("samplernn", frames=frames, **SMALL)
    assert "\n" not in str(caught.value)


def test_codes_start_near_their_neighbours():
    table = Embedding(32).table.numpy()
    distance = np.linalg.norm(table[:, None] - table[None], axis=-1)
    np.fill_diagonal(distance, np.inf)
    nearest = np.argmin(distance, axis=1)
    assert np.all(np.abs(nearest - np.arange(256)) == 1)
