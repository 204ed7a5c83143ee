"""`audiornn generate` with a model that the pipeline trained."""

import json
import subprocess
import sys

import numpy as np
import pytest
import soundfile as sf

from audiornn import cli

pytestmark = pytest.mark.pipeline


@pytest.fixture
def audiornn(finished, own_environment, monkeypatch, capsys):
    """Run a command in the workspace, in this process, and get what it prints."""
    workspace, _ = finished
    monkeypatch.chdir(workspace.root)

    def run(*arguments):
        cli.main([*arguments])
        return capsys.readouterr().out

    return run


@pytest.fixture(scope="module")
def prompt(tmp_path_factory):
    path = tmp_path_factory.mktemp("prompt") / "a prompt.flac"
    time = np.arange(44_100) / 44_100
    wave = np.where(time < 0.5, 0, 0.4 * np.sin(2 * np.pi * 300 * time))  # silent at first
    sf.write(path, np.stack([wave, 0.5 * wave], 1), 44_100)
    return str(path)


def test_clips_are_written_and_described(audiornn, tmp_path, prompt):
    said = audiornn(
        *("generate", "--seconds", "0.3", "--temperature", "0.8,0.7:1.1", "--count", "2", "--prompt", prompt),
        *("--prompt-offset", "0.5", "--prompt-seconds", "0.25", "--top-p", "0.9", "--output", str(tmp_path), "--json"),
    )
    told = json.loads(said)
    assert told == json.loads((tmp_path / "clips.json").read_text())
    assert told["samples_per_second"] > 0
    assert [clip["temperature"] for clip in told["clips"]] == [0.8, 0.8, [0.7, 1.1], [0.7, 1.1]]
    for clip in told["clips"]:
        wave, rate = sf.read(clip["file"])
        assert (rate, len(wave)) == (8000, 2400)
        assert 0 < np.abs(wave).max() <= 0.981
        assert clip["seconds"] == pytest.approx(0.3)


def test_generate_accepts_an_mlflow_run(finished, audiornn, tmp_path):
    workspace, _ = finished
    run_id = json.loads((workspace.root / "models/mlflow.json").read_text())["run_id"]
    champion = ("--model", "models:/audiornn@champion")
    for source, place in ((("--run", run_id), "a"), ((), "b"), (champion, "c")):
        said = audiornn("generate", *source, *("--seconds", "0.2", "--seed", "3", "--output", str(tmp_path / place)))
        assert "times real time" in said
    name = "01-temperature-1.wav"
    assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert (tmp_path / "c" / name).exists()


def test_a_run_can_be_made_champion_by_hand(finished, audiornn, capsys):
    workspace, _ = finished
    run_id = json.loads((workspace.root / "models/mlflow.json").read_text())["run_id"]
    assert "is the champion: models:/audiornn@champion" in audiornn("promote", run_id)
    assert workspace.store()[0].get_model_version_by_alias("audiornn", "champion").run_id == run_id
    with pytest.raises(SystemExit) as ended:
        audiornn("promote", "0" * 32)
    said = capsys.readouterr().err
    assert (ended.value.code, said.count("\n")) == (2, 1)
    assert said.startswith(f"error: run {'0' * 32}: no model found")


def test_a_raw_stream_ends_when_its_reader_closes_it(finished):
    workspace, _ = finished
    command = [sys.executable, "-m", "audiornn.cli", "generate", "--stream"]
    with subprocess.Popen(command, cwd=workspace.root, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as stream:
        heard = stream.stdout.read(2 * 40_000)  # five seconds
        stream.stdout.close()
        errors = stream.stderr.read()
        assert stream.wait(60) != 0
    wave = np.frombuffer(heard, "<i2") / 32768
    assert len(wave) == 40_000
    assert 0 < np.abs(wave).max() < 0.99
    assert b"Traceback" not in errors


def test_a_stream_with_an_end_is_a_wav_of_that_length(finished, tmp_path):
    workspace, _ = finished
    command = [sys.executable, "-m", "audiornn.cli", "generate", "--stream", "--format", "wav", "--seconds", "0.5"]
    done = subprocess.run(command, cwd=workspace.root, capture_output=True, check=True)
    (tmp_path / "s.wav").write_bytes(done.stdout)
    assert len(done.stdout) == 44 + 2 * 4000
    wave, rate = sf.read(tmp_path / "s.wav")
    assert (rate, len(wave)) == (8000, 4000)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--prompt", "nowhere.wav"), "nowhere.wav: no such file"),
        (("--prompt", "PROMPT"), "silent from 0 s for 0.5 s"),
        (("--prompt", "PROMPT", "--prompt-offset", "9"), "the prompt should start at 9 s"),
        (("--prompt", "PROMPT", "--prompt-seconds", "5"), "has 1.00 s, but the prompt should be 5 s"),
        (("--temperature", "hot"), "command line: temperature is ['hot'], but must be a number from 0 to 10"),
        (("--model", "nowhere"), "nowhere: no model there (config.json is missing): run dvc repro first"),
        (("--run", "0" * 32), "no model found"),
        (("--engine", "cuda"), "command line: engine is 'cuda', but must be"),
        (("--run", ""), "no model found"),
        (("--prompt", ""), "--prompt is '', but must be an audio file"),
        (("--stream", "--count", "2"), "--stream writes a single clip"),
        (("--stream",), "--stream writes to stdout: it goes neither with --output nor with --json"),
        (("--stream", "--temperature", "0.7:1.1"), "--stream without --seconds has no end"),
        (("--format", "wav"), "--format wav goes with --stream"),
    ],
)
def test_errors_are_one_line_with_exit_code_2(audiornn, tmp_path, capsys, prompt, arguments, said):
    given = [prompt if argument == "PROMPT" else argument for argument in arguments]
    with pytest.raises(SystemExit) as ended:
        audiornn("generate", *given, "--output", str(tmp_path / "out"))
    assert ended.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert said in lines[0]
    assert not (tmp_path / "out").exists()
