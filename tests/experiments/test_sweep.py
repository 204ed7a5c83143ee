"""Named experiments: what a file may hold, which settings it means, and what a sweep leaves behind."""

import io
import json
import shutil
import subprocess
from pathlib import Path

import mlflow
import numpy as np
import pytest
import soundfile as sf
import yaml
from mlflow.artifacts import download_artifacts, load_text

from audiornn import cli
from audiornn.common.errors import AudioRNNError
from audiornn.experiments import definition, dvc, plan
from audiornn.experiments import sweep as sweep_module
from audiornn.models.registry import REGISTRY
from audiornn.tracking import store, tags
from audiornn.tracking.runs import pipeline_run

PROJECT = Path(__file__).parents[2]


class Failing:
    """A runner that fails."""

    def __init__(self, message):
        self.message = message

    def run(self, setting, parent, **variables):
        raise AudioRNNError(self.message)


@pytest.fixture
def workspace(tmp_path):
    """A folder with the project's params.yaml, and a way to write an experiment there."""
    shutil.copy(PROJECT / "params.yaml", tmp_path)
    (tmp_path / "experiments").mkdir()

    def write(name, **content):
        (tmp_path / "experiments" / f"{name}.yaml").write_text(yaml.safe_dump({"description": "What for?"} | content))
        return tmp_path

    return write


def test_the_experiments_of_the_project_are_valid():
    found = definition.list_experiments(PROJECT / "experiments")
    named = {"context", "hour", "hour-models", "models", "music", "original", "sixty-seconds", "ten-minutes"}
    assert named <= found.keys() and all(found[name].takes for name in named)
    plans = {name: plan.plan(name, workspace=PROJECT) for name in found}
    assert [setting.params.shard.context for setting in plans["context"]] == [128, 512, 1000, 4000]
    assert [setting.params.train.model.name for setting in plans["models"]] == list(REGISTRY)
    music = {(each.params.corpus.synthetic, each.params.resample.sample_rate) for each in plans["music"]}
    assert music == {("music", 16_000)}
    for name, minutes in (("ten-minutes", [10, 30]), ("music", [10, 60])):
        assert [setting.params.train.minutes for setting in plans[name]] == minutes
    original = {(each.params.train.objective, each.params.shard.targets_per_window) for each in plans["original"]}
    assert original == {("window", 1)}
    settings = [(each.params.train.clip_norm, each.params.train.optimizer) for each in plans["original"]]
    assert settings == [(1e9, "rmsprop"), (1e9, "adam"), (1.0, "rmsprop"), (1.0, "adam")]
    assert len(plans["hour"]) == 12 and {setting.seed for setting in plans["hour"]} == {0, 1, 2}
    assert len(plans["hour-models"]) == len(REGISTRY)
    in_updates = {"context", "models", "hour", "hour-models", "original"}
    assert all(setting.params.train.minutes <= 120 for name in named - in_updates for setting in plans[name])


def test_recordings_that_are_not_there_are_named_before_anything_runs(workspace):
    root = workspace("one", set={"corpus.path": "recordings/none"})
    with pytest.raises(AudioRNNError, match=r"corpus.path is 'recordings/none', which does not exist: experiments/one"):
        sweep_module.run("one", [], root, runner=Failing("it ran"))


def test_how_long_an_experiment_takes_is_said_before_it_starts_and_in_the_list(workspace, monkeypatch, capsys):
    root = workspace("one", takes="a week")
    workspace("two")
    (root / "experiments/one.yaml").rename(root / "experiments/first.yaml")
    with pytest.raises(AudioRNNError, match="it failed"):
        sweep_module.run("first", [], root, runner=Failing("it failed"))
    assert capsys.readouterr().out == "first: What for?\none training; on 2 cores, without further options: a week\n"
    monkeypatch.chdir(root)
    cli.main(["experiment"])
    assert capsys.readouterr().out.splitlines() == ["first         What for? (a week)", "two           What for?"]


