"""A pipeline whose training starts from another model."""

import csv
import json
import shutil

import pytest
import yaml

from audiornn.common.digests import sha256
from audiornn.common.serialization import read_json

pytestmark = pytest.mark.pipeline


def test_a_run_continues_from_its_ancestor_and_trains_again_if_the_ancestor_changes(finished):
    workspace, _ = finished
    before, root = len(workspace.store()[1]), workspace.root
    train = yaml.safe_load((root / "params.yaml").read_text())["train"]
    shutil.copytree(root / "models", root / "ancestor")
    workspace.set(train={"start_from": "ancestor", "steps": 25, "validate_every_steps": 10})
    workspace.run("dvc", "repro", "train")
    client, runs = workspace.store()
    assert len(runs) == before + 1
    tags, run_id, config = runs[-1].data.tags, runs[-1].info.run_id, read_json(root / "ancestor/config.json")
    assert tags["ancestor.source"] == "ancestor"
    assert tags["ancestor.run"] == read_json(root / "ancestor/mlflow.json")["run_id"]
    assert tags["ancestor.weights_sha256"] == sha256(root / "ancestor/model.weights.h5")
    own = read_json(root / "metrics/train.json")["steps"]
    with open(root / "metrics/history.csv", encoding="utf-8") as file:
        steps = [int(row["step"]) for row in csv.DictReader(file)]
    assert steps[-1] == own == 25 and len(steps) > 1
    for name, wanted in {"loss/validation": steps, "loss/training": [20], "step.gradient_norm": [20]}.items():
        points = [point.step for point in client.get_metric_history(run_id, name)]
        assert points == [config["trained_steps"] + step for step in wanted], name
    assert read_json(root / "models/config.json")["trained_steps"] - config["trained_steps"] in steps

    shutil.rmtree(root / "ancestor")
    shutil.copytree(root / "models", root / "ancestor")
    workspace.run("dvc", "repro", "ancestor")
    status = json.loads(workspace.run("dvc", "status", "--json", "train").stdout)
    assert status["train"] == [{"changed deps": {"data/ancestor.json": "modified"}}]

    shutil.rmtree(root / "ancestor")
    workspace.set(train=train)
    workspace.run("dvc", "repro")
