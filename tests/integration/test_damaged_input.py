"""Whatever is changed in what comes from outside, it is understood or answered by short lines that name it."""

import json
import resource
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from audiornn import cli, params
from audiornn.audio.resampling import ResampledManifest
from audiornn.common.errors import AudioRNNError
from audiornn.common.serialization import read_json, write_json
from audiornn.common.validation import parse
from audiornn.corpus.listing import Known, Listing
from audiornn.corpus.scan import CorpusManifest
from audiornn.dataset import shards
from audiornn.dataset.manifest import read_manifest
from audiornn.experiments import plan
from audiornn.experiments.search.space import Space
from audiornn.models import storage
from audiornn.models.base import TrainingWindow
from audiornn.preparation import shard_writer
from audiornn.preparation.encoded import EncodedCorpus
from audiornn.preparation.recordings import SplitRecordings
from audiornn.tracking.runs import read_run_id
from audiornn.training.checkpoints import CheckpointStore
from audiornn.training.progress.state import TrainingState
from tests.conftest import CODEC, write_encoded
from tests.helpers.mutations import STRANGE, check_answer, damaged_bytes, damaged_trees, many

SHIPPED = Path(__file__).parents[2] / "params.yaml"


@pytest.fixture(autouse=True)
def bounded_memory():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    unit = 1 if sys.platform == "darwin" else 1024
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit < 1e9


def damaged_json(path):
    """Damaged versions of a JSON file."""
    content = path.read_bytes()
    trees = damaged_trees(json.loads(content)).map(lambda tree: json.dumps(tree).encode())
    return st.one_of(trees, damaged_bytes(content))


def check(data, path, read, damaged=damaged_json):
    """Read a file after damage; it is whole again afterwards."""
    content = path.read_bytes()
    path.write_bytes(data.draw(damaged(path)))
    try:
        check_answer(read)
    finally:
        path.write_bytes(content)


# --- YAML --------------------------------------------------------------------------------------------------------


def bomb(levels, width):
    """A YAML list of lists of lists ..., by aliases of aliases."""
    lines = [f"a0: &a0 [{', '.join(['x'] * width)}]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * width)}]" for i in range(1, levels)]
    return "\n".join(lines) + f"\ncorpus: *a{levels - 1}\n"


@pytest.mark.parametrize(
    "text",
    [
        f"train: {{epochs: {'9' * 400}}}",
        f"train: {{epochs: -{'9' * 5000}}}",
        f"train: {{epochs: 0x{'f' * 5000}}}",
        f"train: {{minutes: {'9' * 400}}}",
        f"train: {{batch_size: {'9' * 400}, epochs: 1, minutes: {'9' * 400}}}",
        f"generate: {{temperature: {'9' * 400}}}",
        "train: " + "[" * 600 + "]" * 600,
        "train: " + "{a: " * 600 + "}" * 600,
        bomb(9, 9),
        bomb(3, 200),
        "a: &a [*a]\ntrain: *a",
        "a: &a {<<: *a}",
        "a: &a {b: 1}\nc: &c {<<: [*a, *a]}\n" * 3 + "train: {<<: [" + "*c, " * 5000 + "*c]}",
        f"{'x' * 10**6}: 1",
        "train: {? [a, b] : c}",
        "train: !!python/object/apply:os.system ['echo harm']",
        "train: !!bool perhaps",
        "train: !!int ''",
        "train: !!timestamp never",
        "corpus: {path: 2020-13-01}",
        "x" * 10**6,
        "\0",
    ],
    ids=range(22),
)
def test_a_malicious_parameter_file_is_refused_in_one_short_line(tmp_path, text):
    (tmp_path / "params.yaml").write_text(text)
    check_answer(lambda: params.load(tmp_path / "params.yaml"))
    with pytest.raises(AudioRNNError) as error:
        params.load(tmp_path / "params.yaml")
    assert len(str(error.value).replace(str(tmp_path), "").splitlines()[0]) <= 330


