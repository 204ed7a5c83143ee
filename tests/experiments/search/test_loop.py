"""Searches: which trials there are, what becomes of killed, failed and hopeless ones, and what is left behind."""

import mlflow
import pytest
import yaml
from mlflow.artifacts import load_text
from optuna.trial import TrialState

from audiornn.common.digests import digest
from audiornn.common.errors import AudioRNNError
from audiornn.common.files import locked
from audiornn.experiments import dvc, plan, summary
from audiornn.experiments import sweep as sweep_module
from audiornn.experiments.search import loop
from audiornn.experiments.search.space import Space
from audiornn.tracking import store, trials

SEARCH = {
    "train.learning_rate": {"low": 0.0005, "high": 0.02, "log": True},
    "shard.context": {"low": 16, "high": 64, "step": 16},
    "train.model": {"choice": [{"name": "linear"}, {"name": "samplernn", "units": 8}]},
}


class Fake:
    """Gives each trial bits that follow from its parameters, and reports validations as the train stage does.

    Parameters
    ----------
    killed, failing, hopeless, promising
        Which calls, counted from 0, are interrupted, fail, or report worse or better losses than all others.
    """

    def __init__(self, killed=(), failing=(), hopeless=(), promising=()):
        self.killed, self.failing, self.hopeless, self.promising = killed, failing, hopeless, promising
        self.settings, self.validations = [], []

    def run(self, setting, parent, **variables):
        call = len(self.settings)
        self.settings.append(setting)
        if call in self.killed:
            raise KeyboardInterrupt
        if call in self.failing:
            raise AudioRNNError("exit code 255 of dvc")
        p = setting.params
        bits = 4 + abs(p.train.learning_rate - 0.004) * 10 + p.shard.context / 1000
        bits += 3 * (call in self.hopeless) - 3 * (call in self.promising)
        self._train(bits, variables)
        metrics = {"evaluate": {"validation": {"bits_per_sample": bits, "accuracy": 0.1}}}
        metrics["evaluate"]["test"] = metrics["evaluate"]["validation"]
        metrics["train"] = {"parameters": 1, "training_seconds": 10.0, "targets_per_second": 5.0}
        metrics["generate"] = dict.fromkeys(summary.COLUMNS, 0.5)
        return dvc.SettingResult(digest(setting.name)[:32], metrics)

    def _train(self, bits, variables):
        """Three validations, after which DVC says that the stage failed, if it was pruned."""
        self.validations.append(0)
        with pytest.MonkeyPatch.context() as patch:
            for name, value in variables.items():
                patch.setenv(name, value)
            trial = trials.current_trial()
        for step in range(1, 4):
            self.validations[-1] = step
            try:
                if trial:
                    trial.report(bits + 1 / step, step, f"epoch {step}")
            except trials.Pruned:
                raise AudioRNNError("exit code 255 of dvc") from None

    def read(self, name, path):
        raise AudioRNNError(f"{path}: gone")


@pytest.fixture
def begun(tmp_path, empty_store, monkeypatch):
    """A workspace, and a way to run a search there; returns trials of its study."""
    monkeypatch.setattr(loop, "RANDOM_TRIALS", 3)
    (tmp_path / "params.yaml").touch()
    (tmp_path / "experiments").mkdir()

    def run(fake, count, name="find", **more):
        content = {"description": "What is best?", "search": SEARCH, "trials": count} | more
        (tmp_path / f"experiments/{name}.yaml").write_text(yaml.safe_dump(content))
        sweep_module.run(name, [], tmp_path, fake)
        return study(name)

    def study(name="find"):
        (place,) = tmp_path.glob(f".audiornn/searches/{name}-*.db")
        return trials.open_study(place).trials

    run.study, run.root = study, tmp_path
    return run


def parents(root):
    client = mlflow.MlflowClient(store.store(root))
    runs = client.search_runs([client.get_experiment_by_name("audiornn").experiment_id])
    return [run for run in runs if "sweep.identity" in run.data.tags], runs


def chosen(fake):
    return [(s.params.train.learning_rate, s.params.shard.context, s.params.train.model.name) for s in fake.settings]


@pytest.mark.slow
def test_a_search_that_was_killed_resumes_and_finds_the_same_as_one_that_was_not(begun):
    first = Fake(killed=[3])
    with pytest.raises(KeyboardInterrupt):
        begun(first, 4)
    assert [trial.state.name for trial in begun.study()] == ["COMPLETE"] * 3 + ["FAIL", "WAITING"]
    rest = Fake()
    found = begun(rest, 5)
    assert len(rest.settings) == 2, "finished trials are not run again, and further ones continue from those before"
    assert chosen(first)[3] == chosen(rest)[0], "what the killed one tried is tried again"
    assert [trial.state.name for trial in found] == ["COMPLETE"] * 3 + ["FAIL"] + ["COMPLETE"] * 2
    assert found[3].user_attrs["failure"] == "killed"
    ((parent,), _) = parents(begun.root)
    assert (parent.info.run_name, parent.info.status) == ("find", "FINISHED")
    for file in begun.root.glob(".audiornn/searches/*"):
        file.unlink()
    whole = Fake()
    begun(whole, 5)
    assert chosen(whole) == chosen(first)[:3] + chosen(rest)


@pytest.mark.slow
def test_while_the_store_is_away_no_trial_is_used_up(begun, monkeypatch):
    fake = Fake()
    client_of = store.client_of

    def away_after_the_first(workspace):
        if fake.settings:
            raise store.StoreError("tracking server: not available")
        return client_of(workspace)

    with monkeypatch.context() as patch:
        patch.setattr(store, "client_of", away_after_the_first)
        with pytest.raises(store.StoreError):
            begun(fake, 3)
    assert [trial.state.name for trial in begun.study()] == ["COMPLETE"]
    assert [trial.state.name for trial in begun(Fake(), 3)] == ["COMPLETE"] * 3


