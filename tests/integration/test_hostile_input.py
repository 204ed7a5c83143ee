"""What a stranger made runs nothing when it is loaded, and reads nothing outside its folder."""

import json
import os
import pickle
import shutil
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from audiornn.common.digests import sha256
from audiornn.common.errors import AudioRNNError
from audiornn.common.serialization import read_json
from audiornn.common.validation import parse
from audiornn.corpus.scan import CorpusManifest
from audiornn.dataset import shards
from audiornn.dataset.manifest import read_manifest
from audiornn.experiments import definition
from audiornn.models import storage
from audiornn.models.base import TrainingWindow
from audiornn.preparation import shard_writer
from audiornn.preparation.encoded import EncodedCorpus
from audiornn.training.checkpoints import CheckpointStore
from tests.conftest import CODEC, write_encoded


class Harm:
    """An object whose unpickling leaves a file `harm` in the current folder."""

    def __reduce__(self):
        return Path("harm").touch, ()


@pytest.fixture(autouse=True)
def harmless(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield
    assert not Path("harm").exists()


@pytest.fixture
def secret(tmp_path):
    """A file outside of every folder that is loaded."""
    path = tmp_path / "secret"
    path.write_bytes(b"secret!!" * 1000)
    return path


@pytest.fixture
def model(tmp_path):
    made = storage.build("audiornn", dense=4, units=4, layers=1)
    made.codec, made.window = CODEC, TrainingWindow(8, 8)
    storage.save(made, tmp_path / "model")
    return tmp_path / "model"


def edit(path, *place, value):
    """Set an entry of a JSON file."""
    content = entry = read_json(path)
    for key in place[:-1]:
        entry = entry[key]
    entry[place[-1]] = value
    path.write_text(json.dumps(content))


def test_harm_would_be_detected(tmp_path):
    pickle.loads(pickle.dumps(Harm()))
    assert Path("harm").exists()
    Path("harm").unlink()


# --- Models ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "made",
    [
        {"class_name": "Lambda", "config": {"function": {"class_name": "__lambda__"}}, "name": "os.system"},
        {"name": "os:system"},
        {"name": "audiornn.models.samplernn"},
        {"name": "../../harm"},
        {"name": "audiornn", "registered_name": "os>system", "module": "os"},
        {"name": "audiornn", "units": {"__reduce__": "os.system"}},
    ],
)
def test_a_configuration_names_one_of_our_models_and_nothing_else(model, made):
    edit(model / "config.json", "model", value=made)
    with pytest.raises(AudioRNNError, match="config.json: model: "):
        storage.load(model)


def of_weights(model, change):
    """Change the file of weights, by the datasets in it, and its digest."""
    file = model / "model.weights.h5"
    with h5py.File(file, "a") as content:
        names = []
        content.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        change(content, max(names, key=lambda name: content[name].size))
    edit(model / "config.json", "weights_sha256", value=sha256(file))


def test_weights_from_outside_the_folder_are_not_read(model, secret):
    elsewhere = secret.parent / "elsewhere.h5"
    shutil.copy(model / "model.weights.h5", elsewhere)

    def raw(content, name):
        shape = content[name].shape
        del content[name]
        content.create_dataset(name, shape, np.float32, external=[(str(secret), 0, h5py.h5f.UNLIMITED)])

    def linked(content, name):
        del content[name]
        content[name] = h5py.ExternalLink(str(elsewhere), name)

    def virtual(content, name):
        shape = content[name].shape
        del content[name]
        layout = h5py.VirtualLayout(shape, np.float32)
        layout[...] = h5py.VirtualSource(str(elsewhere), name, shape)
        content.create_virtual_dataset(name, layout)

    whole = {file: file.read_bytes() for file in model.iterdir()}
    for change in (raw, linked, virtual):
        of_weights(model, change)
        with pytest.raises(AudioRNNError, match="model.weights.h5: does not fit config.json: "):
            storage.load(model)
        for file, content in whole.items():
            file.write_bytes(content)
    storage.load(model)


def test_pickled_weights_are_not_unpickled(model):
    def pickled(content, name):
        del content[name]
        content[name] = np.frombuffer(pickle.dumps(Harm()), np.uint8)

    of_weights(model, pickled)
    with pytest.raises(AudioRNNError, match="model.weights.h5: does not fit config.json: "):
        storage.load(model)
    (model / "model.weights.h5").write_bytes(pickle.dumps(Harm()))
    edit(model / "config.json", "weights_sha256", value=sha256(model / "model.weights.h5"))
    with pytest.raises(AudioRNNError, match="model.weights.h5: does not fit config.json: "):
        storage.load(model)


def test_a_model_whose_files_are_links_of_the_cache_loads(model, tmp_path):
    """As DVC leaves it where its cache links files instead of copying them, wherever the cache is."""
    cache = tmp_path / "cache"
    shutil.move(model, cache)
    model.mkdir()
    for file in cache.iterdir():
        (model / file.name).symlink_to(file)
    assert storage.load(model).name == "audiornn"


@pytest.mark.parametrize("name", ["config.json", "model.weights.h5"])
def test_a_pipe_or_a_device_is_not_accepted_as_a_file_of_a_model(model, name):
    for make in (os.mkfifo, lambda path: path.symlink_to("/dev/zero")):
        (model / name).unlink()
        make(model / name)
        with pytest.raises(AudioRNNError, match=f"{name}: no such file|no model there .{name} is missing"):
            storage.load(model)


