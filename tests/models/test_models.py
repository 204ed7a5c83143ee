"""Every model keeps the contract: one network, in parallel for training and by steps for generation."""

import json

import numpy as np
import pytest

import audiornn
from audiornn.backend import keras, tf
from audiornn.codec import CodecSettings
from audiornn.common.digests import sha256
from audiornn.common.errors import AudioRNNError
from audiornn.common.serialization import read_json, write_json
from audiornn.models import registry, storage
from audiornn.models.base import TrainingWindow
from audiornn.models.layers import batch_norm
from audiornn.models.layers.gru import GRU
from tests.helpers import model_contract
from tests.helpers.model_contract import SMALL


def small_model(name):
    """A small model whose weights and moving statistics are all away from their start values."""
    keras.utils.set_random_seed(0)
    model = model_contract.shaken(storage.build(name, **SMALL[name]))
    model.codec, model.window = CodecSettings(16000, 0.0, 0.9), TrainingWindow(3, 4)
    return model


@pytest.fixture(scope="module", params=registry.REGISTRY)
def shaken(request):
    return small_model(request.param)


def test_every_model_of_the_registry_is_tested():
    assert list(SMALL) == list(registry.REGISTRY)


@pytest.mark.parametrize("batch", [1, 7])
def test_parallel_and_step_form_are_the_same_network(shaken, batch):
    model_contract.check_that_both_forms_are_one_network(shaken, batch)


@pytest.mark.parametrize("name", registry.REGISTRY)
@pytest.mark.slow
def test_parallel_and_step_form_of_a_trained_model_are_the_same_network(name, sine_codes):
    keras.utils.set_random_seed(0)
    model = model_contract.trained(storage.build(name, **SMALL[name]), sine_codes[: 4 * 200].reshape(4, 200))
    model_contract.check_that_both_forms_are_one_network(model, 2)


def test_a_prompt_in_one_pass_leaves_the_state_of_stepping_through_it(shaken):
    model_contract.check_that_a_prompt_of_any_length_leaves_the_state_of_stepping_through_it(shaken)


def test_a_sequence_in_chunks_has_the_logits_of_the_whole(shaken):
    model_contract.check_that_chunks_have_the_logits_of_the_whole(shaken)


def test_no_logit_depends_on_later_codes(shaken):
    model_contract.check_that_no_logit_depends_on_later_codes(shaken)


def test_asking_for_only_the_last_logits_does_not_change_them(shaken):
    model_contract.check_that_the_last_logits_alone_are_the_last_of_all(shaken)


@pytest.mark.parametrize("name", registry.REGISTRY)
def test_padding_of_a_batch_changes_nothing_in_training(name):
    model_contract.check_that_codes_that_fill_up_a_batch_change_nothing_in_training(lambda: small_model(name))


@pytest.mark.slow
def test_gradients_in_parallel_are_those_of_the_steps(shaken):
    model_contract.check_that_gradients_in_parallel_are_those_of_the_steps(shaken)


@pytest.mark.parametrize("name", registry.REGISTRY)
def test_a_saved_model_is_loaded_unchanged(name, tmp_path):
    model = small_model(name)
    storage.save(model, tmp_path / "model", {"run.json": {"run_id": "x"}})
    assert sorted(p.name for p in (tmp_path / "model").iterdir()) == ["config.json", "model.weights.h5", "run.json"]
    loaded = audiornn.load(tmp_path / "model")
    assert (loaded.name, loaded.sizes) == (name, model.sizes)
    assert (loaded.codec, loaded.window) == (model.codec, model.window)
    codes = model_contract.codes_of(2, 30)
    np.testing.assert_array_equal(loaded(codes).numpy(), model(codes).numpy())


def edit(*place, value=None):
    """What sets an entry of a model's configuration, or removes it; for weights that no digest is known of."""

    def change(folder):
        content = entry = read_json(folder / "config.json")
        del content["weights_sha256"]
        for key in place[:-1]:
            entry = entry[key]
        if value is None:
            del entry[place[-1]]
        else:
            entry[place[-1]] = value
        write_json(folder / "config.json", content)

    return change


def flip_a_bit(folder):
    content = bytearray((folder / "model.weights.h5").read_bytes())
    content[-100] ^= 1
    (folder / "model.weights.h5").write_bytes(content)


def spoil_a_weight(folder):
    """Store a model of an earlier version, which has no digest, with a weight that is not a number."""
    model = storage.load(folder)
    model.weights[0].assign(np.full(model.weights[0].shape, np.nan))
    storage.save(model, folder)
    edit("model", "layers", value=2)(folder)