@many
@given(st.data())
def test_a_damaged_parameter_file_is_accepted_or_refused_in_short_lines(tmp_path, data):
    def damaged(path):
        text = SHIPPED.read_bytes()
        trees = damaged_trees(yaml.safe_load(text)).map(lambda tree: yaml.safe_dump(tree).encode("utf-8", "replace"))
        return st.one_of(trees, damaged_bytes(text))

    def read():
        found = params.load(path)
        storage.complete(found.train.model.name, found.train.model.sizes)

    path = tmp_path / "params.yaml"
    path.touch()
    check(data, path, read, damaged)


@many
@given(st.data())
def test_a_damaged_experiment_is_accepted_or_refused_in_short_lines(tmp_path, data):
    path = tmp_path / "experiments/e.yaml"
    path.parent.mkdir(exist_ok=True)
    (tmp_path / "params.yaml").write_bytes(SHIPPED.read_bytes())
    content = {
        "description": "What for?",
        "set": {"train.epochs": 4, "shard": {"context": 5}},
        "sweep": {"train.model": [{"name": "audiornn", "units": 5}], "shard.seed": [1, 2]},
    }
    trees = damaged_trees(content).map(lambda tree: yaml.safe_dump(tree).encode("utf-8", "replace"))
    damaged = st.one_of(trees, damaged_bytes(yaml.safe_dump(content).encode()))
    path.write_bytes(data.draw(damaged))
    check_answer(lambda: plan.plan("e", workspace=tmp_path))


@many
@given(st.data())
def test_a_damaged_search_is_accepted_or_refused_in_short_lines(tmp_path, data):
    path = tmp_path / "experiments/e.yaml"
    path.parent.mkdir(exist_ok=True)
    (tmp_path / "params.yaml").write_bytes(SHIPPED.read_bytes())
    searched = {
        "train.learning_rate": {"low": 0.001, "high": 0.01, "log": True},
        "train.epochs": {"low": 1, "high": 3},
        "train.model": {"choice": [{"name": "audiornn", "units": 5}, {"name": "linear"}]},
    }
    content = {"description": "What for?", "search": searched, "trials": 3, "prune": False}
    path.write_text(yaml.safe_dump(data.draw(damaged_trees(content))), encoding="utf-8", errors="replace")

    def read():
        shared = plan.read_experiment("e", workspace=tmp_path)
        if shared.experiment.search:
            Space(shared).distributions()

    check_answer(read)


def test_an_experiment_with_too_many_settings_is_refused(tmp_path):
    (tmp_path / "experiments").mkdir()
    (tmp_path / "params.yaml").touch()
    swept = {f"shard.{key}": list(range(1, 500)) for key in ("context", "seed", "stride", "targets_per_window")}
    (tmp_path / "experiments/e.yaml").write_text(yaml.safe_dump({"description": "All of them", "sweep": swept}))
    with pytest.raises(AudioRNNError, match="has 62,001,498,001 settings, but must have at most 1,000"):
        plan.plan("e", workspace=tmp_path)


@many
@given(
    st.sampled_from(["train.epochs", "shard", "generate.temperature", "x", "", ".", "train." * 500 + "epochs"]),
    st.one_of(st.sampled_from([str(value) for value in STRANGE if value is not STRANGE[-1]]), st.text()),
)
def test_any_override_of_an_experiment_is_accepted_or_refused_in_short_lines(tmp_path, key, value):
    (tmp_path / "experiments").mkdir(exist_ok=True)
    (tmp_path / "params.yaml").touch()
    (tmp_path / "experiments/e.yaml").write_text("description: What for?\n")
    check_answer(lambda: plan.plan("e", [f"{key}={value}"], tmp_path))


# --- JSON --------------------------------------------------------------------------------------------------------

