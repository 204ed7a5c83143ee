"""The predictors of lpcmix follow from the sample rate, where they are not given."""

from dataclasses import replace

import pytest

from audiornn.backend import keras
from audiornn.codec import CodecSettings
from audiornn.common.errors import AudioRNNError
from audiornn.common.validation import validate
from audiornn.kernels.predictor import DEFAULT, Predictor
from audiornn.models import storage
from audiornn.models.base import TrainingWindow
from audiornn.models.lpcmix import default_predictors
from audiornn.params import Train
from audiornn.training import trainer
from audiornn.training.ancestor import find
from audiornn.training.start import start_weights

SIZES = {"hidden": 4, "units": 4, "frame": 16, "mixture": 1, "history": 2, "layers": 0}
TRAIN = validate(Train, {"model": {"name": "lpcmix", **SIZES}}, "test")


def test_predictors_at_16_khz_have_twice_the_length_and_interval_of_the_default_at_8_khz():
    assert default_predictors(8000) == [list(p) for p in DEFAULT]
    assert default_predictors(16_000) == [[2 * n for n in p] for p in DEFAULT]


@pytest.mark.parametrize("rate", [1000, 7999, 8001, 11_025, 22_050, 44_100, 48_000, 96_000, 384_000])
def test_predictors_are_valid_at_any_rate_and_last_as_long_as_at_8_khz_up_to_48_khz(rate):
    longest = default_predictors(rate)[3][0]
    assert longest == round(96 * min(max(rate, 8000), 48_000) / 8000)
    Predictor(default_predictors(rate))


def test_given_predictors_are_kept_and_an_empty_list_is_refused():
    assert storage.complete("lpcmix", {"predictors": [[8, 40, 4]]}, sample_rate=16_000)["predictors"] == [[8, 40, 4]]
    with pytest.raises(AudioRNNError, match="train.model: predictors: at least one predictor is needed"):
        storage.build("lpcmix", predictors=[])


@pytest.fixture
def at_16_khz(make_shards, sine_codes):
    """Shards at 16 kHz."""
    manifest = make_shards({"a": sine_codes[:200]}, 4, 12)
    return replace(manifest, codec=replace(manifest.codec, sample_rate=16_000))


def stored(folder, **sizes):
    """A model at 16 kHz that was stored and loaded."""
    model = storage.build("lpcmix", 16_000, **SIZES, **sizes)
    model.codec, model.window = CodecSettings(16_000, 20.0, 0.95), TrainingWindow(4, 12)
    storage.save(model, folder)
    return storage.load(folder)


def test_a_training_builds_the_model_for_the_rate_of_its_shards(at_16_khz, tmp_path, monkeypatch):
    built = []
    monkeypatch.setattr(storage, "build", lambda *arguments, **sizes: built.append((arguments, sizes)) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        trainer.train(at_16_khz, tmp_path / "m", TRAIN, progress=False)
    assert built == [(("lpcmix", 16_000), SIZES)]


def test_a_stored_model_keeps_its_predictors_and_training_at_its_rate_can_continue_from_it(at_16_khz, tmp_path):
    model = stored(tmp_path / "m")
    assert [list(p) for p in model.predictor.predictors] == default_predictors(16_000)
    assert len(start_weights(find(str(tmp_path / "m")), at_16_khz, TRAIN)) == len(model.variables)


def test_a_model_that_was_stored_with_the_predictors_of_8_khz_at_another_rate_keeps_them(tmp_path):
    assert stored(tmp_path / "m", predictors=[list(p) for p in DEFAULT]).predictor.predictors == DEFAULT


def test_weights_at_8_khz_do_not_depend_on_whether_the_default_is_given():
    weights = []
    for given in ({}, {"predictors": [list(p) for p in DEFAULT]}):
        keras.utils.set_random_seed(0)
        weights.append([w.tobytes() for w in storage.build("lpcmix", **SIZES, **given).get_weights()])
    assert weights[0] == weights[1]
