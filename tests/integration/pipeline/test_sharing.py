"""What one has pushed another one pulls, by the commands of the page about sharing."""

import re
import shutil
from pathlib import Path

import pytest

from tests.helpers.pipeline_clone import Workspace

pytestmark = pytest.mark.pipeline
PAGE = Path(__file__).parents[3] / "docs/sharing.md"


def commands(heading, storage):
    """The commands under a heading of the page."""
    section = PAGE.read_text(encoding="utf-8").split(f"## {heading}")[1].split("\n## ")[0]
    block = re.search("```sh\n(.*?)```", section, re.S).group(1)
    return [line.replace("/mnt/shared/audiornn", str(storage)) for line in block.splitlines()]


def test_pulled_results_need_no_rerun(finished, tmp_path):
    source, _ = finished
    storage, origin = tmp_path / "storage", tmp_path / "origin.git"
    giver, taker = Workspace(tmp_path / "giver"), Workspace(tmp_path / "taker")
    # A copy with a store of its own: others need the workspace as it is.
    shutil.copytree(source.root, giver.root, symlinks=True, ignore=shutil.ignore_patterns("mlflow.db*", "mlartifacts"))
    storage.mkdir()
    giver.run("git", "init", "-q", "--bare", str(origin))
    giver.run("git", "remote", "add", "origin", str(origin))
    giver.run("git", "push", "-q", "--set-upstream", "origin", "HEAD")
    giver.set(report={"clips": 1})
    for command in commands("Set it up", storage) + commands("Publish", storage):
        giver.run("sh", "-ec", command)
    giver.root.rename(tmp_path / "out of reach")
    kept = tmp_path / "out of reach"
    taker.root.mkdir()
    taker.run("git", "clone", "-q", str(origin), ".")
    assert not (taker.root / "models").exists()
    output = "".join(taker.run("sh", "-ec", command).stdout for command in commands("Fetch", storage))
    assert set(re.findall(r"Running stage '(\w+)'", output)) == {"recordings", "ancestor"}  # which always run
    for name in ("models/model.weights.h5", "generated/01-temperature-1.wav", "figures/generated.png"):
        assert (taker.root / name).read_bytes() == (kept / name).read_bytes(), name
    assert not (taker.root / "mlflow.db").exists()
