"""Several devices, or several machines, that train together are as one with the same batch."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from audiornn.common.errors import AudioRNNError
from audiornn.dataset.manifest import Shard, SplitManifest
from audiornn.params import Train
from audiornn.training import trainer
from audiornn.training.devices import distribution
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


def free_ports(number):
    sockets = [socket.socket() for _ in range(number)]
    for probe in sockets:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in sockets]
    for probe in sockets:
        probe.close()
    return ports


def start(tmp_path, name, folder, params=PARAMS, devices=1, config=None, tick=None):
    """A process that trains, in a place of its own, by a clock that advances by `tick` seconds whenever it is read."""
    plan = tmp_path / f"{name}.json"
    settings = {"folder": str(folder.folder), "place": str(tmp_path / f"place of {name}"), "params": params}
    plan.write_text(json.dumps(settings | {"devices": devices, "tick": tick}))
    environment = {key: value for key, value in os.environ.items() if key != "TF_CONFIG"}
    if config:
        environment["TF_CONFIG"] = json.dumps(config)
    return subprocess.Popen(
        [sys.executable, "-m", "tests.helpers.training_worker", str(plan)],
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


def finish(tmp_path, processes):
    """Weights and reports by name, once all processes have ended well."""
    found = {}
    try:
        for name, process in processes.items():
            output, _ = process.communicate(timeout=300)
            assert process.returncode == 0, output
            with np.load(tmp_path / f"{name}.npz") as weights:
                found[name] = (
                    [weights[key] for key in weights.files],
                    json.loads((tmp_path / f"{name}.report.json").read_text()),
                )
    finally:
        for process in processes.values():
            process.kill()
    return found


def test_two_workers_and_two_devices_train_like_one_with_the_same_batch(make_shards, tmp_path, sine_codes):
    folder = make_shards({"a": sine_codes[:3050]}, 16, 100)  # 31 windows: batches and windows that are not full
    names = ("worker 0", "worker 1")
    workers = {
        name: start(tmp_path, name, folder, config=config) for name, config in zip(names, cluster_of(2), strict=True)
    }
    found = finish(tmp_path, workers)
    found |= finish(tmp_path, {"mirrored": start(tmp_path, "mirrored", folder, devices=2)})
    model, result = trainer.train(folder, tmp_path / "one", Train(**PARAMS), progress=False)
    weights, report = model.get_weights(), training_worker.report(result)
    assert report["losses"][-1][1] < report["losses"][0][1] < 8
    for name, (its_weights, its_report) in found.items():
        np.testing.assert_allclose(its_report["losses"], report["losses"], rtol=2e-4, err_msg=name)
        assert (its_report["steps"], its_report["targets"]) == (report["steps"], report["targets"]), name
        for one, other in zip(weights, its_weights, strict=True):
            np.testing.assert_allclose(other, one, atol=2e-4, err_msg=name)
    for one, other in zip(found["worker 0"][0], found["worker 1"][0], strict=True):
        np.testing.assert_array_equal(one, other)
    assert found["worker 0"][1]["handed_on"] == [record.step for record in result.history]
    assert found["worker 1"][1]["handed_on"] == []
    written = {path.name for path in (tmp_path / "place of worker 0").iterdir()}
    assert written == {"model", "history.csv", "store"}
    assert not (tmp_path / "place of worker 1").exists()


@pytest.mark.usefixtures("tiny")
def test_devices_validate_on_every_window_whatever_their_number(make_shards, tmp_path, sine_codes):
    folder = make_shards({"a": np.tile(sine_codes, 4)[:50_000]}, 1000, 4000)  # by default 6 windows per batch
    params = {**TINY, "chunk": 1000, "crop_targets": 1000, "epochs": 1}
    found = finish(tmp_path, {"mirrored": start(tmp_path, "mirrored", folder, params, devices=4)})
    _, result = trainer.train(folder, tmp_path / "one", Train(**params), progress=False)
    losses = training_worker.report(result)["losses"]
    np.testing.assert_allclose(found["mirrored"][1]["losses"], losses, rtol=2e-4)


def test_workers_with_a_budget_in_minutes_agree_though_their_clocks_differ(make_shards, tmp_path, sine_codes):
    folder = make_shards({"a": sine_codes[:3050]}, 16, 100)
    params = {**TINY, "epochs": None, "minutes": 1, "checkpoint_steps": None}
    # Checkpoints are always due by the clock of one, never by that of the other, which also runs faster.
    minutes, ticks = (1e-6, 1000.0), (1.0, 2.0)
    workers = {
        f"worker {i}": start(
            tmp_path, f"worker {i}", folder, params | {"checkpoint_minutes": minutes[i]}, config=config, tick=ticks[i]
        )
        for i, config in enumerate(cluster_of(2))
    }
    found = finish(tmp_path, workers)
    one, other = (found[name] for name in workers)
    assert one[1]["steps"] == other[1]["steps"] > 1
    assert one[1]["losses"] == other[1]["losses"]
    for weights, its_weights in zip(one[0], other[0], strict=True):
        np.testing.assert_array_equal(weights, its_weights)
    assert len(list((tmp_path / "place of worker 0/store").glob("*.npz"))) > 1


@pytest.mark.parametrize(("crop_targets", "accumulation_steps", "epochs"), [(None, 1, 3), (30, 2, 12)])
def test_workers_that_read_their_own_shards_learn_from_every_target_once_per_epoch(
    make_shards, tmp_path, sine_codes, crop_targets, accumulation_steps, epochs
):
    # The shard of one worker has short windows alone: the other has fewer batches, and more chunks per batch.
    recordings = {"a": sine_codes[:1016], **{f"short {i}": sine_codes[500 * i :][:40] for i in range(20)}}
    folder = make_shards(recordings, 16, 100, megabytes=0.0012)
    assert [shard.windows for shard in folder.splits["train"].shards] == [12, 18]
    changed = {"crop_targets": crop_targets, "accumulation_steps": accumulation_steps}
    params = {**TINY, **changed, "shard_policy": "file", "epochs": epochs}
    workers = {
        f"worker {i}": start(tmp_path, f"worker {i}", folder, params, config=config)
        for i, config in enumerate(cluster_of(2))
    }
    found = finish(tmp_path, workers)
    one, other = (found[name] for name in workers)
    lengths = [100] * 10 + [24] * 20  # targets of the windows
    assert sum(lengths) == folder.splits["train"].targets
    expected = epochs * sum(min(length, crop_targets or 100) for length in lengths)
    assert one[1]["targets"] == other[1]["targets"] == expected
    assert one[1]["steps"] == other[1]["steps"]
    assert one[1]["losses"] == other[1]["losses"]
    assert one[1]["losses"][-1][1] < one[1]["losses"][0][1] < 8
    for weights, its_weights in zip(one[0], other[0], strict=True):
        np.testing.assert_array_equal(weights, its_weights)


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


def test_no_worker_waits_forever_for_one_that_died(make_shards, tmp_path, sine_codes):
    folder = make_shards({"a": sine_codes[:3050]}, 16, 100)
    params = {**TINY, "epochs": None, "minutes": 10, "patience": None, "checkpoint_steps": 2}
    workers = [start(tmp_path, f"worker {i}", folder, params, config=config) for i, config in enumerate(cluster_of(2))]
    try:
        end = time.monotonic() + 120
        while not list((tmp_path / "place of worker 0/store").glob("*.npz")):
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
