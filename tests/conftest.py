"""What several tests share: small synthesised data, an MLflow store, a workspace in which the pipeline has run."""

import gc
import itertools
import os
import re
import shutil
import sys
import time

import numpy as np
import pytest
from hypothesis import settings
from xdist.scheduler import LoadFileScheduling

from audiornn import codec, codec_metrics
from audiornn.dataset import split
from audiornn.dataset.windows import WindowLayout
from audiornn.models import registry
from audiornn.params import ModelParams
from audiornn.preparation import encoded, shard_writer
from audiornn.preparation.recordings import SplitRecordings
from audiornn.tracking import store, tags
from tests.helpers.pipeline_clone import clone
from tests.helpers.servers import free_port, serving

CODEC = codec.CodecSettings(sample_rate=8000, highpass_hz=20.0, preemphasis=0.95)
CODEC_METRICS = codec_metrics.CodecMetrics(snr_db=None, snr_high_db=None, clipped_share=0.0, code_entropy_bits=7.0)

# What `make test-fast` leaves out besides tests marked as slow, as beginnings of names. Slow are the most expensive by
# `pytest --durations=0`, as long as a cheaper one covers the same subject.
SLOW = (
    "tests/benchmarks/",
    "tests/diagnostics/test_diagnosis.py::test_real_speech_and_music_have_no_findings[",
    "tests/diagnostics/test_diagnosis.py::test_the_reference_is_a_folder_or_a_file_of_any_rate[True]",
    "tests/exporting/test_player.py::test_the_sound_is_that_of_a_stream_without_its_limiter[True",
    "tests/generation/fused/test_draws.py::test_draws_have_the_frequencies_of_the_softmax[tensorflow",
    "tests/generation/fused/test_draws.py::test_temperature_and_top_p_do_not_apply_where_the_model_is_certain[tensorflow]",
    "tests/generation/test_engines.py::test_the_tensorflow_engine_has_the_logits_of_the_model[1-",
    "tests/generation/test_engines.py::test_the_tensorflow_engine_has_the_logits_of_the_model[300-1]",
    "tests/generation/test_sampling.py::test_generation_at_temperature_0_takes_the_likeliest_codes_of_the_model[fused-bf16]",
    "tests/generation/test_sampling.py::test_the_same_seed_gives_the_same_codes_for_any_length[fused-bf16]",
    "tests/generation/test_sampling.py::test_the_same_seed_gives_the_same_codes_for_any_length[tensorflow]",
    "tests/integration/",
    "tests/models/test_models.py::test_a_prompt_in_one_pass_leaves_the_state_of_stepping_through_it[lpcmix]",
    "tests/models/test_models.py::test_parallel_and_step_form_are_the_same_network[audiornn-7]",
    "tests/models/test_models.py::test_parallel_and_step_form_are_the_same_network[linear-7]",
    "tests/models/test_models.py::test_parallel_and_step_form_are_the_same_network[lpcmix",
    "tests/models/test_models.py::test_parallel_and_step_form_are_the_same_network[samplernn-7]",
    "tests/tracking/test_store.py::test_an_unreachable_server_is_named_in_one_line_within_seconds[http-hangs]",
)

if "PYTEST_XDIST_WORKER" in os.environ:  # several tests at once share the cores: TensorFlow's threads would only wait
    os.environ["TF_NUM_INTRAOP_THREADS"] = "1"

settings.register_profile("cores are shared", deadline=None)
settings.load_profile("cores are shared")


# Tests whose files share a workspace.
PIPELINE = tuple(f"tests/integration/{place}" for place in ("pipeline/", "browser/test_mlflow", "browser/test_report"))


class Scheduling(LoadFileScheduling):
    """With -n a file goes to one worker as a whole, and files whose tests share a workspace go to the same one."""

    def _split_scope(self, nodeid):
        file = super()._split_scope(nodeid)
        return "pipeline" if file.startswith(PIPELINE) else file


def pytest_xdist_make_scheduler(config, log):
    return Scheduling(config, log)


def pytest_xdist_auto_num_workers(config):
    """One process more than cores, as slow tests wait for other processes, and at most four, for the sake of memory."""
    fast = config.option.markexpr == "not slow"
    return min(4, (os.cpu_count() or 1) + (not fast))


