"""A logged model, loaded by MLflow, answers requests with audio; no pickle is in it."""

import base64
import io
import json
import re
import shlex
import sys
import urllib.error
from concurrent.futures import ThreadPoolExecutor

import mlflow
import numpy as np
import pandas as pd
import psutil
import pytest
import soundfile as sf
from mlflow.pyfunc import scoring_server

import audiornn
from audiornn.models import storage
from audiornn.models.base import TrainingWindow
from audiornn.tracking import runs, store
from audiornn.tracking.models import logged_model, registry
from tests.conftest import CODEC
from tests.helpers.servers import fetch, free_port, serving


@pytest.fixture
def logged(empty_store, tmp_path, monkeypatch):
    """A small model in a run of the store in the current folder; the id of the run."""
    monkeypatch.chdir(tmp_path)
    model = storage.build("audiornn", dense=4, units=4, layers=1)
    model.codec, model.window = CODEC, TrainingWindow(8, 8)
    storage.save(model, "models")
    with runs.pipeline_run(tmp_path, {}, {}, name="n") as log:
        log.log_model("models")
        log.log_metrics({store.CHAMPION_METRIC: 5.0})
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

    with pytest.raises(mlflow.MlflowException, match="row 0: temperature is 99.0, but must be from 0") as error:
        served.predict(pd.DataFrame([{"seconds": 0.1, "temperature": 99.0}]))
    assert error.value.get_http_status_code() == 400


@pytest.fixture
def address(logged, tmp_path):
    """Where the model is served as `mlflow models serve` does, and the server's process."""
    port = free_port()
    folder = mlflow.artifacts.download_artifacts("models:/audiornn@champion")
    command, environment = scoring_server.get_cmd(folder, port, "127.0.0.1", nworkers=1)
    with serving(
        tmp_path / "log.txt", [sys.executable, "-m", *shlex.split(command)], port, env=environment, cwd=tmp_path
    ) as base:
        yield f"{base}/invocations"


def ask(address, request):
    """Status and content of an answer."""
    try:
        return 200, json.loads(fetch(address, json.dumps(request).encode()))
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def wav(rate, samples=9000):
    """A wav file in base64 whose header says any rate."""
    file = io.BytesIO()
    sf.write(file, np.random.default_rng(0).uniform(-0.5, 0.5, samples), rate, format="WAV", subtype="PCM_16")
    return base64.b64encode(file.getvalue()).decode()


def hours_of_silence():
    file = io.BytesIO()
    sf.write(file, np.zeros(3600 * 8000, np.int16), 8000, format="FLAC")
    return base64.b64encode(file.getvalue()).decode()


def test_a_server_answers_bad_requests_with_400_and_one_line_and_fifty_at_once_in_bounded_memory(address):
    tiny = {"seconds": 0.02, "temperature": 0.9}
    for rows, said in (
        ([tiny | {"temprature": 0.5}], "unknown column 'temprature'; did you mean temperature?"),
        ([tiny | {"count": 9}], "unknown column 'count'; known columns are seconds, "),
        ([{"temperature": 0.5}], "row 0: has no seconds"),
        ([], "has 0 rows, but must have 1 to 64"),
        ([tiny] * 65, "has 65 rows, but must have 1 to 64"),
        ([tiny, {"seconds": 1e9}], "seconds is 1e\\+09 in all rows together, but must not exceed 300"),
        ([{"seconds": -1}], "row 0: seconds is -1.0, but must be greater than 0"),
        ([{"seconds": "long"}], "row 0: seconds is 'long', but must be a number"),
        ([{"seconds": [1]}], "row 0: seconds is .*, but must be a number"),
        ([tiny | {"seed": 0.5}], "row 0: seed is 0.5, but must be a whole number"),
        ([tiny | {"seed": 10**400}], "row 0: seed is .*, but must be a whole number"),
        ([tiny | {"prompt": 5}], "row 0: prompt is 5, but must be text"),
        ([tiny | {"prompt": "?"}], "row 0: prompt is not base64"),
        ([tiny | {"prompt": "ä"}], "row 0: prompt is not base64"),
        ([tiny | {"prompt": "AAAA"}], "row 0: prompt: not readable as audio"),
        ([tiny | {"prompt": wav(1)}], "row 0: prompt: not readable as audio: its header says 1 Hz"),
        ([tiny | {"prompt": wav(8000, 800)}], "row 0: prompt: has 0.10 s, but the prompt should be 0.5 s long"),
        ([tiny | {"prompt": "A" * (12 << 20)}], "the prompts have 9,437,184 bytes, but must not exceed 8,388,608"),
        ([tiny | {"prompt": hours_of_silence()}], "row 0: prompt: is longer than 600 s"),
        ([tiny | {"prompt": wav(8000), "prompt_seconds": 1e4}], "row 0: prompt_seconds must not exceed 600"),
    ):
        status, answer = ask(address, {"dataframe_records": rows})
        assert status == 400, said
        assert re.match(said, answer["message"]), answer["message"]
        assert len(answer["message"]) < 400
        assert answer["message"].isprintable()
    status, answer = ask(address, {"inputs": {"seconds": [0.02], "seeed": [1]}})
    assert (status, answer["message"]) == (400, "unknown column 'seeed'; did you mean seed?")
    status, answer = ask(address, {"inputs": 5})
    assert status == 400
    assert answer["message"].startswith("not a table")

    (server,) = (c for c in psutil.Process().children() if "uvicorn" in " ".join(c.cmdline()))
    before = server.memory_info().rss
    asked = [{"dataframe_records": [tiny | {"seed": i, "prompt": wav(8000)}]} for i in range(50)]
    with ThreadPoolExecutor(50) as threads:
        answers = list(threads.map(lambda request: ask(address, request), asked))
    assert [status for status, _ in answers] == [200] * 50
    assert len({answer["predictions"][0]["audio"] for _, answer in answers}) == 50, "each has an answer of its own"
    assert answers[7] == ask(address, asked[7]), "the same as alone"
    assert server.memory_info().rss - before < 100e6


def test_a_logged_model_is_code_weights_and_a_signature_and_no_pickle(logged):
    place = mlflow.artifacts.download_artifacts(f"runs:/{logged}/{logged_model.MODEL}")
    described = mlflow.models.Model.load(place)
    assert described.metadata["request"].keys() == {name for name, _, _ in logged_model.REQUEST}
    assert described.metadata["request"]["seconds"] == "double"
    assert described.signature.outputs.input_names() == ["sample_rate", "seconds", "audio"]
    assert described.load_input_example()["seconds"].tolist() == [1.0]
    kinds = {path.suffix for path in (runs.Path(place)).rglob("*") if path.is_file()}
    assert kinds <= {"", ".py", ".html", ".css", ".js", ".svg", ".c", ".md", ".json", ".h5", ".yaml", ".txt"}
    for path in runs.Path(place).rglob("*"):
        if path.is_file() and path.suffix not in (".py", ".h5"):
            path.read_text(encoding="utf-8")  # a pickle is none