DIGEST = "0" * 64
RECORDING = {
    "path": "a/b.wav",
    "rate": 8000,
    "channels": 1,
    "frames": 80,
    "seconds": 0.01,
    "sha256": DIGEST,
    "reading": {"decoder": "libsndfile", "channel": None, "gain": 1.0},
    "notes": ["damaged"],
}
FILES = {
    "recordings": (Listing, {"path": "recordings", "files": [{"path": "a.wav", "size": 5, "sha256": DIGEST}]}),
    "known recordings": (Known, {"recordings/a.wav": [[5, 10**18, 77], DIGEST]}),
    "corpus": (
        CorpusManifest,
        {
            "root": "recordings",
            "seconds": 0.01,
            "recordings": [RECORDING],
            "left_out": [{"path": "c.txt", "reason": "text"}],
        },
    ),
    "resample": (
        ResampledManifest,
        {
            "sample_rate": 8000,
            "highpass_hz": 20.0,
            "recordings": [
                {
                    **{"name": "b", "file": "00.wav", "start": 0, "source": "a/b.wav", "samples": 80},
                    **{"peak": 0.5, "gain": 1.0, "sha256": DIGEST},
                }
            ],
        },
    ),
}


@pytest.mark.parametrize("name", FILES)
@many
@given(data=st.data())
def test_a_damaged_manifest_is_accepted_or_refused_in_short_lines(tmp_path, name, data):
    kind, content = FILES[name]
    path = tmp_path / "manifest.json"
    write_json(path, content)
    parse(kind, read_json(path), path)
    check(data, path, lambda: parse(kind, read_json(path), path))


@many
@given(st.data())
def test_a_damaged_name_of_a_run_is_accepted_or_refused_in_short_lines(tmp_path, data):
    path = tmp_path / "mlflow.json"
    write_json(path, {"run_id": "0" * 32})
    check(data, path, lambda: read_run_id(path))


@pytest.fixture(scope="module")
def split_on_disk(tmp_path_factory):
    """Folders of codes and of shards."""
    root = tmp_path_factory.mktemp("split")
    codes = {"a": np.arange(300, dtype=np.uint8), "b": np.arange(200, dtype=np.uint8)}
    write_encoded(root / "encode", codes)
    (root / "shard").mkdir()
    ranges = [shard_writer.CodeRange(name, 0, len(held)) for name, held in codes.items()]
    layout = shard_writer.WindowLayout(10, 40, 40)
    metrics = EncodedCorpus(root / "encode").metrics
    shard_writer.write(root / "shard", codes, dict.fromkeys(shard_writer.SPLITS, ranges), layout, CODEC, metrics)
    return root


@pytest.mark.parametrize("file", ["encode/manifest.json", "shard/manifest.json"])
@many
@given(data=st.data())
def test_damaged_manifests_of_codes_and_shards_are_accepted_or_refused_in_short_lines(split_on_disk, file, data):
    def read():
        manifest = read_manifest(split_on_disk / "shard")
        split = SplitRecordings(EncodedCorpus(split_on_disk / "encode"), manifest)
        assert len(split.recordings) <= 2
        if manifest.layout.length < 10_000:
            batches = shards.read(manifest, "train", 4)
            assert 1 <= len(list(batches.take(20))) < 20

    check(data, split_on_disk / file, read)


@many
@given(data=st.data())
def test_damaged_codes_are_accepted_or_refused_in_short_lines(split_on_disk, data):
    path = split_on_disk / "encode/a.npy"
    corpus = EncodedCorpus(split_on_disk / "encode")
    check(data, path, lambda: corpus.open("a"), lambda path: damaged_bytes(path.read_bytes()))


@many
@given(data=st.data())
def test_a_damaged_shard_is_named_with_the_command_that_fixes_it(split_on_disk, data):
    path = split_on_disk / "shard/train-00000.tfrecord"
    content = path.read_bytes()
    manifest = read_manifest(split_on_disk / "shard")
    damaged = data.draw(damaged_bytes(content))
    path.write_bytes(damaged)
    try:
        if damaged != content:
            with pytest.raises(AudioRNNError, match="train-00000.tfrecord: damaged: .*; run dvc repro shard") as error:
                shards.read(manifest, "train", 4)
            assert "\n" not in str(error.value)
    finally:
        path.write_bytes(content)


