"""What several tests share: small synthesised data, an MLflow store, a workspace in which the pipeline has run."""

import os
import re
import shutil
import sys

import numpy as np
import pytest
from hypothesis import settings
from xdist.scheduler import LoadFileScheduling

from audiornn import codec
from audiornn.dataset import encoded, shards, split
from audiornn.dataset.recordings import SplitRecordings
from audiornn.dataset.windows import WindowLayout
from audiornn.tracking import store, tags
from tests.helpers.pipeline_clone import clone
from tests.helpers.servers import free_port, serving

CODEC = codec.CodecSettings(sample_rate=8000, highpass_hz=20.0, preemphasis=0.95)
CODEC_METRICS = codec.CodecMetrics(snr_db=None, snr_high_db=None, clipped_share=0.0, code_entropy_bits=7.0)

settings.register_profile("cores are shared", deadline=None)
settings.load_profile("cores are shared")


class Scheduling(LoadFileScheduling):
    """With -n a file goes to one worker as a whole, and all files whose tests share a workspace go to the same one."""

    def _split_scope(self, nodeid):
        file = super()._split_scope(nodeid)
        return "pipeline" if file.startswith(("tests/integration/pipeline/", "tests/integration/browser/")) else file


def pytest_xdist_make_scheduler(config, log):
    return Scheduling(config, log)


def pytest_collection_modifyitems(items):
    """The browser comes after the pipeline, whose tests leave runs to look at."""
    items.sort(key=lambda item: item.nodeid.startswith("tests/integration/browser/"))


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A clone in which `dvc repro` has run once, and its output. Tests that change it leave it up to date."""
    workspace = clone(tmp_path_factory.mktemp("finished") / "clone")
    output = workspace.run("dvc", "repro").stdout
    workspace.commit()
    return workspace, output


@pytest.fixture(scope="session")
def runs_page(finished, tmp_path_factory):
    """The page that `audiornn ui` names, when it serves the finished workspace."""
    workspace, _ = finished
    port = free_port()
    command = [sys.executable, "-m", "audiornn.cli", "ui", "--port", str(port)]
    env = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")} | {"MLFLOW_WORKERS": "1"}
    log = tmp_path_factory.mktemp("ui") / "log.txt"
    with serving(log, command, port, cwd=workspace.root, env=env) as address:
        page = re.search(r"MLflow UI: (\S+)", log.read_text()).group(1)
        assert page.startswith(f"{address}/#/experiments/")
        yield page


@pytest.fixture(scope="session")
def ui(runs_page):
    """The address of `audiornn ui` on the finished workspace."""
    return runs_page.split("/#/")[0]


def write_encoded(folder, recordings):
    """Leave recordings given as codes as the encode stage does."""
    folder.mkdir()
    for name, codes in recordings.items():
        np.save(folder / f"{name}.npy", codes)
    listed = [
        encoded.EncodedRecording(name, f"{name}.npy", f"{name}.wav", len(codes)) for name, codes in recordings.items()
    ]
    encoded.write_manifest(folder, CODEC, CODEC_METRICS, listed)
    return encoded.EncodedCorpus(folder)


@pytest.fixture(scope="session")
def sine_codes():
    """Two seconds of a 440 Hz sine at 8 kHz, as codes."""
    return codec.encode(0.5 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 8000))


@pytest.fixture
def make_shards(tmp_path):
    """Write shards of recordings given as codes, all of them in each split; gives their manifest."""

    def write(recordings, context, span, name="shards", shift=None):
        folder = tmp_path / name
        folder.mkdir()
        ranges = [split.CodeRange(key, 0, len(codes)) for key, codes in recordings.items()]
        layout = WindowLayout(context, span, shift or span)
        return shards.write(folder, recordings, dict.fromkeys(split.SPLITS, ranges), layout, CODEC, CODEC_METRICS)

    return write


@pytest.fixture(scope="session")
def tables(tmp_path_factory):
    """MLflow's default database without any run: making one takes seconds, copying it does not."""
    import mlflow

    folder = tmp_path_factory.mktemp("store")
    mlflow.MlflowClient(f"sqlite:///{folder}/{store.DATABASE}").search_experiments()
    return folder / store.DATABASE


@pytest.fixture
def empty_store(tables, tmp_path, monkeypatch):
    """The default store in `tmp_path`, whatever the environment says."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "DVC_EXP_NAME", tags.PARENT):
        monkeypatch.delenv(name, raising=False)
    shutil.copy(tables, tmp_path / store.DATABASE)


@pytest.fixture
def make_split(make_shards, tmp_path):
    """The test split of recordings given as codes, and the manifest of its shards."""

    def make(recordings, context, span):
        manifest = make_shards(recordings, context, span)
        return SplitRecordings(write_encoded(tmp_path / "encode", recordings), manifest), manifest

    return make
