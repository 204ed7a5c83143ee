"""An exported folder holds the weights, documented; nothing but an export is replaced by one."""

import json

import numpy as np
import pytest

from audiornn import cli
from audiornn.common.digests import sha256
from audiornn.common.errors import AudioRNNError
from audiornn.common.serialization import read_json
from audiornn.exporting import folder
from audiornn.models import storage
from audiornn.models.base import TrainingWindow
from tests.exporting.conftest import made


def test_the_weights_are_read_by_name_shape_and_offset(model, exported):
    description = read_json(exported / "model.json")
    weights = description["weights"]
    content = (exported / weights["file"]).read_bytes()
    assert (len(content), sha256(exported / weights["file"])) == (weights["bytes"], weights["sha256"])
    read = {
        entry["name"]: np.frombuffer(content, "<f4", int(np.prod(entry["shape"])), entry["offset"]).reshape(
            entry["shape"]
        )
        for entry in weights["tensors"]
    }
    np.testing.assert_array_equal(read["head.kernel"], model.head.kernel)
    np.testing.assert_array_equal(read["tier_1.recurrent.kernel"], model.tiers.cores[1].gru.recurrent_kernel)
    assert sum(values.size for values in read.values()) == model.count_params()
    assert all(entry["offset"] % folder.ALIGNMENT == 0 for entry in weights["tensors"])
    assert {path.name for path in exported.iterdir()} == {
        *("model.json", "weights.bin", "player.c", "Makefile", "README.md")
    }


def test_the_command_exports_a_stored_model_and_replaces_an_earlier_export(model, tmp_path, capsys):
    model.window = TrainingWindow(64, 64)
    storage.save(model, tmp_path / "model")
    for _ in range(2):
        cli.main(["export", str(tmp_path / "model"), "--to", str(tmp_path / "out")])
        (tmp_path / "out" / "player").write_bytes(b"compiled")
    assert "make -C" in capsys.readouterr().out
    assert read_json(tmp_path / "out" / "model.json")["model"]["frames"] == [8, 2]


@pytest.mark.parametrize(("name", "sizes"), [("linear", {"units": 8, "dense": 8}), ("samplernn", {"predictor": True})])
def test_other_models_are_refused_with_a_line_that_names_the_one_that_can_be_exported(tmp_path, name, sizes):
    with pytest.raises(AudioRNNError, match=f"the model is {name}.*, but only samplernn without predictor"):
        folder.export(made(name, **{"units": 4, "dense": 4} | sizes), tmp_path / "out")
    assert not any(tmp_path.iterdir())


def _file(path):
    path.write_text("mine")


def _notes(path):
    path.mkdir()
    (path / "notes.txt").write_text("mine")


def _other_description(path):
    path.mkdir()
    (path / "model.json").write_text(json.dumps({"format": "another"}))


def _added_to_an_export(path):
    path.mkdir()
    (path / "model.json").write_text(json.dumps({"format": folder.FORMAT}))
    (path / "song.wav").write_text("mine")


@pytest.mark.parametrize("prepare", [_file, _notes, _other_description, _added_to_an_export])
def test_only_an_export_is_ever_overwritten(model, tmp_path, prepare):
    prepare(tmp_path / "out")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(AudioRNNError, match=r"out: .*: name (a new folder|one that is new)"):
        folder.export(model, tmp_path / "out")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_the_current_folder_is_not_replaced(model, tmp_path, monkeypatch):
    folder.export(model, tmp_path / "out")
    monkeypatch.chdir(tmp_path / "out")
    with pytest.raises(AudioRNNError, match="out: is the current folder: name another one"):
        folder.export(model, ".")


def test_a_failed_export_keeps_the_earlier_one(model, tmp_path, monkeypatch):
    folder.export(model, tmp_path / "out")
    before = sha256(tmp_path / "out" / "model.json")
    monkeypatch.setattr(folder, "write_json", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        folder.export(model, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert sha256(tmp_path / "out" / "model.json") == before