# --- Checkpoints -------------------------------------------------------------------------------------------------


def test_pickled_arrays_of_a_checkpoint_are_not_unpickled(tmp_path, capsys):
    store = CheckpointStore(tmp_path / "store")
    store.folder.mkdir()
    np.savez(store.folder / "000000002.npz", metadata=np.array([Harm()], object), digest=np.zeros(32, np.uint8))
    (store.folder / "000000001.npz").write_bytes(pickle.dumps(Harm()))
    np.save(store.folder / "0.npy", np.array([Harm()], object))
    (store.folder / "0.npy").rename(store.folder / "000000000.npz")
    assert store.load() is None
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 4
    assert said[-1] == f"{store.folder}: all checkpoints are damaged: training starts from scratch"


def test_a_checkpoint_that_unpacks_to_more_than_its_size_is_not_unpacked(tmp_path, capsys):
    store = CheckpointStore(tmp_path)
    with (
        zipfile.ZipFile(tmp_path / "000000001.npz", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("metadata.npy", "w") as member,
    ):
        np.save(member, np.zeros(10**8, np.uint8))
    assert store.load() is None
    assert "its arrays are larger than the file" in capsys.readouterr().out


# --- Manifests and codes -----------------------------------------------------------------------------------------


@pytest.fixture
def split(tmp_path):
    codes = {"a": np.arange(200, dtype=np.uint8)}
    encoded = write_encoded(tmp_path / "encode", codes)
    (tmp_path / "shard").mkdir()
    ranges = {name: [shard_writer.CodeRange("a", 0, 200)] for name in shard_writer.SPLITS}
    shard_writer.write(tmp_path / "shard", codes, ranges, shard_writer.WindowLayout(10, 40, 40), CODEC, encoded.metrics)
    return tmp_path


@pytest.mark.parametrize("path", ["/etc/passwd", "../secret", "..", "a/../../secret", "a\0b"])
def test_file_names_in_manifests_stay_in_their_folder(split, secret, path):
    edit(split / "encode/manifest.json", "recordings", 0, "file", value=path)
    with pytest.raises(AudioRNNError, match="recordings.0.file is .* must be the plain name of a file"):
        EncodedCorpus(split / "encode")
    edit(split / "shard/manifest.json", "splits", "train", "shards", 0, "file", value=path)
    with pytest.raises(AudioRNNError, match="splits.train.shards.0.file is .* must be the plain name of a file"):
        read_manifest(split / "shard")
    recording = {"path": path, "rate": 8000, "channels": 1, "frames": 1, "seconds": 1, "sha256": "0" * 64}
    corpus = {"root": "recordings", "seconds": 1, "recordings": [recording], "left_out": []}
    with pytest.raises(AudioRNNError, match="recordings.0.path is .* must be a path below the folder"):
        parse(CorpusManifest, corpus, "manifest.json")


def test_a_digest_cannot_be_a_path_to_write_recordings_to():
    recording = {"path": "a.wav", "rate": 8000, "channels": 1, "frames": 1, "seconds": 1, "sha256": "/../../../harm"}
    corpus = {"root": "recordings", "seconds": 1, "recordings": [recording], "left_out": []}
    with pytest.raises(AudioRNNError, match="recordings.0.sha256 is "):
        parse(CorpusManifest, corpus, "manifest.json")


def test_pickled_codes_are_not_unpickled(split):
    path = split / "encode/a.npy"
    for content in (np.array([Harm()] * 200, object), np.zeros(10**6, np.uint8), np.zeros(200, np.int8)):
        np.save(path, content, allow_pickle=True)
        with pytest.raises(AudioRNNError, match=r"a.npy: not readable as codes: "):
            EncodedCorpus(split / "encode").open("a")


@pytest.mark.parametrize("links", ["files", "folder"])
def test_shards_that_are_links_of_the_cache_are_read_and_links_to_other_files_are_not(split, secret, links):
    folder, cache = split / "shard", split / "cache"
    shutil.move(folder, cache)
    if links == "folder":
        folder.symlink_to(cache)
    else:
        folder.mkdir()
        for file in cache.iterdir():
            (folder / file.name).symlink_to(file)
    manifest = read_manifest(folder)
    assert len(list(shards.read(manifest, "train", 4))) == 2
    (folder / "train-00000.tfrecord").unlink()
    (folder / "train-00000.tfrecord").symlink_to(secret)
    with pytest.raises(AudioRNNError, match="train-00000.tfrecord: damaged: has 8,000 bytes, but had"):
        shards.read(manifest, "train", 4)


# --- Experiments -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "harm",
    [
        "!!python/object/apply:pathlib.Path.touch [harm]",
        "!!python/object/new:os.system [touch harm]",
        "!!python/name:os.system ''",
        "!!python/module:os ''",
    ],
)
def test_yaml_tags_in_an_experiment_create_no_objects(tmp_path, harm):
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments/e.yaml").write_text(f"description: What for?\nset: {{train.epochs: {harm}}}\n")
    with pytest.raises(AudioRNNError, match="e.yaml: not readable as YAML: could not determine a constructor"):
        definition.read("e")


def test_an_experiment_must_be_a_file_in_its_folder(tmp_path):
    (tmp_path / "experiments").mkdir()
    (tmp_path / "harm.yaml").write_text("description: outside\n")
    for name in ("../harm", str(tmp_path / "harm")):
        with pytest.raises(AudioRNNError, match="no such experiment"):
            definition.read(name)
