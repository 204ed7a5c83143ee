"""What several tests share: small synthesised data, an MLflow store, a workspace in which the pipeline has run."""

import gc
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

# Tests that `make test-fast` leaves out, as beginnings of their names: the most expensive by
# `pytest --durations=0`, as long as a cheaper one covers the same subject.
SLOW = (
    "tests/audio/test_resampling.py::test_memory_does_not_grow_with_the_length_of_a_recording",
    "tests/benchmarks/",
    "tests/dataset/test_shards.py::test_reading_gives_back_every_code_of_the_recordings_as_a_target_in_order",
    "tests/dataset/test_shards.py::test_reading_resumes_at_any_batch",
    "tests/dataset/test_shards.py::test_workers_that_read_their_own_shards_read_each_window_once_in_the_same_number_of_batches[3",
    "tests/diagnostics/test_diagnosis.py::test_real_speech_and_music_have_no_findings[",
    "tests/diagnostics/test_reference.py::test_speech_is_near_speech_and_noise_hum_and_music_are_far",
    "tests/diagnostics/test_reference.py::test_the_memory_of_a_reference_does_not_grow_with_its_length",
    "tests/diagnostics/test_diagnosis.py::test_the_period_of_a_loop_is_right_within_a_percent",
    "tests/diagnostics/test_diagnosis.py::test_the_reference_is_a_folder_or_a_file_of_any_rate[True]",
    "tests/experiments/estimation/test_estimate.py::test_sizes_are_exact_times_add_up_and_nothing_is_touched",
    "tests/experiments/estimation/test_estimate.py::test_without_recordings_it_is_of_the_synthetic_corpus",
    "tests/experiments/search/test_loop.py::test_a_search_leaves_importances_a_figure_its_best_command_and_a_page",
    "tests/experiments/search/test_loop.py::test_a_search_that_was_killed_resumes_and_finds_the_same_as_one_that_was_not",
    "tests/experiments/search/test_loop.py::test_hopeless_and_failing_trials_end_and_the_search_goes_on",
    "tests/experiments/test_sweep.py::test_a_repeated_sweep_has_means_with_errors_and_children_by_setting_and_seed",
    "tests/experiments/test_sweep.py::test_an_existing_run_becomes_a_child_or_is_copied_if_it_has_a_parent",
    "tests/experiments/test_sweep.py::test_an_interrupted_sweep_resumes_under_the_same_parent",
    "tests/exporting/test_player.py::test_a_damaged_description_is_played_or_refused_in_one_line",
    "tests/exporting/test_player.py::test_an_impossible_size_is_refused_before_memory_is_allocated",
    "tests/exporting/test_player.py::test_damaged_weights_are_refused_in_one_line",
    "tests/exporting/test_player.py::test_every_entry_that_is_read_is_required",
    "tests/exporting/test_player.py::test_logits_equal_those_of_the_fused_engine",
    "tests/exporting/test_player.py::test_the_sound_is_that_of_a_stream_without_its_limiter[True",
    "tests/generation/fused/test_draws.py::test_draws_have_the_frequencies_of_the_softmax[tensorflow",
    "tests/generation/fused/test_draws.py::test_temperature_and_top_p_do_not_apply_where_the_model_is_certain[tensorflow]",
    "tests/generation/test_engines.py::test_the_tensorflow_engine_has_the_logits_of_the_model[1-7]",
    "tests/generation/test_engines.py::test_the_tensorflow_engine_has_the_logits_of_the_model[300-1]",
    "tests/generation/fused/test_engine.py",
    "tests/generation/test_sampling.py::test_a_tensorflow_stream_has_the_same_bytes_alone_and_in_a_batch",
    "tests/generation/test_sampling.py::test_generation_at_temperature_0_takes_the_likeliest_codes_of_the_model[fused-bf16]",
    "tests/generation/test_sampling.py::test_the_same_seed_gives_the_same_codes_for_any_length[fused-bf16]",
    "tests/generation/test_sampling.py::test_the_same_seed_gives_the_same_codes_for_any_length[tensorflow]",
    "tests/generation/test_sound_quality.py::test_sound_is_measured_on_the_same_clips_for_any_requested_clips",
    "tests/generation/test_training_clips.py::test_clips_do_not_change_the_weights",
    "tests/integration/",
    "tests/models/test_adding_a_model.py",
    "tests/models/test_models.py::test_a_prompt_in_one_pass_leaves_the_state_of_stepping_through_it[lpcmix]",
    "tests/models/test_models.py::test_parallel_and_step_form_are_the_same_network[audiornn-7]",
    "tests/models/test_models.py::test_parallel_and_step_form_are_the_same_network[linear-7]",
    "tests/models/test_models.py::test_parallel_and_step_form_are_the_same_network[lpcmix",
    "tests/models/test_models.py::test_parallel_and_step_form_are_the_same_network[samplernn-7]",
    "tests/models/test_models.py::test_parallel_and_step_form_of_a_trained_model_are_the_same_network",
    "tests/models/test_samplernn.py::test_any_number_of_tiers_and_any_ratio_keep_the_contract",
    "tests/models/test_samplernn.py::test_with_linear_prediction_it_keeps_the_contract_and_starts_from_that",
    "tests/playing/test_choices.py::test_the_given_model_comes_first_then_the_last_training_then_those_of_mlflow",
    "tests/playing/test_server.py::test_a_recording_is_what_was_heard_and_the_command_line_makes_the_same_file",
    "tests/common/test_parallel.py::test_an_unreachable_scheduler_is_named_in_one_line_within_ten_seconds",
    "tests/common/test_parallel.py::test_dask_is_not_imported_without_a_scheduler",
    "tests/reuse/test_packs.py::test_a_stage_that_ends_early_says_so_in_one_line_and_leaves_nothing_half_written",
    "tests/reuse/test_packs.py::test_the_bytes_do_not_depend_on_the_number_of_processes",
    "tests/common/test_waits.py::test_a_training_without_clips_imports_neither_scipy_signal_nor_matplotlib",
    "tests/common/test_waits.py::test_the_import_of_tensorflow_is_announced_and_does_without_what_takes_a_third_of_it",
    "tests/tracking/test_outbox.py::test_a_lost_server_keeps_later_stages_and_the_promotion_waiting",
    "tests/tracking/test_outbox.py::test_an_entry_that_was_delivered_but_not_removed_doubles_nothing",
    "tests/tracking/test_outbox.py::test_entries_for_another_store_are_kept_for_it",
    "tests/tracking/test_store.py::test_a_store_that_many_processes_create_and_fill_loses_no_run",
    "tests/tracking/test_store.py::test_a_store_whose_creation_was_killed_is_created_again",
    "tests/tracking/test_store.py::test_an_unreachable_server_is_named_in_one_line_within_seconds[http-hangs]",
    "tests/tracking/test_store.py::test_an_incomplete_store_is_replaced_and_a_file_that_is_not_a_database_is_named",
    "tests/tracking/models/test_registry.py::test_the_best_on_the_same_validation_split_is_champion_and_a_person_may_choose_another",
    "tests/training/test_checkpoints.py::test_an_interrupted_training_ends_as_if_it_had_not_been",
    "tests/training/progress/test_bar.py::test_the_bar_shows_the_time_left_with_the_last_validation_in_it",
    "tests/training/test_start.py::test_an_interrupted_fine_tuning_ends_as_if_it_had_not_been_and_another_ancestor_starts_from_scratch",
    "tests/training/test_start.py::test_the_number_of_updates_continues_from_the_ancestor_while_history_and_budget_restart",
    "tests/training/test_checkpoints.py::test_a_change_of_generation_code_leaves_an_interrupted_training_resumable_and_one_of_models_does_not",
    "tests/training/test_trainer.py::test_a_run_that_diverges_keeps_its_best_weights_and_says_so",
    "tests/training/devices/test_steps.py::test_accumulated_gradients_are_those_of_the_larger_batch",
    "tests/training/test_trainer.py::test_on_batch_reports_progress_after_each_batch",
    "tests/training/devices/test_steps.py::test_averaged_weights_are_validated_and_kept",
    "tests/training/test_trainer.py::test_crops_and_chunks_learn_and_count_their_targets",
    "tests/training/devices/test_optimizers.py::test_every_optimiser_learns",
    "tests/training/test_trainer.py::test_the_same_seed_gives_the_same_weights_and_another_seed_others",
    "tests/training/progress/test_curves.py::test_the_curves_by_step_hold_means_over_their_updates",
    "tests/training/test_trainer.py::test_the_window_objective_learns_too",
    "tests/training/test_trainer.py::test_training_stops_early_when_validation_stops_falling",
    "tests/training/test_trainer.py::test_time_in_callbacks_does_not_count_as_training_time",
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


def pytest_xdist_auto_num_workers():
    """One process more than cores, as some wait for others, and no more than four, for the sake of memory."""
    return min(4, (os.cpu_count() or 1) + 1)


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
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "DVC_EXP_NAME", tags.PARENT):
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
