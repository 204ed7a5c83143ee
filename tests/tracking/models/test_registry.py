"""The champion among registered models."""

import mlflow
import pytest

from audiornn.common.errors import AudioRNNError
from audiornn.common.serialization import read_json, write_json
from audiornn.tracking import runs, store
from audiornn.tracking.models import registry
from audiornn.tracking.tags import VALIDATION_DIGEST_TAG

pytestmark = pytest.mark.usefixtures("empty_store")


@pytest.fixture
def run_with_model(tmp_path):
    """A finished run whose model needs the given bits per sample; its id."""
    write_json(tmp_path / "models/config.json", {})

    def make(bits, validated_on="a", ratio=None, flawed=None):
        with runs.pipeline_run(tmp_path, {"a": 1}, {VALIDATION_DIGEST_TAG: validated_on}, name="n") as log:
            log.log_model(tmp_path / "models")
            log.log_metrics({store.CHAMPION_METRIC: bits, store.RATIO_METRIC: ratio, store.FLAWED_METRIC: flawed})
        return log.run_id

    return make


@pytest.mark.slow
def test_the_best_on_the_same_validation_split_is_champion_and_a_person_may_choose_another(tmp_path, run_with_model):
    first, worse, better, other = (run_with_model(*run) for run in ((4.0,), (4.5,), (3.5,), (1.0, "b")))
    assert registry.champion(tmp_path) is None
    assert registry.promote_if_better(tmp_path, first) == "champion: version 1, the first"
    assert registry.promote_if_better(tmp_path, first) == "champion: still version 1, this model"
    assert registry.promote_if_better(tmp_path, worse) == (
        "champion: still version 1, by bits, as no sound was measured: this model has 4.500 bits per sample, sound not "
        "measured; version 1 has 4.000 bits per sample, sound not measured"
    )
    assert "champion: version 2, this model, by bits, " in registry.promote_if_better(tmp_path, better)
    assert registry.champion(tmp_path).run_id == better
    said = registry.promote_if_better(tmp_path, other)
    assert "still version 2, which was validated on other recordings" in said
    assert said.endswith(f"audiornn promote {other}")
    assert registry.promote(tmp_path, other) == "3"
    assert registry.champion(tmp_path).run_id == other
    assert registry.promote(tmp_path, first) == "1", "a model is registered once"
    folder = registry.model_folder(tmp_path, "models:/audiornn@champion")
    assert folder == registry.model_folder(tmp_path, first) == registry.model_folder(tmp_path, "models:/audiornn/1")
    assert read_json(folder / "config.json") == {}


@pytest.mark.slow
def test_a_model_that_predicts_better_but_sounds_worse_does_not_become_champion(tmp_path, run_with_model):
    before = run_with_model(4.0)  # when sound was not measured
    noisy, good, noisier = (run_with_model(*run) for run in ((3.0, "a", 1.4, 1.0), (4.2, "a", 0.8, 0.125), (2.0, "a")))
    registry.promote(tmp_path, before)
    assert "still version 1, by sound" in registry.promote_if_better(tmp_path, noisy)
    assert registry.promote_if_better(tmp_path, good) == (
        "champion: version 2, this model, by sound, which was measured for one model only and is acceptable: this "
        "model has 4.200 bits per sample, distance 0.80 of the limit, 12% of clips with findings; version 1 has 4.000 "
        "bits per sample, sound not measured"
    )
    assert "still version 2, by sound" in registry.promote_if_better(tmp_path, noisy)
    assert "still version 2, by sound" in registry.promote_if_better(tmp_path, noisier), "unknown sound does not do"
    tags = registry.champion(tmp_path).tags
    assert (tags[store.CHAMPION_METRIC], tags[store.RATIO_METRIC], tags[store.FLAWED_METRIC]) == ("4.2", "0.8", "0.125")
    client = mlflow.MlflowClient(store.store(tmp_path))
    client.log_metric(good, store.RATIO_METRIC, 0.9)  # measured again, with other limits of the draws
    assert "still version 2, this model" in registry.promote_if_better(tmp_path, good)
    assert registry.champion(tmp_path).tags[store.RATIO_METRIC] == "0.9"
    assert registry.promote(tmp_path, noisier) == "3", "by hand anything can be chosen"


def test_the_bits_of_a_model_from_another_run_are_reported(tmp_path, run_with_model):
    run_id = run_with_model(None, "a", 0.5, 0.0)
    assert registry.promote_if_better(tmp_path, run_id, bits=4.0) == "champion: version 1, the first"
    assert registry.champion(tmp_path).tags[store.CHAMPION_METRIC] == "4.0"


def test_only_an_evaluated_run_with_a_model_can_become_champion(tmp_path, run_with_model):
    with runs.pipeline_run(tmp_path, {}, {}, name="n") as log:
        pass
    for run_id, said in (
        ("0" * 32, "no model found"),
        (log.run_id, "the run has no model"),
        (run_with_model(None), "only an evaluated model can become champion"),
    ):
        with pytest.raises(AudioRNNError, match=said) as error:
            registry.promote(tmp_path, run_id)
        assert run_id in str(error.value)
    for source in ("models:/audiornn@champion", "models:/nobody/1", log.run_id):
        with pytest.raises(AudioRNNError, match="no model found") as error:
            registry.model_folder(tmp_path, source)
        assert source in str(error.value)
        assert "\n" not in str(error.value)
