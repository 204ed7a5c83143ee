"""The stage `recordings` identifies what neither Git nor DVC tracks: recordings and the prompt."""

import pytest

from audiornn.common.digests import sha256
from audiornn.common.errors import AudioRNNError
from audiornn.common.serialization import read_json
from audiornn.params import Generate, Params
from stages import common
from stages import recordings as stage


@pytest.fixture
def found(tmp_path, monkeypatch):
    """Run the stage in an experiment's copy of the workspace, which is `tmp_path`; what it says of the prompt."""
    copy = tmp_path / "copy"
    copy.mkdir()
    monkeypatch.chdir(copy)
    for module in (stage, common):
        monkeypatch.setattr(module, "WORKSPACE", tmp_path)

    def run(prompt):
        stage.main(Params(generate=Generate(prompt=prompt)))
        return read_json(copy / "data/prompt.json")

    return run


def test_another_recording_under_the_name_of_the_prompt_is_another_prompt(found, tmp_path):
    path = tmp_path / "prompts/mine.wav"
    path.parent.mkdir()
    path.write_bytes(b"first")
    first = found("prompts/mine.wav")
    assert first == sha256(path)
    path.write_bytes(b"second")
    assert found("prompts/mine.wav") == sha256(path) != first


def test_without_a_file_there_is_nothing_to_identify(found):
    assert found("test") is None
    assert found(None) is None


def test_a_prompt_that_is_missing_is_named_before_anything_is_trained(found):
    with pytest.raises(
        AudioRNNError, match="generate.prompt is 'prompts/none.wav', but must be test, null or an audio"
    ):
        found("prompts/none.wav")
