"""Preparation under DVC: a recording more costs its own work; run cache, checkouts and experiments stay exact."""

import json
import shutil

import pytest
import yaml

from tests.helpers.pipeline_clone import clone
from tests.helpers.preparation import outputs, record

pytestmark = pytest.mark.pipeline


def inodes(workspace):
    """Where the packs of codes are on disk."""
    return {path.name: path.stat().st_ino for path in (workspace.root / "data/encode").glob("*.npy")}


@pytest.fixture
def workspace(tmp_path):
    """A clone with five recordings, up to their codes."""
    workspace = clone(tmp_path / "clone", corpus={"path": "recordings"})
    for i in range(5):
        record(workspace.root / f"recordings/{i}.wav", i, 1)
    workspace.run("dvc", "repro", "encode")
    return workspace


def test_adding_a_recording_changes_one_pack_and_removing_it_restores_all_from_the_run_cache(workspace):
    first, before = outputs(workspace.root), inodes(workspace)
    record(workspace.root / "recordings/new.wav", 100, 1)
    workspace.run("dvc", "repro", "encode")
    after = inodes(workspace)
    assert len([name for name in after if before.get(name) != after[name]]) == 1
    assert json.loads(workspace.run("dvc", "status", "--json", "encode").stdout).keys() <= {"recordings"}
    (workspace.root / "recordings/new.wav").unlink()
    assert "Stage 'encode' is cached - skipping run" in workspace.run("dvc", "repro", "encode").stdout
    assert outputs(workspace.root) == first


@pytest.mark.soak
def test_bytes_are_those_of_a_fresh_start_after_checkouts_and_in_experiments(workspace):
    workspace.commit()
    first = outputs(workspace.root)
    record(workspace.root / "recordings/new.wav", 100, 1)
    workspace.run("dvc", "repro", "encode")
    grown = outputs(workspace.root)
    workspace.run("git", "checkout", "-q", ".")
    workspace.run("dvc", "checkout", "data/corpus", "data/resample", "data/encode")
    assert {k: v for k, v in outputs(workspace.root).items() if k != "data/recordings.json"} == {
        k: v for k, v in first.items() if k != "data/recordings.json"
    }
    shutil.rmtree(workspace.root / ".dvc/cache/runs")
    workspace.run("dvc", "repro", "encode")
    assert outputs(workspace.root) == grown
    workspace.commit()

    record(workspace.root / "recordings/newer.wav", 101, 1)
    workspace.run("dvc", "exp", "run", "--temp", "--name", "grown", "encode")
    (ref,) = workspace.run("git", "for-each-ref", "--format=%(refname)", "refs/exps/*/*/grown").stdout.split()
    in_copy = yaml.safe_load(workspace.run("git", "show", f"{ref}:dvc.lock").stdout)
    shutil.rmtree(workspace.root / ".audiornn/prepared")
    workspace.run("dvc", "repro", "--force", "encode")
    fresh = yaml.safe_load((workspace.root / "dvc.lock").read_text())
    for stage in ("corpus", "resample", "encode"):
        assert in_copy["stages"][stage]["outs"] == fresh["stages"][stage]["outs"]
