"""The real pipeline, small: `dvc repro` in a clone, what it leaves, and what a change reruns."""

import csv
import json
import re
import shutil

import numpy as np
import pytest
import soundfile as sf

from audiornn import params
from audiornn.codec import CodecSettings
from audiornn.generation import training_clips
from audiornn.models.base import TrainingWindow
from audiornn.provenance.overrides import flatten
from stages import train
from tests.helpers.pipeline_clone import Workspace

pytestmark = pytest.mark.pipeline
FIGURES = ["calibration", "codes", "context", "curves", "generated", "passages"]
ALWAYS = {"recordings", "ancestor"}  # they look for recordings, and for the model that training starts from
STAGES = ["corpus", "resample", "encode", "shard", "train", "evaluate", "generate", "report"]


def metrics(workspace, stage):
    return json.loads((workspace.root / f"metrics/{stage}.json").read_text())


def ran(output):
    """The stages that ran, without those that always do."""
    stages = re.findall(r"Running stage '(\w+)'", output)
    return [stage for stage in stages if stage not in ALWAYS]


def changed(workspace):
    """The stages that `dvc status` names, without those that always run."""
    status = workspace.run("dvc", "status").stdout
    return [stage for stage in re.findall(r"^(\w+):", status, re.MULTILINE) if stage not in ALWAYS]


def test_the_pipeline_runs_from_nothing_to_audio(finished):
    workspace, output = finished
    assert ran(output) == STAGES
    wavs = sorted((workspace.root / "generated").glob("*.wav"))
    assert [path.name for path in wavs] == ["01-temperature-1.wav"]
    wave, rate = sf.read(wavs[0])
    assert (rate, len(wave)) == (8000, 2000)
    assert 0 < np.abs(wave).max() < 1
    for figure in FIGURES:
        assert (workspace.root / f"figures/{figure}.png").read_bytes().startswith(b"\x89PNG")
    assert not list(workspace.root.rglob("*.partial*"))


def test_the_metrics_have_their_names_and_make_sense(finished):
    workspace, _ = finished
    encode = metrics(workspace, "encode")
    assert encode["snr_db"] > 25
    assert encode["snr_high_db"] > 25
    assert encode["clipped_share"] == 0
    assert 4 < encode["code_entropy_bits"] < 8
    shard = metrics(workspace, "shard")
    codes = sum(
        r["codes"] for r in json.loads((workspace.root / "data/encode/manifest.json").read_text())["recordings"]
    )
    recordings = len(json.loads((workspace.root / "data/corpus/manifest.json").read_text())["recordings"])
    assert shard["targets"] == codes - 64 * recordings
    assert shard["bytes"] == sum(path.stat().st_size for path in (workspace.root / "data/shard").glob("*.tfrecord"))
    assert shard["bytes_per_target"] == pytest.approx(shard["bytes"] / shard["targets"])
    assert shard["seconds"] > 0
    assert shard["peak_rss_mb"] > 10
    training = metrics(workspace, "train")
    assert training["epochs"] == 2
    assert training["targets_per_second"] > 0
    scores = metrics(workspace, "evaluate")
    assert scores["validation"]["bits_per_sample"] == pytest.approx(
        training["best_validation_bits_per_sample"], abs=1e-3
    )
    for part in ("validation", "test"):
        assert 0 < scores[part]["bits_per_sample"] < 8
        assert 0 <= scores[part]["accuracy"] <= scores[part]["top5_accuracy"] <= 1
    assert 0 <= scores["test"]["calibration_error"] < 0.5
    made = metrics(workspace, "generate")
    assert 0 < made["code_divergence"] <= 1
    assert 0 < made["real_code_divergence"] <= 1
    assert made["distance_ratio"] == pytest.approx(made["distance_db"] / made["distance_limit_db"])
    assert 0 <= made["clips_with_findings"] <= 1
    assert made["findings"] >= 8 * made["clips_with_findings"]
    clip = json.loads((workspace.root / "generated/clips.json").read_text())["01-temperature-1"]
    assert clip["code_divergence"] == pytest.approx(made["code_divergence"])
    assert clip["seconds"] == 0.25
    assert clip["findings"] == "too-short"  # a quarter of a second cannot be judged by its sound
    assert -60 < clip["rms_dbfs"] < clip["peak_dbfs"] < 0
    with open(workspace.root / "metrics/history.csv", encoding="utf-8") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2"]


def test_metrics_are_only_numbers_so_that_their_tables_are_narrow(finished):
    workspace, _ = finished
    files = (workspace.root / "metrics").glob("*.json")
    found = [value for file in files for _, value in flatten(metrics(workspace, file.stem))]
    assert len(found) > 30
    assert {type(value) for value in found} <= {int, float, type(None)}


