"""The server of `audiornn play`, heard without a browser."""

import base64
import io
import json
import os
import signal
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import soundfile as sf
import websocket

from audiornn import cli
from audiornn.generation.prompts import file_prompt
from audiornn.playing import server
from audiornn.playing.service import Service
from audiornn.playing.takes import read_settings
from tests.helpers.playing import Ear, save_model
from tests.helpers.servers import free_port, serving
from tests.playing.conftest import Folders, served


@pytest.fixture
def ear(address):
    with Ear(address) as connected:
        connected.answer("stream")
        yield connected


def ids(address):
    """Ids of the models by title."""
    with urllib.request.urlopen(f"{address}/models", timeout=60) as answer:
        return {model["title"]: model["id"] for model in json.load(answer)}


def request(url, content=None, **headers):
    """Status and body of a page; `content` is posted."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, content, headers), timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def download(ear, key, form="wav", name="mine"):
    status, content = request(f"{ear.address}/takes/{key}.{form}?name={urllib.parse.quote(name)}")
    assert status == 200
    return content


def is_part(part, whole):
    return part.tobytes() in whole.tobytes()


@pytest.mark.slow
def test_generation_is_at_most_200_ms_ahead_of_playback(ear):
    for _ in range(20):
        ear.next(0.1)
    assert 0.15 * 8000 < ear.received <= 0.2 * 8000
    ear.hear(1.0)
    assert ear.received - ear.played <= 0.2 * 8000
    assert ear.played > 0.5 * 8000


def test_controls_take_effect_within_250_ms_and_not_on_earlier_sound(ear):
    ear.hear(0.5)
    heard = ear.played
    ear.ask(controls={"temperature": 0.0, "level_db": -6})
    changed = ear.hear_until("changed")["changed"]
    assert 0 <= changed - heard <= 0.25 * 8000
    ear.hear(0.3)
    ear.ask(keep=True)
    settings = json.loads(download(ear, ear.answer("take")["take"], "json"))
    (change,) = (change for change in settings["changes"] if change["at"])
    assert change["at"] == changed
    assert change["controls"]["temperature"] == 0
    assert change["controls"]["level_db"] == -6


@pytest.mark.parametrize("form", ["wav", "flac"])
@pytest.mark.slow
def test_a_recording_is_what_was_heard_and_the_command_line_makes_the_same_file(
    ear, workspace, tmp_path, monkeypatch, capsys, form
):
    ear.hear(0.3)
    ear.ask(seed=7, start="silence")
    ear.hear(0.3)
    ear.ask(record=True)
    ear.hear(0.3)
    ear.ask(controls={"temperature": 0.8, "top_k": 30})
    ear.hear(0.3)
    ear.ask(seed=8)
    ear.hear(0.3)
    ear.ask(model=ids(ear.address)["other"])
    ear.hear_until("model")
    ear.hear(0.5)
    ear.ask(record=False)
    take = ear.answer("take")
    assert take["seconds"] > 0.8
    content = download(ear, take["take"], form, "a name")
    pcm, rate = sf.read(io.BytesIO(content), dtype="int16")
    assert (rate, len(pcm)) == (8000, round(8000 * take["seconds"]))
    assert is_part(pcm, ear.pcm)
    path = tmp_path / f"take.{form}"
    path.write_bytes(content)
    settings = read_settings(path)
    assert settings.name == "a name"
    assert sorted(settings.models.values()) == ["models", "other"]
    monkeypatch.chdir(workspace)
    cli.main(["play", "--render", str(path), "--output", str(tmp_path / f"again.{form}")])
    assert (tmp_path / f"again.{form}").read_bytes() == content
    assert "again" in capsys.readouterr().out


def test_sound_can_be_saved_after_it_was_heard(ear):
    ear.ask(keep=True)
    assert "nothing has been heard yet" in ear.answer("error")["error"]
    ear.hear(0.8)
    ear.ask(keep=True)
    take = ear.answer("take")
    pcm, _ = sf.read(io.BytesIO(download(ear, take["take"])), dtype="int16")
    np.testing.assert_array_equal(pcm, ear.pcm[: ear.played])


def test_a_file_is_continued(ear, tmp_path, loaded):
    wave = 0.5 * np.sin(2 * np.pi * 440 * np.arange(22_050) / 22_050)
    path = tmp_path / "sine.wav"
    sf.write(path, wave, 22_050)
    long = io.BytesIO()
    sf.write(long, np.zeros(601 * 8000, np.int16), 8000, format="WAV", subtype="PCM_U8")
    ear.hear(0.3)
    url = f"{ear.address}/prompt/{ear.news[0]['token']}?offset=0.2&seconds=0.3"
    assert request(url, path.read_bytes(), Origin=ear.address) == (200, b"{}")
    ear.hear(0.5)
    ear.ask(keep=True)
    settings = json.loads(download(ear, ear.answer("take")["take"], "json"))
    (beginning,) = (change["beginning"] for change in settings["changes"] if change["at"])
    expected = file_prompt(path, 0.3, loaded["models"].codec, 0.2)
    np.testing.assert_array_equal(np.frombuffer(base64.b64decode(beginning["prompt"]), np.uint8), expected)
    for content, query, said in (
        (b"not audio" * 20, "", "the file: not readable as audio: it is text"),
        (path.read_bytes(), "?seconds=3", "the file: has 1.00 s, but the prompt should be 3 s long"),
        (path.read_bytes(), "?seconds=30", "prompt: seconds is '30'"),
        (path.read_bytes(), "?offset=1e308", "prompt: offset is '1e308'"),
        (long.getvalue(), "", "the file: is longer than 600 s"),
        (bytes(33 << 20), "", "the file is too large: a prompt may have 32 MB"),
    ):
        status, body = request(url.partition("?")[0] + query, content, Origin=ear.address)
        assert status == 400
        assert said in json.loads(body)["error"]
    assert request(f"{ear.address}/prompt/nobody", b"x", Origin=ear.address)[0] == 400


def test_a_prompt_from_the_test_split_needs_the_data(ear):
    ear.ask(seed=1, start="test")
    assert "data/encode/manifest.json: no such file" in ear.answer("error")["error"]


def test_a_model_of_another_rate_begins_another_stream(ear):
    ear.hear(0.3)
    ear.ask(record=True)
    ear.hear(0.3)
    ear.ask(model=ids(ear.address)["wide"])
    assert ear.hear_until("take")["seconds"] > 0.2  # the recording ends with its stream
    if ear.rate == 8000:
        ear.answer("stream")
    assert (ear.stream, ear.rate) == (2, 16_000)
    ear.hear(0.5)
    assert ear.played > 0.3 * 16_000


@pytest.mark.slow
def test_a_blind_comparison_hides_the_models_until_the_vote(ear):
    known = ids(ear.address)
    before = len(ear.news)
    ear.ask(compare=[known["models/, the last training"], known["other"]])
    assert ear.hear_until("letter")["letter"] == "X"
    ear.hear(0.3)  # a take names the models that were heard
    ear.ask(choose="Y")
    assert ear.hear_until("letter")["letter"] == "Y"
    ear.hear(0.4)
    ear.ask(keep=True)
    ear.hear(0.3)
    said = json.dumps(ear.news[before:])
    assert not any(key in said for key in known.values())
    assert '"take"' not in said
    ear.ask(vote="Y")
    revealed = ear.answer("revealed")
    assert set(revealed["revealed"].values()) == {known["models/, the last training"], known["other"]}
    assert revealed["vote"] == "Y"
    settings = json.loads(download(ear, ear.answer("take")["take"], "json"))
    assert set(settings["models"].values()) == {"models", "other"}
    ear.ask(compare=[known["other"], known["wide"]])
    assert "same sample rate" in ear.answer("error")["error"]


def test_a_blind_comparison_of_models_of_another_sample_rate_hides_them_too(ear):
    known = ids(ear.address)
    before = len(ear.news)
    ear.ask(compare=[known["wide"], known["wide"]])
    assert ear.hear_until("letter")["letter"] == "X"
    assert ear.rate == 16_000
    ear.hear(0.3)
    assert known["wide"] not in json.dumps(ear.news[before:])
    ear.ask(vote="X")
    assert set(ear.answer("revealed")["revealed"].values()) == {known["wide"]}


def test_a_vote_waits_for_the_switches_before_it(ear):
    known = ids(ear.address)
    ear.ask(compare=[known["models/, the last training"], known["other"]])
    ear.hear_until("letter")
    before = len(ear.news)
    for message in ({"choose": "Y"}, {"vote": "Y"}, {"choose": "X"}):
        ear.ask(**message)
    ear.answer("revealed")
    ear.hear(0.3)
    said = [kind for news in ear.news[before:] for kind in ("letter", "revealed") if kind in news]
    assert said == ["letter", "revealed"], "and none after it"


def test_a_recording_of_nothing_does_not_hinder_a_switch(ear):
    ear.ask(record=True)
    ear.ask(model=ids(ear.address)["wide"])
    while ear.stream != 2:
        ear.answer("stream")
    assert ear.rate == 16_000


def test_each_listener_has_a_separate_stream(ear):
    with Ear(ear.address) as second:
        second.answer("stream")
        second.ask(seed=99)
        for _ in range(8):
            ear.hear(0.1)
            second.hear(0.1)
        n = min(ear.received, second.received)
        assert n > 2000
        assert not np.array_equal(ear.pcm[1500:n], second.pcm[1500:n])


def test_one_listener_too_many_is_refused(workspace, loaded):
    with served(Service(Folders(workspace), share=0)) as url, Ear(url) as first:
        first.answer("stream")
        with Ear(url) as second:
            assert "busy with 1 other listener" in second.answer("closed")["closed"]
        first.hear(0.3)
        assert first.played > 0


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("{", "message: not JSON"),
        ('{"volume": 1}', "message: unknown key volume"),
        ('{"controls": {"temperature": 11}}', "message: controls.temperature is 11"),
        ('{"controls": {"temperature": NaN}}', "message: controls.temperature is nan"),
        ('{"model": "../../etc"}', "model is '../../etc', but must be an id of the list of models"),
        ('{"seed": -1}', "message: seed is -1"),
        ("[" * 16_000, "message: not JSON"),
        (b"\0\1", "message: not JSON"),
    ],
)
def test_invalid_requests_are_answered_and_change_nothing(ear, message, said):
    ear.send(message)
    assert said in ear.answer("error")["error"]


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({}, True),
        ({"Origin": "OWN"}, True),
        ({"Host": "localhost:8420"}, True),
        ({"Host": "[::1]:8420"}, True),
        ({"Host": "evil.example"}, False),
        ({"Host": "127.0.0.1.evil.example"}, False),
        ({"Host": "[::1"}, False),
        ({"Origin": "http://evil.example"}, False),
        ({"Origin": "null"}, False),
        ({"Sec-Fetch-Site": "cross-site"}, False),
    ],
)
def test_pages_of_other_web_sites_get_nothing(address, headers, allowed):
    headers = {key: value.replace("OWN", address) for key, value in headers.items()}
    assert (request(f"{address}/models", **headers)[0] == 200) == allowed


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", None])
def test_other_web_sites_can_neither_listen_nor_upload(address, origin):
    with pytest.raises(websocket.WebSocketBadStatusException, match="403"):
        Ear(address, origin=origin, suppress_origin=origin is None)
    with pytest.raises(websocket.WebSocketBadStatusException, match="403"):
        Ear(address, host="evil.example", origin="http://evil.example")
    headers = {} if origin is None else {"Origin": origin}
    assert request(f"{address}/prompt/x", b"x", **headers)[0] == 403
    assert request(f"{address}/takes/x/log", b"", **headers)[0] == 403


def test_pages_forbid_framing_and_load_nothing_from_other_sites(address):
    with urllib.request.urlopen(f"{address}/", timeout=60) as answer:
        policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    for path in ("../server.py", "%2e%2e/server.py", "takes/nothing.wav", "models/x"):
        assert request(f"{address}/{path}")[0] in (400, 404)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [([], "models: no model, and none in MLflow"), (["nowhere"], "nowhere/config.json: no such file")],
)
def test_without_a_model_the_command_says_what_to_do(tmp_path, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        cli.main(["play", *arguments, "--no-browser", "--port", "0"])
    assert said in capsys.readouterr().err


def test_a_port_in_use_is_named(address, workspace, monkeypatch, capsys):
    monkeypatch.chdir(workspace)
    port = address.rpartition(":")[2]
    with pytest.raises(SystemExit, match="2"):
        cli.main(["play", "--no-browser", "--port", port])
    assert f"127.0.0.1:{port}: cannot be listened on: Address already in use" in capsys.readouterr().err


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_an_address_that_others_can_reach_gives_a_warning(workspace, monkeypatch, capsys, host):
    monkeypatch.chdir(workspace)
    monkeypatch.setattr(server, "web_server", lambda app: SimpleNamespace(run=lambda sockets: None))
    cli.main(["play", "--no-browser", "--port", "0", "--host", host])
    out, err = capsys.readouterr()
    assert f"Play: http://{host}:" in out
    assert ("warning: everyone who reaches 0.0.0.0 can listen" in err) == (host == "0.0.0.0")


@pytest.mark.soak
@pytest.mark.parametrize("rate", [8000, 16_000])
def test_a_soak_on_one_core_has_no_under_run_and_memory_stays_flat(tmp_path, rate):
    """For AUDIORNN_SOAK_SECONDS a model of the default sizes; by default a tiny one for five seconds."""
    seconds = float(os.environ.get("AUDIORNN_SOAK_SECONDS", 0))
    save_model(tmp_path / "models", rate=rate, **({"sizes": {"name": "samplernn"}} if seconds else {}))
    port = free_port()
    command = [sys.executable, "-m", "audiornn.cli", "play", "--no-browser", "--port", str(port)]
    core = min(os.sched_getaffinity(0))
    log = tmp_path / "log.txt"
    with serving(log, command, port, "models", cwd=tmp_path, preexec_fn=lambda: os.sched_setaffinity(0, {core})) as url:
        (process,) = (child for child in psutil.Process().children() if str(port) in child.cmdline())
        with Ear(url) as ear:
            ear.answer("stream")
            ear.hear(2)
            before, ear.underruns = process.memory_info().rss, 0
            begin = time.monotonic()
            for _ in range(round((seconds or 5) / 5)):
                ear.hear(5)
                del ear.blocks[:-1], ear.bits[:-1], ear.news[:-1]
            took, grown = time.monotonic() - begin, process.memory_info().rss - before
        print(f"{rate} Hz: took {took:.1f} s, {ear.underruns} under-runs, {ear.news[-1:]}, {grown / 1e6:+.1f} MB")
        process.send_signal(signal.SIGINT)
        assert process.wait(20) in (0, 130)
    assert grown < 30e6
    if seconds:  # other tests may take the core meanwhile
        assert ear.underruns == 0
        assert took < 1.01 * seconds
    assert "Traceback" not in log.read_text()
