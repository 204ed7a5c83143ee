"""The `audiornn` command: help, and what it says where there are no results yet."""

import socket

import pytest

from audiornn import cli


def test_without_a_command_the_help_is_printed(capsys):
    cli.main([])
    assert "usage: audiornn" in (told := capsys.readouterr().out)
    assert all(command in told for command in ("generate", "diagnose", "experiment", "summary", "ui"))


@pytest.mark.parametrize("command", [["generate"], ["summary"], ["diagnose", "generated/01-temperature-1.wav"]])
def test_without_results_the_error_names_dvc_repro(command, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        cli.main(command)
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert "run dvc repro" in error
    assert not list(tmp_path.iterdir())


def test_a_model_missing_from_the_store_is_a_one_line_error_that_names_dvc_repro(
    capsys, tmp_path, monkeypatch, empty_store
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        cli.main(["generate", "--model", "models:/audiornn@champion"])
    error = capsys.readouterr().err
    assert error.startswith("error: models:/audiornn@champion: no model found") and error.endswith(
        "dvc repro trains one\n"
    )


@pytest.mark.parametrize("command", ["ui", "play"])
@pytest.mark.parametrize("text", ["65536", "-1", "http", "1e3", ""])
def test_a_port_that_cannot_be_is_refused(capsys, command, text):
    with pytest.raises(SystemExit, match="2"):
        cli.main([command, "--port", text])
    assert "must be a number of a port, 0 to 65535" in capsys.readouterr().err


def test_the_ui_reports_that_its_port_is_in_use(capsys, tmp_path, monkeypatch, empty_store):
    monkeypatch.chdir(tmp_path)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        with pytest.raises(SystemExit) as stopped:
            cli.main(["ui", "--port", port])
    assert stopped.value.code == 2
    assert capsys.readouterr().err == f"error: 127.0.0.1:{port}: Address already in use: choose another --port\n"