def test_the_configuration_keeps_its_keys_and_their_order(tmp_path):
    model = small_model("audiornn")
    storage.save(model, tmp_path / "model")
    content = {
        "model": {"name": "audiornn", **model.sizes},
        "codec": {"sample_rate": 16000, "highpass_hz": 0.0, "preemphasis": 0.9, "codes": 256},
        "window": {"context": 3, "targets_per_window": 4},
        "weights_sha256": sha256(tmp_path / "model/model.weights.h5"),
    }
    assert (tmp_path / "model/config.json").read_text() == json.dumps(content, indent=2) + "\n"


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda folder: (folder / "config.json").unlink(), "config.json is missing.: run dvc repro first"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json: not readable as JSON"),
        (lambda folder: (folder / "config.json").write_text("{}"), "no entry 'model'"),
        (lambda folder: (folder / "config.json").write_text('{"model": {"name": "x"}}'), "one of samplernn"),
        (lambda folder: (folder / "config.json").write_text('{"model": 5}'), "no entry 'model'"),
        (
            lambda folder: (folder / "config.json").write_text('{"model": {"name": "audiornn", "unit": 2}}'),
            "config.json: model: unknown key unit",
        ),
        (lambda folder: (folder / "model.weights.h5").unlink(), "model.weights.h5: no such file"),
        (
            flip_a_bit,
            "model.weights.h5: damaged: its SHA-256 is not the one it was written with; copy the folder again",
        ),
        (spoil_a_weight, "model.weights.h5: damaged: .* is not finite; copy the folder again"),
        (
            lambda folder: (
                edit("codec", "codes", value=256)(folder) or (folder / "model.weights.h5").write_bytes(b"no")
            ),
            "model.weights.h5: does not fit",
        ),
        (edit("model", "units", value=21), "model.weights.h5: does not fit"),
        (edit("model", "name", value=["audiornn"]), r"config.json: model: name is \['audiornn'\], but must be one of"),
        (edit("codec"), "config.json: has no entry codec"),
        (edit("codec", "sample_rate", value=10**12), "codec.sample_rate is 1000000000000, but must be less than"),
        (edit("window", "targets_per_window"), "config.json: has no entry window.targets_per_window"),
    ],
)
def test_a_damaged_model_is_named_in_one_line(tmp_path, break_it, said):
    storage.save(small_model("audiornn"), tmp_path / "model")
    break_it(tmp_path / "model")
    with pytest.raises(AudioRNNError, match=said) as caught:
        storage.load(tmp_path / "model")
    assert "\n" not in str(caught.value)


def test_a_model_of_an_earlier_version_without_a_digest_is_loaded(tmp_path):
    model = small_model("audiornn")
    storage.save(model, tmp_path / "model")
    edit("codec", "codes", value=256)(tmp_path / "model")
    assert "weights_sha256" not in read_json(tmp_path / "model/config.json")
    codes = model_contract.codes_of(2, 30)
    np.testing.assert_array_equal(storage.load(tmp_path / "model")(codes).numpy(), model(codes).numpy())


@pytest.mark.parametrize(
    ("name", "sizes", "said"),
    [
        ("wavenet", {}, "train.model: name is 'wavenet', but must be one of samplernn"),
        ("audiornn", {"unit": 3}, "train.model: unknown key unit (value 3); did you mean units?"),
        ("audiornn", {"xyzzy": 3}, "train.model: unknown key xyzzy (value 3); known keys are dense, units, layers"),
        ("audiornn", {"units": 0}, "train.model: units is 0, but must be greater than or equal to 1"),
        ("audiornn", {"units": 2.5}, "train.model: units is 2.5, but must be a valid integer"),
        ("audiornn", {"units": True}, "train.model: units is True, but must be a valid integer"),
        ("audiornn", {"units": "8"}, "train.model: units is '8', but must be a valid integer, not text"),
    ],
)
def test_unknown_models_and_wrong_sizes_are_refused_in_one_line(name, sizes, said):
    with pytest.raises(AudioRNNError) as caught:
        storage.build(name, **sizes)
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)


def test_a_model_knows_its_name_and_all_its_sizes():
    model = storage.build("samplernn", frames=[4, 2], units=8, dense=4)
    rest = {"embedding": 16, "lookback": 16, "predictor": False}
    assert (model.name, model.sizes) == ("samplernn", {"frames": (4, 2), "units": 8, "dense": 4, **rest})


def test_our_gru_matches_the_gru_of_keras():
    gru = GRU(6)
    gru.build(4)
    theirs = keras.layers.GRU(6, return_sequences=True)
    theirs.build([None, None, 4])
    x = np.random.default_rng(0).standard_normal((3, 11, 4)).astype(np.float32)
    kernel, recurrent_kernel, bias, recurrent_bias = (
        0.5 * np.random.default_rng(i).standard_normal(w.shape) for i, w in enumerate(gru.weights)
    )
    gru.set_weights([kernel, recurrent_kernel, bias, recurrent_bias])
    theirs.set_weights([kernel, recurrent_kernel, np.stack([bias, np.r_[np.zeros(12), recurrent_bias]])])
    states = gru.scan(gru.project(np.transpose(x, [1, 0, 2])), tf.zeros([3, 6]))
    np.testing.assert_allclose(np.transpose(states, [1, 0, 2]), theirs(x), atol=1e-5)


def test_our_batch_normalisation_matches_keras_and_weights_act_as_repetitions():
    x = np.random.default_rng(0).standard_normal((50, 4)).astype(np.float32) * 3 + 1
    ours, theirs = batch_norm.BatchNormalization(momentum=0.9), keras.layers.BatchNormalization(momentum=0.9)
    ours.build(4)
    np.testing.assert_allclose(ours(x, training=True), theirs(x, training=True), atol=1e-5)
    np.testing.assert_allclose(ours.moving_mean, theirs.moving_mean, atol=1e-5)
    np.testing.assert_allclose(ours(x), theirs(x), atol=1e-5)
    weight = np.random.default_rng(1).integers(0, 4, 50)
    weighted = ours(x, training=True, weight=weight.astype(np.float32)).numpy()
    repeated = ours(np.repeat(x, weight, axis=0), training=True).numpy()
    np.testing.assert_allclose(np.repeat(weighted, weight, axis=0), repeated, atol=1e-5)
