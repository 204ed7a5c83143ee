"""A logged model, loaded by MLflow, answers requests with audio; no pickle is in it."""

import base64
import io

import mlflow
import numpy as np
import pandas as pd
import pytest
import soundfile as sf

import audiornn
from audiornn.models import storage
from audiornn.models.base import TrainingWindow
from audiornn.tracking import logged_model, registry, runs, store
from tests.conftest import CODEC


@pytest.fixture
def logged(empty_store, tmp_path, monkeypatch):
    """A small model in a run of the store in the current folder; the id of the run."""
    monkeypatch.chdir(tmp_path)
    model = storage.build("audiornn", dense=4, units=4, layers=1)
    model.codec, model.window = CODEC, TrainingWindow(8, 8)
    storage.save(model, "models")
    with runs.pipeline_run(tmp_path, {}, {}, name="n") as log:
        log.model("models")
        log.metrics({store.CHAMPION_METRIC: 5.0})
    registry.promote_if_better(tmp_path, log.run_id)
    return log.run_id


def heard(audio):
    return sf.read(io.BytesIO(base64.b64decode(audio)))


def test_each_row_of_a_request_gives_a_clip(logged, tmp_path):
    served = mlflow.pyfunc.load_model("models:/audiornn@champion")
    tone = np.sin(2 * np.pi * 440 * np.arange(22_050) / 22_050)
    sf.write("tone.flac", 0.4 * tone, 22_050)
    prompt = base64.b64encode((tmp_path / "tone.flac").read_bytes()).decode()
    asked = pd.DataFrame(
        {
            "seconds": [0.1, 0.1, 0.05],
            "temperature": [1.0, None, 0.7],
            "seed": [1, 1, 2],
            "prompt": [None, None, prompt],
        }
    )
    made = served.predict(asked)
    assert made["sample_rate"].tolist() == [8000] * 3
    assert made["seconds"].tolist() == [0.1, 0.1, 0.05]
    assert made["audio"][0] == made["audio"][1], "temperature 1.0 is the default"
    expected = audiornn.generate(
        audiornn.load(logged), 0.05, temperature=0.7, seed=2, prompt="tone.flac", prompt_seconds=0.5
    )
    wave, rate = heard(made["audio"][2])
    assert rate == 8000
    np.testing.assert_allclose(wave, expected[0], atol=1 / 32767)
    model = audiornn.load("models:/audiornn@champion")
    assert all(np.array_equal(a, b) for a, b in zip(model.weights, audiornn.load("models").weights, strict=True))

    for row, said in (
        ({"seconds": 0.1, "temperature": 99.0}, "row 0: temperature is 99.0, but must be from 0"),
        ({"seconds": -1.0}, "row 0: seconds is -1.0"),
        ({"seconds": 0.1, "prompt": "?"}, "row 0: prompt is not base64"),
        ({"seconds": 0.1, "prompt": "AAAA"}, "row 0: prompt: not readable as audio"),
    ):
        with pytest.raises(mlflow.MlflowException, match=said) as error:
            served.predict(pd.DataFrame([row]))
        assert error.value.get_http_status_code() == 400


def test_a_logged_model_is_code_weights_and_a_signature_and_no_pickle(logged):
    place = mlflow.artifacts.download_artifacts(f"runs:/{logged}/{logged_model.MODEL}")
    described = mlflow.models.Model.load(place)
    assert described.signature.inputs.input_names()[:2] == ["seconds", "temperature"]
    assert described.signature.outputs.input_names() == ["sample_rate", "seconds", "audio"]
    assert described.load_input_example()["seconds"].tolist() == [1.0]
    kinds = {path.suffix for path in (runs.Path(place)).rglob("*") if path.is_file()}
    assert kinds <= {"", ".py", ".html", ".json", ".h5", ".yaml", ".txt"}
    for path in runs.Path(place).rglob("*"):
        if path.is_file() and path.suffix not in (".py", ".h5"):
            path.read_text(encoding="utf-8")  # a pickle is none
