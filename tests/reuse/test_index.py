"""What is known of recordings is kept from one preparation to the next, as long as it is true."""

import pytest

from audiornn.audio import packs
from audiornn.common.errors import AudioRNNError
from audiornn.reuse import index
from tests.helpers.preparation import FILES, record


def test_after_a_stage_only_its_index_is_left(workspace):
    workspace.prepare()
    left = {path.name for path in (workspace.root / index.FOLDER).iterdir()}
    assert left == {"corpus.json", "resample.json", "resample-files.json", "encode.json", "encode-files.json"}
    assert not list(workspace.root.rglob("*.partial*"))


def test_an_index_stays_bounded(workspace):
    for i in range(2 * index.OTHERS + 2):
        for file in (workspace.root / "recordings").iterdir():
            file.unlink()
        record(workspace.root / "recordings/a.wav", i)
        record(workspace.root / "recordings/b.wav", 100 + i)
        workspace.prepare()
    kept = index.Index(index.FOLDER / "resample.json", packs.ResampledSamples, packs.CODE)
    assert len(kept._known) == 2 * (1 + index.OTHERS)


def test_other_settings_code_or_libraries_make_everything_again(workspace, monkeypatch):
    _, made = workspace.prepare()
    path = workspace.root / "params.yaml"
    text = path.read_text()
    path.write_text(text.replace("highpass_hz: 20", "highpass_hz: 0"))
    assert workspace.prepare()[0] == [0, FILES, FILES]
    path.write_text(text.replace("preemphasis: 0.95", "preemphasis: 0.5"))
    assert workspace.prepare()[0] == [0, FILES, FILES]
    path.write_text(text)
    monkeypatch.setattr(index, "identity", lambda code: "other")
    assert workspace.prepare() == ([FILES, FILES, FILES], made)


@pytest.mark.parametrize("name", ["corpus.json", "resample.json", "encode.json", "encode-files.json"])
def test_a_damaged_index_costs_only_work(name, workspace):
    _, made = workspace.prepare()
    (workspace.root / index.FOLDER / name).write_text('{"a": [1, 2')
    assert workspace.prepare()[1] == made


def test_a_worker_with_other_code_is_refused():
    with pytest.raises(AudioRNNError, match="has other code or other libraries than this machine"):
        index._if_same_code(len, packs.CODE, "another", "job")