def test_a_sweep_has_every_combination_of_its_values(workspace):
    root = workspace(
        "grid",
        set={"train.epochs": 3, "train.model": {"name": "linear"}},
        sweep={"shard.context": [64, 128], "train.learning_rate": [0.01, 0.001]},
    )
    planned = plan.plan("grid", ["train.seed=5", "shard.context=32,16,8"], root)
    assert [setting.varied for setting in planned[:3]] == [
        {"shard.context": 32, "train.learning_rate": 0.01},
        {"shard.context": 32, "train.learning_rate": 0.001},
        {"shard.context": 16, "train.learning_rate": 0.01},
    ]
    assert len(planned) == len({setting.name for setting in planned}) == 6
    assert planned[1].label == "shard.context=32 train.learning_rate=0.001"
    assert planned[1].name.startswith("grid-context32-learning-rate0.001-")
    p = planned[1].params
    assert (p.shard.context, p.train.learning_rate, p.train.epochs, p.train.seed) == (32, 0.001, 3, 5)
    assert p.train.model.name == "linear"
    assert set(planned[1].overrides) == {
        "shard.context=32",
        "train.learning_rate=0.001",
        "train.epochs=3",
        "train.seed=5",
        "train.model.name=linear",
    }


def test_a_section_as_value_replaces_the_section(workspace):
    root = workspace("other", settings={"a": {"train.model": {"name": "linear"}}, "b": {"train.epochs": 2}})
    params = yaml.safe_load((root / "params.yaml").read_text())
    params["train"]["model"] = {"name": "audiornn", "units": 7}
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    a, b = plan.plan("other", workspace=root)
    assert a.params.train.model.sizes == {}
    assert set(a.overrides) == {"train.model.name=linear", "~train.model.units"}
    assert b.params.train.model.sizes == {"units": 7}
    assert (a.label, b.label) == ("a", "b")


@pytest.mark.parametrize(
    ("content", "given", "said"),
    [
        ({"swep": {}}, [], "unknown key swep (value {}); did you mean sweep?"),
        ({"description": ""}, [], "description is '', but must have at least 1 character"),
        ({"sweep": {"shard.context": 3}}, [], "sweep.shard.context is 3, but must be a valid list"),
        ({"sweep": {"shard.context": []}}, [], "sweep.shard.context is []"),
        ({"sweep": {"a.b": [1]}, "settings": {"c": {}}}, [], "sweep and settings are both given"),
        ({"sweep": {"shard.context": [1]}, "set": {"shard.context": 2}}, [], "shard.context is also in set"),
        ({"set": {"a..b": 1}}, [], "must have keys such as shard.context, not 'a..b'"),
        ({"set": {"shard.contxt": 1}}, [], "unknown key shard.contxt (value 1); did you mean shard.context?"),
        ({"sweep": {"shard.context": [1, 0]}}, [], "shard.context is 0, but must be greater than or equal to 1"),
        ({"set": {"shard.context.x": 1}}, [], "shard.context.x: context is not a section, but 1000"),
        ({"set": {"train.model": {"name": "linear", "unts": 1}}}, [], "train.model: unknown key unts (value 1)"),
        ({}, ["train.epochs"], "-S train.epochs: must be KEY=VALUE"),
        ({}, ["train.epochs=["], "-S train.epochs=[: not readable as YAML"),
        ({}, ["train.epochs=two"], "train.epochs is 'two'"),
        ({"repeat": 0}, [], "repeat is 0, but must be greater than or equal to 1"),
        ({"repeat": 2, "sweep": {"train.seed": [1]}}, [], "train.seed must not vary by itself"),
        ({"repeat": 2, "seeds": ["train.sed"]}, [], "seeds.0 is 'train.sed', but must be 'corpus.seed'"),
        ({"search": {"train.epochs": {"low": 1, "high": 3}}}, [], "search and trials must be given together"),
        ({"trials": 3}, [], "search and trials must be given together"),
        ({"search": {"train.epochs": {"low": 3, "high": 3}}, "trials": 1}, [], "low is 3, but must be below high, 3"),
        ({"search": {"train.epochs": True}, "trials": 1}, [], "search.train.epochs is True, but must be a section"),
        ({"search": {"train.epochs": {"lo": 3}}, "trials": 1}, [], "unknown key search.train.epochs.lo (value 3); did"),
        ({"search": {"train.epochs": {"low": 3}}, "trials": 1}, [], "low and high, or choice, must be given"),
        ({"search": {"train.ema": {"low": 0, "high": 1, "log": True}}, "trials": 1}, [], "low must be above 0"),
        ({"search": {"train.epochs": {"low": 0, "high": 3}}, "trials": 1}, [], "train.epochs is 0, but must be"),
        ({"search": {"train.optimizer": {"choice": ["adam", "adm"]}}, "trials": 1}, [], "train.optimizer is 'adm'"),
        ({"settings": {"a": {"train.epochs": 1}}}, ["train.epochs=2"], "wrong itself varies train.epochs"),
    ],
)
def test_errors_are_reported_before_anything_runs(workspace, content, given, said):
    root = workspace("wrong", **content)
    with pytest.raises(AudioRNNError) as error:
        sweep_module.run("wrong", given, root, runner=Failing("it ran"))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_recordings_that_git_does_not_know_are_named_by_their_absolute_path(workspace):
    root = workspace("one")
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    (root / "recordings").mkdir()
    (root / "recordings/.gitkeep").touch()
    subprocess.run(["git", "add", "recordings"], cwd=root, check=True)
    outside = root.parent / "outside"
    outside.mkdir()

    def path(*given):
        (setting,) = plan.plan("one", given, root)
        return setting.params.corpus.path

    assert path() == "recordings", "none of one's own"
    (root / "recordings/a.wav").touch()
    assert path() == str(root / "recordings")
    assert path("corpus.path=../outside") == str(outside)
    assert path(f"corpus.path={outside}") == str(outside)


