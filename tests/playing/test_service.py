"""What listeners share."""

from pathlib import Path

import mlflow
import numpy as np
import pytest
import soundfile as sf

from audiornn.common.errors import AudioRNNError
from audiornn.common.serialization import write_json
from audiornn.playing.choices import Choices, model_digest
from audiornn.playing.live import Beginning, Change, Controls
from audiornn.playing.service import MOST_TAKES, Service
from audiornn.playing.takes import Take, TakeSettings, read_settings
from audiornn.tracking import runs
from tests.conftest import write_encoded
from tests.helpers.playing import save_model


def make_take(digest):
    change = Change(beginning=Beginning(), model=digest, controls=Controls())
    settings = TakeSettings(sample_rate=8000, start=0, stop=500, models={digest: "models"}, changes=[change])
    return Take(np.arange(500, dtype=np.int16), settings)


@pytest.mark.slow
def test_a_take_is_logged_to_the_run_of_its_model(tmp_path, empty_store):
    save_model(tmp_path / "models")
    service, digest = Service(Choices(tmp_path)), model_digest(tmp_path / "models")
    key = service.keep(make_take(digest))
    with pytest.raises(AudioRNNError, match="mlflow.json: no such file: which run trained the model is not known"):
        service.log(key, "rain")
    with runs.pipeline_run(tmp_path, {}, {}, name="n") as log:
        write_json(tmp_path / "models" / runs.RUN_FILE, {"run_id": log.run_id})
    assert service.log(key, "rain / wind") == log.run_id
    folder = Path(mlflow.artifacts.download_artifacts(run_id=log.run_id, artifact_path="played"))
    (wav,) = folder.glob("*/rain-wind.wav")
    np.testing.assert_array_equal(sf.read(wav, dtype="int16")[0], np.arange(500))
    assert read_settings(wav) == read_settings(wav.with_suffix(".json"))
    assert read_settings(wav).name == "rain / wind"
    save_model(tmp_path / "models", seed=1)  # another training
    with pytest.raises(AudioRNNError, match="models: is another model now than the one of the take"):
        service.log(key, "rain")


def test_the_last_takes_are_kept_under_ids_that_cannot_be_guessed(tmp_path):
    service = Service(Choices(tmp_path))
    keys = [service.keep(make_take("d")) for _ in range(MOST_TAKES + 1)]
    assert len(set(keys)) == len(keys)
    assert min(map(len, keys)) >= 20
    assert service.take(keys[-1]).settings.stop == 500
    with pytest.raises(AudioRNNError, match=f"not in memory any more, which holds the last {MOST_TAKES}"):
        service.take(keys[0])


def test_a_prompt_from_the_test_split_is_an_excerpt_of_it(tmp_path, make_shards, sine_codes):
    (tmp_path / "data").mkdir()
    manifest = make_shards({"a": sine_codes}, 10, 40, name="data/shard")
    write_encoded(tmp_path / "data/encode", {"a": sine_codes})
    service = Service(Choices(tmp_path))
    prompt = service.test_prompt(manifest.codec, 0.5)
    assert len(prompt) == 4000
    assert prompt.tobytes() in sine_codes.tobytes()
    with pytest.raises(AudioRNNError, match="data/encode: has the codec .*, but the model has"):
        service.test_prompt(type(manifest.codec)(16_000, 20.0, 0.95), 0.5)
