"""Several devices, or several machines, that train together are as one with the same batch."""

import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from audiornn.common.errors import AudioRNNError
from audiornn.dataset.manifest import Shard, SplitManifest, read_manifest
from audiornn.params import Train
from audiornn.training import trainer
from audiornn.training.devices import distribution
from tests.conftest import write_shards
from tests.helpers import training_worker

ROOT = Path(__file__).parents[3]
# With batch normalisation, whose statistics must be those of all devices; pieces, crops, averages, accumulation.
PARAMS = {
    "model": {"name": "audiornn", "dense": 8, "units": 8, "layers": 1},
    "batch_size": 4,
    "chunk": 40,
    "crop_targets": 90,
    "accumulation_steps": 2,
    "ema": 0.9,
    "clip_norm": 0.5,
    "epochs": 2,
    "learning_rate": 0.01,
    "checkpoint_steps": 5,
}
TINY = {**PARAMS, "model": {"name": "tiny"}}  # compiled in no time
LARGE = {**TINY, "chunk": 1000, "crop_targets": 1000, "epochs": 1}


def free_ports(number):
    sockets = [socket.socket() for _ in range(number)]
    for probe in sockets:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in sockets]
    for probe in sockets:
        probe.close()
    return ports


def start(*plans, config=None):
    """A process that trains by one plan after the other."""
    environment = {key: value for key, value in os.environ.items() if key != "TF_CONFIG"}
    if config:
        environment["TF_CONFIG"] = json.dumps(config)
    return subprocess.Popen(
        [sys.executable, "-m", "tests.helpers.training_worker", *map(str, plans)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def cluster_of(workers):
    """The TF_CONFIG of each of several workers on this machine."""
    addresses = {"worker": [f"127.0.0.1:{port}" for port in free_ports(workers)]}
    return [{"cluster": addresses, "task": {"type": "worker", "index": i}} for i in range(workers)]


@dataclass
class Trained:
    """A training in a process of its own; `place` has what it wrote besides."""

    weights: list
    report: dict
    place: Path


@dataclass
class Plans:
    """Plans of trainings, and what becomes of them, below `root`."""

    root: Path

    def add(self, name, folder, params=PARAMS, devices=1, tick=None):
        """A plan: a training in a place of its own, by a clock that advances by `tick` seconds whenever it is read."""
        plan = self.root / f"{name}.json"
        settings = {"folder": str(folder.folder), "place": str(self.place(name)), "params": params}
        plan.write_text(json.dumps(settings | {"devices": devices, "tick": tick}))
        return plan

    def place(self, name):
        return self.root / f"place of {name}"

    def trained(self, name):
        """What a training made whose process has ended."""
        with np.load(self.root / f"{name}.npz") as weights:
            arrays = [weights[key] for key in weights.files]
        return Trained(arrays, json.loads((self.root / f"{name}.report.json").read_text()), self.place(name))


def wait_for(processes):
    """Wait until all processes have ended well."""
    for process in processes:
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output


FILE_POLICY = {
    "whole windows": {"crop_targets": None, "accumulation_steps": 1, "epochs": 3},
    "crops": {"crop_targets": 30, "accumulation_steps": 2, "epochs": 12},
}
WINDOWS = 31  # of 100 targets: batches and windows that are not full


@pytest.fixture(scope="module")
def plans(sine_codes, tmp_path_factory):
    """Plans whose trainings have ended: those of two workers in two processes, as starting one takes longest."""
    plans = Plans(tmp_path_factory.mktemp("plans"))
    codes = {"a": sine_codes[:3050]}
    # The shard of one worker has short windows alone: the other has fewer batches, and more chunks per batch.
    uneven = {"a": sine_codes[:1016], **{f"short {i}": sine_codes[500 * i :][:40] for i in range(20)}}
    alike = write_shards(plans.root / "alike", codes, 16, 100)
    own = write_shards(plans.root / "own", uneven, 16, 100, megabytes=0.0012)
    assert [shard.windows for shard in own.splits["train"].shards] == [12, 18]
    large = write_shards(plans.root / "large", {"a": np.tile(sine_codes, 4)[:50_000]}, 1000, 4000)
    # Checkpoints are always due by the clock of one, never by that of the other, which also runs faster.
    minutes, ticks = (1e-6, 1000.0), (1.0, 2.0)
    timed = {**TINY, "epochs": None, "minutes": 1, "checkpoint_steps": None}
    processes = []
    for i, config in enumerate(cluster_of(2)):
        its = [plans.add(f"worker {i}", alike)]
        its.append(plans.add(f"timed {i}", alike, timed | {"checkpoint_minutes": minutes[i]}, tick=ticks[i]))
        for name, changed in FILE_POLICY.items():
            its.append(plans.add(f"{name} {i}", own, {**TINY, **changed, "shard_policy": "file"}))
        processes.append(start(*its, config=config))
    try:
        wait_for(processes)
        # Strategies with different devices cannot follow each other in a process.
        processes = [
            start(plans.add("mirrored", alike, devices=2)),
            start(plans.add("many devices", large, LARGE, devices=4)),
        ]
        wait_for(processes)
    finally:
        for process in processes:
            process.kill()
    return plans


def test_two_workers_and_two_devices_train_like_one_with_the_same_batch(plans, tmp_path):
    folder = read_manifest(plans.root / "alike")
    assert folder.splits["train"].windows == WINDOWS
    model, result = trainer.train(folder, tmp_path / "one", Train(**PARAMS), progress=False)
    weights, report = model.get_weights(), training_worker.report(result)
    assert report["losses"][-1][1] < report["losses"][0][1] < 8
    found = {name: plans.trained(name) for name in ("worker 0", "worker 1", "mirrored")}
    for name, trained in found.items():
        np.testing.assert_allclose(trained.report["losses"], report["losses"], rtol=2e-4, err_msg=name)
        assert (trained.report["steps"], trained.report["targets"]) == (report["steps"], report["targets"]), name
        for one, other in zip(weights, trained.weights, strict=True):
            np.testing.assert_allclose(other, one, atol=2e-4, err_msg=name)
    chief, worker = found["worker 0"], found["worker 1"]
    for one, other in zip(chief.weights, worker.weights, strict=True):
        np.testing.assert_array_equal(one, other)
    assert chief.report["handed_on"] == [record.step for record in result.history]
    assert worker.report["handed_on"] == []
    assert {path.name for path in chief.place.iterdir()} == {"model", "history.csv", "store"}
    assert not worker.place.exists()


@pytest.mark.usefixtures("tiny")
def test_devices_validate_on_every_window_whatever_their_number(plans, tmp_path):
    folder = read_manifest(plans.root / "large")  # by default 6 windows per batch
    _, result = trainer.train(folder, tmp_path / "one", Train(**LARGE), progress=False)
    losses = training_worker.report(result)["losses"]
    np.testing.assert_allclose(plans.trained("many devices").report["losses"], losses, rtol=2e-4)


def test_workers_with_a_budget_in_minutes_agree_though_their_clocks_differ(plans):
    one, other = plans.trained("timed 0"), plans.trained("timed 1")
    assert one.report["steps"] == other.report["steps"] > 1
    assert one.report["losses"] == other.report["losses"]
    for weights, its_weights in zip(one.weights, other.weights, strict=True):
        np.testing.assert_array_equal(weights, its_weights)
    assert len(list((one.place / "store").glob("*.npz"))) > 1


@pytest.mark.parametrize("name", FILE_POLICY)
def test_workers_that_read_their_own_shards_learn_from_every_target_once_per_epoch(plans, name):
    one, other = plans.trained(f"{name} 0"), plans.trained(f"{name} 1")
    lengths = [100] * 10 + [24] * 20  # targets of the windows
    assert sum(lengths) == read_manifest(plans.root / "own").splits["train"].targets
    crop_targets, epochs = (FILE_POLICY[name][key] for key in ("crop_targets", "epochs"))
    expected = epochs * sum(min(length, crop_targets or 100) for length in lengths)
    assert one.report["targets"] == other.report["targets"] == expected
    assert one.report["steps"] == other.report["steps"]
    assert one.report["losses"] == other.report["losses"]
    assert one.report["losses"][-1][1] < one.report["losses"][0][1] < 8
    for weights, its_weights in zip(one.weights, other.weights, strict=True):
        np.testing.assert_array_equal(weights, its_weights)


def test_no_worker_waits_forever_for_one_that_died(make_shards, tmp_path, sine_codes):
    folder = make_shards({"a": sine_codes[:3050]}, 16, 100)
    params = {**TINY, "epochs": None, "minutes": 10, "patience": None, "checkpoint_steps": 2}
    plans = Plans(tmp_path)
    workers = [start(plans.add(f"worker {i}", folder, params), config=config) for i, config in enumerate(cluster_of(2))]
    try:
        end = time.monotonic() + 120
        while not list((plans.place("worker 0") / "store").glob("*.npz")):
            assert time.monotonic() < end
            time.sleep(0.2)
        workers[1].kill()
        output, _ = workers[0].communicate(timeout=120)
    finally:
        for worker in workers:
            worker.kill()
    assert workers[0].returncode
    assert "the connection to another worker of TF_CONFIG was lost after step" in output
    assert "start all workers again, and training resumes from the last checkpoint" in output


@pytest.mark.parametrize(
    ("policy", "size", "number", "expected"),
    [
        ("data", 9e9, 8, (0, 1)),
        ("file", 1e3, 2, (1, 2)),
        ("auto", 9e9, 8, (1, 2)),
        ("auto", 8e9, 21, (1, 2)),  # 11 windows and 10
        ("auto", 9e9, 19, (0, 1)),  # 10 windows and 9: one waits for the other a tenth of the time
        ("auto", 7.9e9, 8, (0, 1)),
    ],
)
def test_workers_read_their_own_shards_where_the_data_are_large(monkeypatch, policy, size, number, expected):
    shards = [Shard(f"{i}.tfrecord", 1, 1, int(size / number), "0" * 64) for i in range(number)]
    split = SplitManifest(number, number, int(size), shards, [], [0] * 256)
    params = Train(shard_policy=policy)
    for cluster, task in (({"worker": ["a", "b"]}, ("worker", 1)), ({"chief": ["a"], "worker": ["b"]}, ("worker", 0))):
        config = {"cluster": cluster, "task": {"type": task[0], "index": task[1]}}
        monkeypatch.setenv("TF_CONFIG", json.dumps(config))
        assert distribution.own_shards(params, split) == expected
        assert distribution.own_shards(Train(shard_policy=policy, strategy="default"), split) == (0, 1)
    monkeypatch.delenv("TF_CONFIG")
    assert distribution.own_shards(params, split) == (0, 1)


@pytest.mark.parametrize(
    ("config", "writes"),
    [
        (None, True),
        ({}, True),
        ({"cluster": {"worker": ["a", "b"]}, "task": {"type": "worker", "index": 0}}, True),
        ({"cluster": {"worker": ["a", "b"]}, "task": {"type": "worker", "index": 1}}, False),
        ({"cluster": {"chief": ["a"], "worker": ["b"]}, "task": {"type": "chief", "index": 0}}, True),
        ({"cluster": {"chief": ["a"], "worker": ["b"]}, "task": {"type": "worker", "index": 0}}, False),
    ],
)
def test_only_the_chief_of_a_cluster_writes(monkeypatch, config, writes):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if config is not None:
        monkeypatch.setenv("TF_CONFIG", json.dumps(config))
    assert distribution.is_chief() is writes


def test_multiworker_without_a_valid_tf_config_is_an_error(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(AudioRNNError, match="train.strategy is 'multiworker', but TF_CONFIG"):
        distribution.strategy("multiworker")


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("{worker: ", "TF_CONFIG holds '{worker: ', but must be JSON"),
        ('{"cluster": 5}', "but must be JSON with cluster and task"),
        ('{"cluster": {"worker": ["a", "b"]}, "task": "first"}', "but must have a task with type and index"),
        ('{"cluster": {"worker": ["a", "b"]}, "task": {"type": "worker"}}', "but must have a task with type and index"),
    ],
)
def test_an_invalid_description_of_a_cluster_is_reported(monkeypatch, config, said):
    monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(AudioRNNError, match=said):
        distribution.strategy("auto")