def test_an_unknown_experiment_names_the_nearest(workspace):
    with pytest.raises(AudioRNNError, match=r"contxt\.yaml: no such experiment; did you mean context\?"):
        plan.plan("contxt", workspace=workspace("context"))


class Fake:
    """Does in MLflow what the stages do, and notes which settings it ran; `fails` names those that fail."""

    def __init__(self, root, fails=(), interrupts=None):
        self.root, self.fails, self.interrupts = root, fails, interrupts
        self.ran, self.cache = [], {}
        self.distances = {4: 6.0, 8: 3.0}  # in dB by context
        self.noise = 0.0  # bits that each seed adds

    def run(self, setting, parent, **variables):
        self.ran.append(setting.label)
        if setting.label in self.fails:
            raise AudioRNNError("exit code 255 of dvc")
        if setting.label == self.interrupts:
            raise KeyboardInterrupt
        context = setting.params.shard.context
        if setting.name not in self.cache:
            with pipeline_run(self.root, {}, {tags.PARENT_TAG: parent} if parent else {}, setting.name) as log:
                self.cache[setting.name] = log.run_id
        bits = 4 + 1 / context + self.noise * (setting.params.train.seed % 3)
        scores = {"bits_per_sample": bits, "accuracy": 0.2}
        return dvc.SettingResult(
            self.cache[setting.name],
            {
                "evaluate": {"validation": scores, "test": scores},
                "train": {"parameters": 10, "training_seconds": 60.0 * context, "targets_per_second": 5.0},
                "generate": {
                    "samples_per_second": 1000.5,
                    "distance_db": self.distances.get(context, 4.0),
                    "distance_limit_db": 8.0,
                    "distance_ratio": self.distances.get(context, 4.0) / 8,
                    "findings": 2,
                    "clips_with_findings": 0.25,
                },
            },
        )

    def read(self, name, path):
        """What the generate stage leaves: one clip, and a second that is the same everywhere."""
        if path.endswith(".json"):
            clip = {"findings": "none", "advice": "", "seed": 0}
            return json.dumps({"01": clip | {"prompt": "a"}, "02": clip | {"prompt": name}}).encode()
        held = io.BytesIO()
        sf.write(held, 0.3 * np.sin(np.arange(800) / 5), 8000, format="WAV")
        return held.getvalue()


@pytest.fixture
def sweep(workspace, empty_store):
    return workspace("context", sweep={"shard.context": [4, 8, 16]})


def parent_and_children(root):
    client = mlflow.MlflowClient(store.store(root))
    runs = client.search_runs([client.get_experiment_by_name("audiornn").experiment_id])
    (parent,) = [run for run in runs if "sweep.identity" in run.data.tags]
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    return parent, children


