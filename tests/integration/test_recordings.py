"""Recordings under DVC: an untidy folder, the synthesised default, and experiments that run in copies."""

import json

import numpy as np
import pytest
import soundfile as sf
from dvc.api import DVCFileSystem

from tests.helpers.pipeline_clone import clone

pytestmark = pytest.mark.pipeline


def test_recordings_in_an_untidy_folder_are_found_and_other_files_left_out(tmp_path):
    own = tmp_path / "my recordings"
    (own / "Ünterordner").mkdir(parents=True)
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(44_100) / 44_100)
    for i, name in enumerate(["a b.wav", "Ünterordner/ö.flac", "c.aiff", "d.ogg"]):
        sf.write(own / name, np.stack([tone, (1 - i / 10) * tone], 1), 44_100)
    (own / "notes.txt").write_text("not audio")
    (own / "broken.wav").write_bytes(b"RIFF")
    workspace = clone(tmp_path / "clone", corpus={"path": str(own)})
    workspace.run("dvc", "repro", "encode")
    manifest = json.loads((workspace.root / "data/corpus/manifest.json").read_text())
    assert [r["path"] for r in manifest["recordings"]] == ["a b.wav", "c.aiff", "d.ogg", "Ünterordner/ö.flac"]
    assert {item["path"] for item in manifest["left_out"]} == {"notes.txt", "broken.wav"}
    assert json.loads((workspace.root / "metrics/resample.json").read_text())["seconds"] == pytest.approx(4, abs=0.1)
    # A recording that is added, or changed, is noticed.
    sf.write(own / "e.wav", 0.5 * tone, 44_100)
    workspace.run("dvc", "repro", "corpus")
    manifest = json.loads((workspace.root / "data/corpus/manifest.json").read_text())
    assert "e.wav" in [r["path"] for r in manifest["recordings"]]
    workspace.set(corpus={"path": str(tmp_path / "nowhere")})
    done = workspace.run("dvc", "repro", check=False)
    assert done.returncode != 0
    assert "nowhere" in done.stderr


def test_recordings_dropped_in_the_folder_replace_the_synthesised_ones(tmp_path):
    workspace = clone(tmp_path / "clone")
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(8000) / 8000)
    sf.write(workspace.root / "recordings/mine.wav", tone, 8000)
    workspace.run("dvc", "repro", "resample")
    manifest = json.loads((workspace.root / "data/corpus/manifest.json").read_text())
    assert [r["path"] for r in manifest["recordings"]] == ["mine.wav"]
    # In a temporary copy the untracked recording is not there, but it is found.
    workspace.commit()
    workspace.run("dvc", "exp", "run", "--temp", "-S", "resample.sample_rate=4000", "resample")


def test_experiments_use_the_current_recordings_however_they_are_started(tmp_path):
    workspace = clone(tmp_path / "clone")
    workspace.run("dvc", "repro", "corpus")
    workspace.commit()

    def write(path, hz):
        path.parent.mkdir(parents=True, exist_ok=True)
        sf.write(path, 0.3 * np.sin(2 * np.pi * hz * np.arange(4000) / 8000), 8000)

    def used(name):
        """Paths of the recordings in an experiment's corpus."""
        files = DVCFileSystem(str(workspace.root), rev=name)
        return [r["path"] for r in json.loads(files.read_text("data/corpus/manifest.json"))["recordings"]]

    def experiment(name):
        workspace.run("dvc", "exp", "run", "--temp", "--name", name, "-S", "shard.context=128", "corpus")
        return used(name)

    write(workspace.root / "recordings/a.wav", 300)
    write(workspace.root / "recordings/b.wav", 400)
    assert experiment("two") == ["a.wav", "b.wav"]
    write(tmp_path / "elsewhere/c.wav", 500)
    (workspace.root / "recordings/linked").symlink_to(tmp_path / "elsewhere")
    assert experiment("three") == ["a.wav", "b.wav", "linked/c.wav"], "not what the run cache holds of these parameters"
    write(tmp_path / "elsewhere/c.wav", 600)
    write(tmp_path / "elsewhere/d.wav", 700)
    workspace.run("dvc", "repro", "corpus")
    manifest = json.loads((workspace.root / "data/corpus/manifest.json").read_text())
    assert [r["path"] for r in manifest["recordings"]] == ["a.wav", "b.wav", "linked/c.wav", "linked/d.wav"]
    for path in (workspace.root / "recordings").iterdir():
        if path.name != ".gitkeep":
            path.unlink()
    (workspace.root / "dvc.lock").unlink()
    workspace.run("dvc", "repro", "corpus")
    manifest = json.loads((workspace.root / "data/corpus/manifest.json").read_text())
    assert manifest["root"] == "data/corpus/audio", "the synthetic default, as the folder is empty"