def test_the_report_and_the_mlflow_run_list_the_recordings(finished):
    workspace, _ = finished
    client, runs = workspace.store()
    run = next(run for run in runs if "recordings.used" in run.data.metrics)
    listed = json.loads((workspace.root / "data/corpus/manifest.json").read_text())["recordings"]
    assert run.data.metrics["recordings.used"] == len(listed)
    table = client.download_artifacts(run.info.run_id, "data/recordings.csv")
    with open(table, encoding="utf-8", newline="") as file:
        assert [row["path"] for row in csv.DictReader(file)] == [recording["path"] for recording in listed]
    assert "Clipped samples" in (workspace.root / "report.html").read_text()


def test_a_rerun_with_nothing_changed_does_nothing(finished):
    workspace, _ = finished
    output = workspace.run("dvc", "repro").stdout
    assert ran(output) == []
    assert changed(workspace) == []


def test_one_pipeline_run_is_one_mlflow_run_with_everything_in_it(finished):
    workspace, _ = finished
    client, runs = workspace.store()
    run = runs[0]
    assert run.info.run_id == json.loads((workspace.root / "models/mlflow.json").read_text())["run_id"]
    assert run.info.status == "FINISHED"
    assert run.data.params["shard.context"] == "64"
    assert run.data.params["train.model.units"] == "12"
    assert run.data.params["generate.temperature"] == "[1.0]"
    first = workspace.run("git", "rev-list", "--max-parents=0", "HEAD").stdout.strip()
    assert run.data.tags["mlflow.source.git.commit"] == first
    manifest = json.loads((workspace.root / "data/shard/manifest.json").read_text())
    assert run.data.tags["data.digest"] == manifest["digest"]
    assert run.inputs.dataset_inputs[0].dataset.digest == manifest["digest"][:32]
    assert run.data.tags["git.dirty"] == "false", "what a pipeline run writes is no change of the code"
    assert run.data.tags["command"] == "dvc repro"
    assert re.fullmatch("[0-9a-f]{64}", run.data.tags["dvc.lock.digest"])
    for name in ("train_loss", "validation_loss", "train_accuracy", "validation_accuracy", "targets_per_second"):
        assert [point.step for point in client.get_metric_history(run.info.run_id, name)][:2] == [1, 2], name
    scores = metrics(workspace, "evaluate")
    assert run.data.metrics["test.bits_per_sample"] == pytest.approx(scores["test"]["bits_per_sample"])
    assert run.data.metrics["generate.samples_per_second"] > 0
    for name in ("distance_db", "distance_limit_db", "distance_ratio", "findings", "clips_with_findings"):
        assert run.data.metrics[f"generate.{name}"] == pytest.approx(metrics(workspace, "generate")[name])

    def artifacts(path):
        return {item.path for item in client.list_artifacts(run.info.run_id, path)}

    assert artifacts("figures") == {f"figures/{name}.png" for name in FIGURES}
    assert artifacts("passages") == {"passages/predicted-best.wav", "passages/predicted-worst.wav"}
    assert "generated/01-temperature-1.wav" in artifacts("generated")
    assert artifacts("generated/real") == {"generated/real/test-split.wav"}
    assert artifacts("report") == {"report/report.html"}
    assert {"model/MLmodel", "model/serving.py", "model/artifacts"} <= artifacts("model")
    versions = client.search_model_versions("name = 'audiornn'")  # others may come from later runs
    assert min(versions, key=lambda version: int(version.version)).run_id == run.info.run_id
    assert set(client.get_registered_model("audiornn").aliases) == {"champion"}
    assert run.info.artifact_uri.startswith((workspace.root / "mlartifacts").as_uri())


def test_the_context_curve_is_metrics_by_context_and_a_plot(finished):
    workspace, _ = finished
    client, runs = workspace.store()
    with open(workspace.root / "metrics/evaluate-context.csv", encoding="utf-8") as file:
        rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    assert [row["context"] for row in rows] == [1, 2, 4, 8, 16, 32, 64, 128]
    assert {row["targets"] for row in rows} == {64}
    for key, column in (("context_bits", "bits_per_sample"), ("context_bits_error", "standard_error")):
        points = client.get_metric_history(runs[0].info.run_id, key)[: len(rows)]
        assert [(point.step, point.value) for point in points] == [(row["context"], row[column]) for row in rows]
    plots = workspace.run("dvc", "plots", "diff", "--json", "--split").stdout
    assert "metrics/evaluate-context.csv" in plots