@pytest.mark.slow
def test_a_sweep_is_a_parent_run_with_one_child_per_setting_and_a_summary(sweep, capsys):
    sweep_module.run("context", [], sweep, Fake(sweep))
    parent, children = parent_and_children(sweep)
    assert (parent.info.status, len(children)) == ("FINISHED", 3)
    assert parent.data.tags["mlflow.note.content"].startswith("What for?\n\nBest: shard.context=16, with 4.0625 bits")
    assert parent.data.metrics["best.validation_bits_per_sample"] == 4.0625
    assert parent.data.metrics["best.distance_ratio"] == 0.375
    told = capsys.readouterr().out.splitlines()
    assert "best by bits: shard.context=16, 4.062 bits per sample on validation" in told
    assert (
        "best by sound: shard.context=8, 0.38 times the distance limit of real audio, 25% of clips with findings"
    ) in told
    client = mlflow.MlflowClient()
    shown = client.load_table(parent.info.experiment_id, "summary.json", [parent.info.run_id])
    assert shown["shard.context"].tolist() == [4, 8, 16]
    assert shown["validation_bits_per_sample"].tolist() == [4.25, 4.125, 4.0625]
    assert shown["training_seconds"].tolist() == [240, 480, 960]
    assert set(shown["run"]) == {child.info.run_id for child in children}
    assert load_text(f"{parent.info.artifact_uri}/summary.csv").splitlines()[0] == (
        "shard.context,validation_bits_per_sample,test_bits_per_sample,test_accuracy,distance_ratio,distance_db,"
        "distance_limit_db,findings,clips_with_findings,parameters,training_seconds,targets_per_second,"
        "samples_per_second,run"
    )
    markdown = load_text(f"{parent.info.artifact_uri}/summary.md").splitlines()
    assert markdown[2].startswith(
        "| 4 | 4.2500 | 4.2500 | 0.2000 | 0.7500 | 6.0000 | 8.0000 | 2 | 0.2500 | 10 | 240 | 5.0000 | 1000 | "
    )
    picture = Path(download_artifacts(f"{parent.info.artifact_uri}/sweep.png"))
    assert picture.read_bytes().startswith(b"\x89PNG")
    concluded = (
        "Best: shard.context=16, with 4.0625 bits per sample on validation. "
        "The next, shard.context=8, needs 0.0625 bits more, which may be chance: each has one seed. "
        "Each is scored on its own targets, which depend on shard.context: small differences say little. "
        "Training it took 960 s, the next 480 s; all 3 finished trainings 1,680 s."
    )
    assert concluded in told and markdown[-1] == concluded
    assert told[-1] == f"listen to all settings: {sweep / 'comparisons/context.html'}"
    page = Path(download_artifacts(f"{parent.info.artifact_uri}/context.html")).read_text()
    assert page == (sweep / "comparisons/context.html").read_text()
    assert page.count("<audio") == 3 * 2 + 1 and concluded in page


def test_repeats_differ_in_the_seed_of_training_alone_unless_the_file_says_more(workspace):
    root = workspace("twice", sweep={"shard.context": [4, 8]}, repeat=2, set={"train.seed": 5})
    planned = plan.plan("twice", workspace=root)
    assert [setting.label for setting in planned[:2]] == ["shard.context=4 seed=5", "shard.context=4 seed=6"]
    assert planned[1].name.startswith("twice-4-seed6-")
    first, second = (setting.params.model_dump() for setting in planned[:2])
    assert second.pop("train") == first.pop("train") | {"seed": 6}
    assert first == second, "data are the same"
    root = workspace("twice", repeat=3, seeds=["train.seed", "shard.seed"])
    planned = plan.plan("twice", workspace=root)
    assert [(s.params.train.seed, s.params.shard.seed, s.params.corpus.seed) for s in planned] == [
        (0, 0, 0),
        (1, 1, 0),
        (2, 2, 0),
    ]
    assert len(plan.plan("twice", workspace=root, repeat=4)) == 4
    assert plan.plan("twice", workspace=root, repeat=1)[0].seed is None


@pytest.mark.slow
def test_a_repeated_sweep_has_means_with_errors_and_children_by_setting_and_seed(sweep, capsys):
    fake = Fake(sweep)
    fake.noise = 0.03
    sweep_module.run("context", ["shard.context=8,16"], sweep, fake, repeat=3)
    parent, children = parent_and_children(sweep)
    assert {child.info.run_name.rsplit("-", 1)[0] for child in children} == {
        f"context-{context}-seed{seed}" for context in (8, 16) for seed in range(3)
    }
    shown = mlflow.MlflowClient().load_table(parent.info.experiment_id, "summary.json", [parent.info.run_id])
    assert shown["seeds"].tolist() == [3, 3]
    assert shown["validation_bits_per_sample"].tolist() == pytest.approx([4.155, 4.0925])
    assert shown["validation_bits_per_sample_se"].tolist() == pytest.approx([0.03 / 3**0.5] * 2)
    runs = load_text(f"{parent.info.artifact_uri}/runs.csv").splitlines()
    assert len(runs) == 7 and runs[0].startswith("seed,shard.context,validation_bits_per_sample,")
    told = capsys.readouterr().out
    assert "| 8 | 3 | 4.1550 ± 0.0173 |" in told
    assert "Best: shard.context=16, with 4.0925 ± 0.0173 bits per sample on validation (mean of 3 seeds ± " in told
    assert "The next, shard.context=8, needs 0.0625 ± 0.0245 bits more: more than twice the error" in told
    fake.noise = 0.06
    sweep_module.run("context", ["shard.context=8,16"], sweep, fake, repeat=3)
    assert (
        "No clear difference from shard.context=8: the next needs 0.0625 ± 0.0490 bits more, at most"
        in capsys.readouterr().out
    )


