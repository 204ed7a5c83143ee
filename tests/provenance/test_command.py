"""The command that started a run."""

import sys

import pytest

from audiornn.provenance import command


@pytest.mark.parametrize(
    ("ancestors", "said"),
    [
        ([["sh", "-c", "x"], ["python", "/env/bin/dvc", "repro", "train"], ["bash"]], "dvc repro train"),
        ([["python", "-m", "dvc", "exp", "run", "-S", "a=b c"]], "dvc exp run -S 'a=b c'"),
        ([["python", "-m", "dvc", "exp", "exec-run", "--infofile", "x"], ["python", "worker"]], "dvc queue start"),
        ([["vim", "notes", "about", "dvc"], []], "python -m stages.train"),
    ],
)
def test_the_command_of_a_run_can_be_typed_again(monkeypatch, ancestors, said):
    class Process:
        def __init__(self, words=None):
            self.cmdline = lambda: words

        def parents(self):
            return [Process(words) for words in ancestors]

    monkeypatch.setattr("psutil.Process", Process)
    monkeypatch.setattr(sys, "orig_argv", ["/env/bin/python", "-m", "stages.train"])
    assert command.command() == said
    if said == "python -m stages.train":
        monkeypatch.setattr(sys, "orig_argv", ["/env/bin/python", "/env/bin/audiornn", "experiment", "x"])
        assert command.command() == "audiornn experiment x"