@pytest.mark.slow
def test_a_study_whose_process_died_is_closed_by_the_next(begun):
    begun(Fake(), 1)
    (place,) = begun.root.glob(".audiornn/searches/*.db")
    study = trials.open_study(place)
    left = study.ask(Space(plan.read_experiment("find", workspace=begun.root)).distributions())
    (_, state, waiting) = (lambda: loop.close_killed(study) or study.trials)()
    assert (state.state, waiting.state) == (TrialState.FAIL, TrialState.WAITING)
    assert waiting.system_attrs["fixed_params"] == left.params


@pytest.mark.slow
def test_hopeless_and_failing_trials_end_and_the_search_goes_on(begun, capsys, monkeypatch):
    monkeypatch.setattr(trials, "COMPLETE_FIRST", 3)
    fake = Fake(hopeless=[3], failing=[4], promising=[5])
    with pytest.raises(AudioRNNError) as error:
        begun(fake, 6)
    assert str(error.value).splitlines() == ["find: 1 of 6 trials failed", "find: trial 4 failed: exit code 255 of dvc"]
    found = begun.study()
    assert [trial.state.name for trial in found] == ["COMPLETE"] * 3 + ["PRUNED", "FAIL", "COMPLETE"]
    assert fake.validations[3] == 2, "the first validation alone prunes nothing"
    assert found[3].user_attrs["pruned"].startswith("after epoch 2 at ")
    assert list(found[5].intermediate_values) == [1, 2, 3]
    (parent,), _ = parents(begun.root)
    text = load_text(f"{parent.info.artifact_uri}/summary.md")
    assert "| pruned after epoch 2 at" in text and "| failed |" in text
    assert "Of 6 trials 1 were pruned, and 1 failed." in text
    assert "pruned after epoch 2 at" in capsys.readouterr().out
    careful = Fake(hopeless=[3])
    found = begun(careful, 4, "careful", prune=False)
    assert [trial.state.name for trial in found] == ["COMPLETE"] * 4, "prune: false"


@pytest.mark.slow
def test_a_search_leaves_importances_a_figure_its_best_command_and_a_page(begun, capsys):
    fake = Fake()
    begun(fake, 5)
    (parent,), runs = parents(begun.root)
    assert parent.info.status == "FINISHED"
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert {child.info.run_name.rsplit("-", 1)[0] for child in children} == {f"find-trial{i}" for i in range(5)}
    shares = {key.removeprefix("importance."): v for key, v in parent.data.metrics.items() if "importance" in key}
    assert set(shares) == set(SEARCH) and sum(shares.values()) == pytest.approx(1)
    client = mlflow.MlflowClient()
    artifacts = {file.path for file in client.list_artifacts(parent.info.run_id)}
    assert {"summary.csv", "summary.md", "summary.json", "search.png", "find.html"} <= artifacts
    shown = client.load_table(parent.info.experiment_id, "summary.json", [parent.info.run_id])
    best = int(shown["validation_bits_per_sample"].argmin())
    told = capsys.readouterr().out
    rate, context, _ = chosen(fake)[best]
    (command,) = [line for line in told.splitlines() if line.startswith("to rerun the best trial: dvc exp run -S ")]
    assert f"train.learning_rate={rate} " in command and f"shard.context={context} " in command
    assert "--name" not in command, "DVC would refuse the name of an experiment that there is"
    assert f"Best: trial={best} shard.context={context} train.learning_rate={rate} " in told and "Importances: " in told
    page = (begun.root / "comparisons/find.html").read_text()
    assert page.count("generated/clips.json: gone") == 5, "clips that are not there are said to be missing"


def test_drawn_values_are_within_their_ranges_and_of_the_types_of_the_file(begun):
    (begun.root / "experiments/find.yaml").write_text(
        yaml.safe_dump(
            {"description": "d", "search": SEARCH | {"train.ema": {"low": 0.12344, "high": 0.2}}, "trials": 1}
        )
    )
    space = Space(plan.read_experiment("find", workspace=begun.root))
    drawn = {"train.learning_rate": 0.00123456, "shard.context": 32, "train.ema": 0.123441}
    assert space.values(drawn | {"train.model": '{"name":"linear"}'}) == {
        "train.learning_rate": 0.001235,
        "shard.context": 32,
        "train.ema": 0.12344,
        "train.model": {"name": "linear"},
    }
    described = {key: each.describe() for key, each in space.ranges.items()}
    assert described["train.learning_rate"] == "from 0.0005 to 0.02 on a logarithmic scale"
    assert described["shard.context"] == "whole numbers from 16 to 64 in steps of 16"
    assert space.distributions()["train.learning_rate"].log


@pytest.mark.slow
def test_a_search_is_run_by_one_process_at_a_time_and_a_broken_study_is_named(begun):
    begun(Fake(), 1)
    (place,) = begun.root.glob(".audiornn/searches/*.db")
    with locked(place.with_suffix(".lock")), pytest.raises(AudioRNNError, match="held by another process"):
        begun(Fake(), 1)
    place.write_text("no database " * 100)
    with pytest.raises(AudioRNNError, match=r"\.db: not readable as a study of Optuna"):
        begun(Fake(), 1)


def test_outside_a_search_a_training_reports_to_nobody(monkeypatch):
    monkeypatch.delenv(trials.STUDY, raising=False)
    assert trials.current_trial() is None