def test_losses_share_the_update_axis_and_the_time_of_clips_is_logged(finished):
    workspace, _ = finished
    client, runs = workspace.store()
    run_id = runs[0].info.run_id
    by_step = {
        name: [point.step for point in client.get_metric_history(run_id, f"loss/{name}")]
        for name in ("training", "validation")
    }
    steps = metrics(workspace, "train")["steps"]
    assert by_step["validation"] == [steps // 2, steps]
    assert by_step["training"] == list(range(20, steps + 1, 20))
    assert 0 <= runs[0].data.metrics["training_clips.share"] <= 0.05
    assert runs[0].data.metrics["training_clips.count"] == 0, "seconds of training buy no clip"


def test_clips_during_training_are_in_the_run(finished, own_environment, tmp_path, monkeypatch):
    """As in a long training, in which clips of this length may take their time."""
    workspace, _ = finished

    def trained(name, **settings):
        """A copy of the workspace, trained in this process: weights depend on the number of TensorFlow's threads."""
        copy = Workspace(tmp_path / name)
        shutil.copytree(workspace.root, copy.root, ignore=shutil.ignore_patterns(".dvc", ".git", "mlruns", "mlflow.db"))
        for setting, value in settings.items():
            monkeypatch.setattr(training_clips, setting, value)
        monkeypatch.setattr(train, "WORKSPACE", copy.root)
        monkeypatch.chdir(copy.root)
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)  # which a training before this one has set
        train.main(params.load())
        return copy

    unheard, heard = trained("unheard"), trained("heard", FIRST=0, MEASURED=0, SHARE=100, SECONDS=0.1)
    _, [silent] = unheard.store()
    assert silent.data.metrics["training_clips.count"] == 0
    client, [run] = heard.store()
    assert run.data.metrics["training_clips.count"] == 3
    assert run.data.metrics["training_clips.seconds"] > 0
    steps = json.loads((heard.root / "metrics/train.json").read_text())["steps"]
    files = {item.path for item in client.list_artifacts(run.info.run_id, "training_clips")}
    assert files == {f"training_clips/step-{n:07d}.{kind}" for n in (2, steps // 2, steps) for kind in ("png", "wav")}
    weights = "models/model.weights.h5"
    assert (heard.root / weights).read_bytes() == (unheard.root / weights).read_bytes(), "unheard, it learned the same"


def test_a_run_is_one_page(finished):
    workspace, _ = finished
    text = (workspace.root / "report.html").read_text(encoding="utf-8")
    assert len(text) < 5e6
    run_id = json.loads((workspace.root / "models/mlflow.json").read_text())["run_id"]
    commit = workspace.run("git", "rev-list", "--max-parents=0", "HEAD").stdout.strip()
    scores = metrics(workspace, "evaluate")["test"]
    for part in (run_id, f"git checkout {commit}", "dvc repro", f"{scores['bits_per_sample']:.3f} bits per sample"):
        assert part in text, part
    assert text.count("<audio ") == 1 + 1 + 2  # real, generated, best and worst
    assert "too short to judge" in text
    assert "<td><code>64</code></td>" in text
    assert not re.search("https?://", text)


def test_a_trained_model_loads_and_predicts(finished):
    import audiornn

    workspace, _ = finished
    model = audiornn.load(workspace.root / "models")
    assert model.codec == CodecSettings(sample_rate=8000, highpass_hz=20.0, preemphasis=0.95, codes=256)
    assert model.window == TrainingWindow(context=64, targets_per_window=256)
    assert model(np.full([1, 10], 128, np.uint8)).shape == (1, 10, 256)


def test_another_temperature_only_generates_and_stays_in_the_run(finished):
    workspace, _ = finished
    before = len(workspace.store()[1])
    run_id = json.loads((workspace.root / "models/mlflow.json").read_text())["run_id"]
    workspace.set(generate={"temperature": [0.5, 1.5]})
    assert changed(workspace) == ["generate", "report"]
    assert ran(workspace.run("dvc", "repro").stdout) == ["generate", "report"]
    client, runs = workspace.store()
    assert len(runs) == before
    clips = {item.path for item in client.list_artifacts(run_id, "generated")}
    assert {"generated/01-temperature-0.5.wav", "generated/02-temperature-1.5.wav"} <= clips
    # Going back takes the results from DVC's cache.
    workspace.set(generate={"temperature": 1.0})
    assert ran(workspace.run("dvc", "repro").stdout) == []
    assert [path.name for path in (workspace.root / "generated").glob("*.wav")] == ["01-temperature-1.wav"]


def test_a_parameter_error_stops_the_pipeline_in_one_line_and_loses_nothing(finished):
    workspace, _ = finished
    kept = (workspace.root / "params.yaml").read_text()
    weights = (workspace.root / "models/model.weights.h5").read_bytes()
    workspace.set(shard={"contxt": 3})
    done = workspace.run("dvc", "repro", check=False)
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert lines == ["error: params.yaml: unknown key shard.contxt (value 3); did you mean shard.context?"]
    assert "Traceback" not in done.stdout + done.stderr
    (workspace.root / "params.yaml").write_text(kept)
    assert ran(workspace.run("dvc", "repro").stdout) == []
    assert (workspace.root / "models/model.weights.h5").read_bytes() == weights


def test_a_context_longer_than_any_recording_is_named(finished):
    workspace, _ = finished
    kept = (workspace.root / "params.yaml").read_text()
    workspace.set(shard={"context": 10_000_000})
    done = workspace.run("dvc", "repro", "shard", check=False)
    assert done.returncode != 0
    assert re.search(
        r"^error: .*shard\.context is 10000000 codes, but the longest recording has \d+", done.stderr, re.M
    )
    (workspace.root / "params.yaml").write_text(kept)
    assert ran(workspace.run("dvc", "repro").stdout) == []