@pytest.mark.slow
def test_a_setting_that_fails_does_not_lose_the_others(sweep):
    with pytest.raises(AudioRNNError) as error:
        sweep_module.run("context", [], sweep, Fake(sweep, fails=["shard.context=8"]))
    assert str(error.value).splitlines() == [
        "context: 1 of 3 settings failed",
        "context: shard.context=8 failed: exit code 255 of dvc",
    ]
    parent, children = parent_and_children(sweep)
    assert (parent.info.status, len(children)) == ("FAILED", 2)
    assert "| 8 |  |  |  |  |  |  |  |  |  |  |  |  | failed |" in load_text(f"{parent.info.artifact_uri}/summary.md")


def test_a_sweep_of_which_every_setting_fails_says_so_and_leaves_a_page(sweep):
    with pytest.raises(AudioRNNError, match="context: 3 of 3 settings failed"):
        sweep_module.run("context", [], sweep, Fake(sweep, fails=[f"shard.context={n}" for n in (4, 8, 16)]))
    assert "No setting has a result." in (sweep / "comparisons/context.html").read_text()


@pytest.mark.slow
def test_an_interrupted_sweep_resumes_under_the_same_parent(sweep):
    fake = Fake(sweep, interrupts="shard.context=16")
    with pytest.raises(KeyboardInterrupt):
        sweep_module.run("context", [], sweep, fake)
    parent, children = parent_and_children(sweep)
    assert (parent.info.status, len(children)) == ("KILLED", 2)
    table = [line for line in load_text(f"{parent.info.artifact_uri}/summary.md").splitlines() if line.startswith("|")]
    assert len(table) == 4, "the summary of what was done"
    fake.interrupts = None
    sweep_module.run("context", [], sweep, fake)
    again, children = parent_and_children(sweep)
    assert (again.info.run_id, again.info.status, len(children)) == (parent.info.run_id, "FINISHED", 3)
    shown = mlflow.MlflowClient().load_table(again.info.experiment_id, "summary.json", [again.info.run_id])
    assert shown["shard.context"].tolist() == [4, 8, 16], "rows are replaced, not repeated"


@pytest.mark.slow
def test_an_existing_run_becomes_a_child_or_is_copied_if_it_has_a_parent(sweep, workspace):
    fake = Fake(sweep)
    sweep_module.run("context", [], sweep, fake)
    workspace("alone", set={"shard.context": 32})
    sweep_module.run("alone", [], sweep, fake)  # no sweep, no parent
    workspace("more", sweep={"shard.context": [16, 32]})
    for setting in plan.plan("more", workspace=sweep):  # DVC would know them by their parameters
        same = [s for s in fake.cache if s.split("-")[-1] == setting.name.split("-")[-1]]
        fake.cache[setting.name] = fake.cache[same[0]]
    for _ in range(2):
        sweep_module.run("more", [], sweep, fake)
        client = mlflow.MlflowClient()
        runs = client.search_runs([client.get_experiment_by_name("audiornn").experiment_id])
        (parent,) = [run for run in runs if run.info.run_name == "more"]
        children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
        (copied,) = [run for run in children if "taken_from_run" in run.data.tags]
        (adopted,) = [run for run in children if run is not copied]
        names = {name.rsplit("-", 1)[0]: run_id for name, run_id in fake.cache.items()}
        assert copied.data.tags["taken_from_run"] == names["context-16"]
        assert adopted.info.run_id == names["alone"]
        assert copied.data.params["shard.context"] == "16"
        assert copied.data.metrics["validation_bits_per_sample"] == 4.0625