# --- Models and checkpoints --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "model"
    model = storage.build("audiornn", dense=3, units=3, layers=1)
    model.codec, model.window = CODEC, TrainingWindow(8, 8)
    storage.save(model, folder)
    return folder


@many
@given(data=st.data())
def test_a_damaged_configuration_of_a_model_is_accepted_or_refused_in_short_lines(model_folder, data):
    check(data, model_folder / "config.json", lambda: storage.load(model_folder))


@pytest.mark.parametrize("digest", [True, False])
@many
@given(data=st.data())
def test_damaged_weights_are_accepted_or_refused_in_short_lines_with_and_without_a_digest(model_folder, digest, data):
    config = (model_folder / "config.json").read_bytes()
    if not digest:
        content = json.loads(config)
        del content["weights_sha256"]
        write_json(model_folder / "config.json", content)

    def read():
        model = storage.load(model_folder)
        assert all(np.isfinite(weight).all() for weight in model.get_weights())

    try:
        weights = model_folder / "model.weights.h5"
        check(data, weights, read, lambda path: damaged_bytes(path.read_bytes()))
    finally:
        (model_folder / "config.json").write_bytes(config)


@many
@given(data=st.data())
def test_a_damaged_checkpoint_is_used_whole_or_not_at_all(tmp_path, data):
    store, other = CheckpointStore(tmp_path / "store"), CheckpointStore(tmp_path / "other")
    arrays, state = [np.arange(6.0).reshape(2, 3), np.float32(2), np.zeros(0)], {"step": 2, "infinite": float("inf")}
    if not store.files:
        store.save(1, arrays[:1], {"step": 1})
        store.save(2, arrays, state)
        other.save(2, arrays, {"step": 3})
    content = store.files[0].read_bytes()
    assert content != other.files[0].read_bytes()
    store.files[0].write_bytes(data.draw(damaged_bytes(content)))
    try:
        found, metadata = store.load()
        assert metadata in (state, {"step": 1})
        expected = arrays if metadata == state else arrays[:1]
        assert len(found) == len(expected)
        for one, another in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, another)
    finally:
        store.files[0].write_bytes(content)


@many
@given(data=st.data())
def test_a_damaged_state_of_a_training_is_accepted_or_refused_in_short_lines(data):
    tree = data.draw(damaged_trees(json.loads(json.dumps(asdict(TrainingState())))))
    check_answer(lambda: parse(TrainingState, tree, "checkpoint"))


# --- Command line ------------------------------------------------------------------------------------------------

OPTIONS = {
    "generate": (
        *("--seconds", "--count", "--seed", "--temperature", "--top-k", "--top-p", "--prompt-offset"),
        *("--confidence-threshold", "--prompt-seconds", "--prompt", "--peak-mode", "--engine", "--model", "--run"),
    ),
    "inspect": ("--sample-rate", "--highpass-hz", "--preemphasis", "--params"),
}


@many
@given(st.sampled_from([(command, option) for command, options in OPTIONS.items() for option in options]), st.data())
def test_any_value_on_the_command_line_gives_short_lines_and_exit_code_2(tmp_path_factory, model_folder, command, data):
    values = [*("", "-1", "nan", "inf", "1e400", "9" * 400, "9" * 5000, "x" * 5000, "1,2:3:4", "\n", "0:9" * 999)]
    value = data.draw(st.one_of(st.sampled_from(values), st.text(st.characters(exclude_characters="\0"), max_size=20)))
    name, option = command
    words = [name, f"{option}={value}", *(["nowhere.wav", "--output=x"] if name == "inspect" else ["--prompt=nowhere"])]
    folder = tmp_path_factory.getbasetemp()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        errors = folder / "errors.txt"
        with open(errors, "w") as file, pytest.raises(SystemExit) as end:
            patch.setattr(sys, "stderr", file)
            cli.main(words)
    assert end.value.code == 2
    lines = errors.read_text(errors="replace").splitlines()
    assert lines
    assert all(len(line) < 600 for line in lines)
