"""Stages and commands on damaged files name the file and the command that fixes it, and leave no output."""

import re

import pytest

from audiornn import cli
from stages import common, evaluate, generate, train

pytestmark = pytest.mark.pipeline


def flipped(content):
    """A bit of the middle is another."""
    at = len(content) // 2
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def cut(content):
    return content[: len(content) // 2]


def empty(content):
    return b""


COMMAND = ["generate", "--seconds", "0.1", "--output", "clips"]


CASES = {
    "emptied shards, train": (
        "data/shard/train-*",
        empty,
        train,
        "damaged: has 0 bytes.*; run dvc repro shard",
    ),
    "flipped shards, train": ("data/shard/train-*", flipped, train, "damaged: its SHA-256 is .*; run dvc repro shard"),
    "cut shards, evaluate": (
        "data/shard/val*",
        cut,
        evaluate,
        "damaged: has .* bytes, .*; run dvc repro shard",
    ),
    "flipped codes, evaluate": (
        "data/encode/*.npy",
        flipped,
        evaluate,
        "damaged: its .*; run dvc repro encode",
    ),
    "no losses, evaluate": ("metrics/history.csv", empty, evaluate, "not the losses of a .*; run dvc repro train"),
    "flipped weights, generate": ("models/model.weights.h5", flipped, generate, "damaged: .*, or run dvc repro train"),
    "flipped weights, command": ("models/model.weights.h5", flipped, COMMAND, "damaged: .*, or run dvc repro train"),
}


@pytest.mark.parametrize(("pattern", "damage", "entry", "said"), CASES.values(), ids=CASES)
def test_a_damaged_file_is_named_with_the_command_that_fixes_it_and_nothing_is_written(
    finished, own_environment, monkeypatch, capsys, pattern, damage, entry, said
):
    workspace, _ = finished
    outputs = ("models", "passages", "generated", "metrics", "figures", "clips")
    damaged = {path: path.read_bytes() for path in workspace.root.glob(pattern)}
    assert damaged
    monkeypatch.chdir(workspace.root)
    for module in (train, evaluate, generate):
        monkeypatch.setattr(module, "WORKSPACE", workspace.root)
    try:
        for path, content in damaged.items():
            path.unlink()  # it may be a link of the cache
            path.write_bytes(damage(content))
        before = contents(workspace.root, outputs)
        with pytest.raises(SystemExit) as ended:
            cli.main(entry) if entry is COMMAND else common.run(entry.main)
        assert contents(workspace.root, outputs) == before
    finally:
        for path, content in damaged.items():
            path.write_bytes(content)
    told = capsys.readouterr().err
    assert ended.value.code == 2, told
    error = [line for line in told.splitlines() if line.startswith("error: ")]
    assert len(error) == 1, told
    names = [path.relative_to(workspace.root).as_posix() for path in damaged]
    assert any(error[0].startswith(f"error: {name}: ") for name in names), error
    assert re.search(said, error[0]), error[0]


def contents(root, folders):
    """All files of some folders."""
    files = [path for folder in folders for path in sorted((root / folder).rglob("*")) if path.is_file()]
    return {path: path.read_bytes() for path in files}


def test_the_stage_that_is_named_repairs_shards(finished):
    workspace, _ = finished
    shard = next(workspace.root.glob("data/shard/train-*"))
    content = shard.read_bytes()
    shard.unlink()
    shard.write_bytes(flipped(content))
    workspace.run("dvc", "repro", "shard")
    assert shard.read_bytes() == content