def pytest_runtest_setup(item):
    """The tests of the pipeline, one after the other, take longest: let other workers take what time they leave."""
    if "PYTEST_XDIST_WORKER" in os.environ and not item.nodeid.startswith(PIPELINE) and os.nice(0) == 0:
        os.nice(5)


def pytest_addoption(parser):
    parser.addoption("--soak", action="store_true", help="run the soak tests, and nothing else")


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their marks
def pytest_collection_modifyitems(config, items):
    """Mark slow tests, choose soak tests by --soak; first come the pipeline, the longest, and its pages."""
    for item in items:
        if item.nodeid.startswith(SLOW):
            item.add_marker("slow")
    left_out = [item for item in items if ("soak" in item.keywords) != config.getoption("--soak")]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]
    items.sort(key=lambda item: next((i for i, place in enumerate(PIPELINE) if item.nodeid.startswith(place)), 2))


def pytest_collection_finish():
    """Let collections of garbage, of which TensorFlow's graphs cause many, pass over what stays until the end."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


FOLDERS = itertools.count()


@pytest.fixture
def tmp_path(tmp_path):
    """A folder whose path no other test in this process has, even once it is removed: MLflow keeps its connections."""
    folder = tmp_path / str(next(FOLDERS))
    folder.mkdir()
    return folder


@pytest.fixture(autouse=True)
def own_store():
    """Neither the user's MLflow store nor that of the test before, which MLflow leaves in the environment."""
    with pytest.MonkeyPatch.context() as environment:
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
            environment.setenv(name, "")  # so that it is removed again after the test
            environment.delenv(name)
        yield


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
        while not (told := re.search(r"MLflow UI: (\S+)", log.read_text())):  # once it has an answer itself
            time.sleep(0.1)
        page = told.group(1)
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


def write_shards(folder, recordings, context, targets_per_window, stride=None, **settings):
    """Write shards of recordings given as codes, all of them in each split; gives their manifest."""
    folder.mkdir()
    ranges = [split.CodeRange(key, 0, len(codes)) for key, codes in recordings.items()]
    layout = WindowLayout(context, targets_per_window, stride or targets_per_window)
    splits = dict.fromkeys(split.SPLITS, ranges)
    return shard_writer.write(folder, recordings, splits, layout, CODEC, CODEC_METRICS, **settings)


@pytest.fixture
def make_shards(tmp_path):
    """Write shards in `tmp_path`, as `write_shards` does."""

    def write(recordings, context, targets_per_window, name="shards", **settings):
        return write_shards(tmp_path / name, recordings, context, targets_per_window, **settings)

    return write


@pytest.fixture(scope="session")
def tables(tmp_path_factory):
    """MLflow's default database without any run: making one takes seconds, copying it does not."""
    import mlflow

    folder = tmp_path_factory.mktemp("store")
    mlflow.MlflowClient(f"sqlite:///{folder}/{store.DATABASE}").search_experiments()
    return folder / store.DATABASE


@pytest.fixture
def own_environment(monkeypatch):
    """Stages and commands in this process see nothing of DVC or MLflow, as `Workspace.run` lets others see nothing."""
    for name in [name for name in os.environ if name.startswith(("DVC_", "MLFLOW_"))]:
        monkeypatch.delenv(name)


@pytest.fixture
def empty_store(tables, tmp_path, monkeypatch):
    """The default store in `tmp_path`, whatever the environment says."""
    for name in ("DVC_EXP_NAME", tags.PARENT):
        monkeypatch.delenv(name, raising=False)
    shutil.copy(tables, tmp_path / store.DATABASE)


@pytest.fixture
def make_split(make_shards, tmp_path):
    """The test split of recordings given as codes, and the manifest of its shards."""

    def make(recordings, context, targets_per_window):
        manifest = make_shards(recordings, context, targets_per_window)
        return SplitRecordings(write_encoded(tmp_path / "encode", recordings), manifest), manifest

    return make


@pytest.fixture
def tiny(monkeypatch):
    """Let parameters name the model of tests/helpers/tiny_model.py, which compiles in no time."""
    monkeypatch.setitem(registry.REGISTRY, "tiny", "tests.helpers.tiny_model:TinyModel")
    return ModelParams(name="tiny")
