"""Search: settings chosen by Optuna from ranges, each one a trial: a DVC experiment, and a child of one MLflow run.

    search:
      train.learning_rate: {low: 0.0005, high: 0.02, log: true}
      train.model.units: {low: 64, high: 512}
      train.optimizer: {choice: [adamw, adam]}
    trials: 20

The next trial follows from those before it and from its number alone, so that a search that was interrupted finds the
same as one that was not.
"""

import shlex
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiornn.common.digests import digest
from audiornn.common.errors import AudioRNNError, one_line
from audiornn.common.files import locked, slug
from audiornn.experiments import comparison_page, summary
from audiornn.experiments.definition import Range
from audiornn.experiments.dvc import Runner, options
from audiornn.experiments.figure import parallel_coordinates
from audiornn.experiments.plan import Common, Setting, format_value
from audiornn.experiments.summary import VALIDATION_BITS, Case

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

    from audiornn.tracking.sweeps import Sweep

FOLDER = Path(".audiornn/searches")  # in the workspace
RANDOM_TRIALS = 8  # that are drawn at random before the sampler learns from those before
DIGITS = 4  # significant digits of a number that was drawn
ROW, FAILURE, KILLED = "row", "failure", "killed"  # user attributes of trials, and a value of the second
MIN_IMPORTANCES = 4  # complete trials without which nothing is said about importances


class Space:
    """The settings that a search can choose; `first` is one of them.

    Raises
    ------
    AudioRNNError
        If an end of a range, or a value of a choice, is not valid; one line per problem.
    """

    def __init__(self, shared: Common) -> None:
        self.shared = shared
        self.ranges: dict[str, Range] = shared.experiment.search or {}
        first = {key: found.ends[0] for key, found in self.ranges.items()}
        problems = dict[str, None]()
        for key, found in self.ranges.items():
            for value in found.ends:
                try:
                    self.setting({**first, key: value}, 0)
                except AudioRNNError as error:
                    problems |= dict.fromkeys(str(error).splitlines())
        if problems:
            raise AudioRNNError("\n".join(problems))
        self.first = self.setting(first, 0)
        described = {key: found.model_dump() for key, found in self.ranges.items()}
        self.identity = digest([shared.name, "search", described, self.first.params.model_dump()])

    def distributions(self) -> dict[str, "BaseDistribution"]:
        """The ranges as Optuna has them."""
        from optuna import distributions

        found: dict[str, BaseDistribution] = {}
        for key, each in self.ranges.items():
            if each.choice is not None:
                found[key] = distributions.CategoricalDistribution(
                    list(dict.fromkeys(format_value(value) for value in each.choice))
                )
                continue
            assert each.low is not None and each.high is not None
            if each.is_integer:
                found[key] = distributions.IntDistribution(
                    int(each.low), int(each.high), log=each.log, step=int(each.step or 1)
                )
            else:
                found[key] = distributions.FloatDistribution(each.low, each.high, log=each.log, step=each.step)
        return found

    def values(self, drawn: Mapping[str, Any]) -> dict[str, Any]:
        """Values of parameters from what Optuna has drawn: floats with four digits, choices as the file has them."""
        found = {}
        for key, value in drawn.items():
            each = self.ranges[key]
            if each.choice is not None:
                found[key] = {format_value(choice): choice for choice in each.choice}[value]
            elif each.is_integer:
                found[key] = int(value)
            else:
                found[key] = min(max(float(f"{value:.{DIGITS}g}"), float(each.low or 0)), float(each.high or 0))
        return found

    def setting(self, values: Mapping[str, Any], number: int) -> Setting:
        """The setting of a trial."""
        return self.shared.setting({"trial": number, **values}, dict(values), named=f"trial{number}")


def run(space: Space, runner: Runner) -> None:
    """Run a search; after an interruption, the rest of it.

    Raises
    ------
    AudioRNNError
        If another process runs the same search; or, at the end, if a trial failed.
    """
    from audiornn.tracking import sweeps, trials

    shared, experiment = space.shared, space.shared.experiment
    wanted = experiment.trials or 1
    place = shared.workspace / FOLDER / f"{slug(shared.name)}-{space.identity[:8]}.db"
    with (
        locked(place.with_suffix(".lock"), 1),
        sweeps.sweep_run(shared.workspace, shared.name, experiment.description, space.identity) as parent,
    ):
        study = trials.open_study(place)
        close_killed(study)
        print(f"{len(_counted(study))} of {wanted} trials have run: {place}", flush=True)
        while (index := len(_counted(study))) < wanted:
            trial = _ask(study, space, index)
            print(f"\n[{index + 1}/{wanted}] {shared.name}: {_label(space, trial.number, trial.params)}", flush=True)
            try:
                _run_trial(study, trial, space, runner, parent, place)
            except BaseException:
                close_killed(study)
                raise
            _summarise(parent, space, study)
        _finish(parent, shared, space, study, runner)


def close_killed(study: "Study") -> None:
    """Mark trials that a killed search has left as failed, or pruned, and queue the former's parameters again."""
    from optuna.trial import TrialState

    from audiornn.tracking.trials import PRUNED

    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        if PRUNED in trial.user_attrs:
            study.tell(trial.number, state=TrialState.PRUNED)
        else:
            study._storage.set_trial_user_attr(trial._trial_id, FAILURE, KILLED)
            study.tell(trial.number, state=TrialState.FAIL)
            study.enqueue_trial(trial.params)


def _counted(study: "Study") -> list["FrozenTrial"]:
    """Trials that have ended by themselves."""
    return [trial for trial in study.trials if trial.state.is_finished() and trial.user_attrs.get(FAILURE) != KILLED]


def _ask(study: "Study", space: Space, index: int) -> "Trial":
    """The next trial. The sampler has a seed for each, as it cannot resume its random numbers."""
    from optuna.samplers import TPESampler

    seed = int(digest([space.identity, index])[:8], 16)
    study.sampler = TPESampler(n_startup_trials=RANDOM_TRIALS, seed=seed)
    return study.ask(space.distributions())


def _label(space: Space, number: int, drawn: Mapping[str, Any]) -> str:
    values = {"trial": number, **space.values(drawn)}
    return " ".join(f"{key}={format_value(value)}" for key, value in values.items())


def _run_trial(study: "Study", trial: "Trial", space: Space, runner: Runner, parent: "Sweep", place: Path) -> None:
    """Run a trial and tell the study how it ended."""
    from optuna.trial import TrialState

    from audiornn.tracking.trials import PRUNED, STUDY, TRIAL

    variables = {STUDY: str(place.resolve()), TRIAL: str(trial.number)} if space.shared.experiment.prune else {}
    try:
        setting = space.setting(space.values(trial.params), trial.number)
        result = runner.run(setting, parent.run_id, **variables)
        row = summary.row(setting, result)
        metrics = {column: row[column] for column in summary.COLUMNS}
        row["run"] = parent.log_child(result.run_id, setting.name, setting.params.model_dump(), metrics)
    except AudioRNNError as error:
        # What the training itself has written there.
        if why := study.trials[trial.number].user_attrs.get(PRUNED):
            study.tell(trial, state=TrialState.PRUNED)
            print(f"pruned {why}")
            return
        trial.set_user_attr(FAILURE, one_line(error))
        study.tell(trial, state=TrialState.FAIL)
        print(f"error: {space.shared.name}: trial {trial.number} failed: {error}", file=sys.stderr)
        return
    trial.set_user_attr(
        ROW, {**row, "name": setting.name, "command": shlex.join(["dvc", "exp", "run", *options(setting)])}
    )
    study.tell(trial, row[VALIDATION_BITS])


def _rows(space: Space, study: "Study") -> list[dict[str, Any]]:
    """The summary: a row per trial."""
    from audiornn.tracking.trials import PRUNED

    rows = []
    for trial in _counted(study):
        row = trial.user_attrs.get(ROW, {})
        state = "complete" if row else "failed"
        if why := trial.user_attrs.get(PRUNED):
            state = f"pruned {why.partition(':')[0]}"
        rows.append(
            {"trial": trial.number, **space.values(trial.params), "state": state}
            | {column: row.get(column) for column in summary.COLUMNS}
            | {"run": row.get("run", "")}
        )
    return rows


def _cases(space: Space, study: "Study") -> list[Case]:
    """Trials that are complete."""
    return [
        Case(_label(space, trial.number, trial.params), trial.user_attrs[ROW]["name"], {}, [trial.user_attrs[ROW]])
        for trial in _counted(study)
        if ROW in trial.user_attrs
    ]


def importances(study: "Study") -> dict[str, float]:
    """How much of the differences between trials each parameter explains, most important first; they sum to 1.

    By PED-ANOVA, of the complete trials; empty if there are too few.
    """
    from optuna.importance import get_param_importances
    from optuna.trial import TrialState

    if len(study.get_trials(states=(TrialState.COMPLETE,))) < MIN_IMPORTANCES:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return {key: float(share) for key, share in get_param_importances(study).items()}
        except (RuntimeError, ValueError):  # such as of trials that are all alike
            return {}


def conclusion(space: Space, study: "Study") -> str:
    """What a search says, in sentences."""
    rows, shares = _rows(space, study), importances(study)
    pruned = sum(row["state"].startswith("pruned") for row in rows)
    failed = sum(row["state"] == "failed" for row in rows)
    sentences = [summary.conclusion(_cases(space, study))]
    if pruned or failed:
        sentences.append(f"Of {len(rows)} trials {pruned} were pruned, and {failed} failed.")
    if shares:
        named = ", ".join(f"{key} {share:.0%}" for key, share in shares.items())
        sentences.append(f"Importances: {named}.")
    return " ".join(sentences)


def _summarise(parent: "Sweep", space: Space, study: "Study") -> None:
    """Log the table, the importances and the figure of the trials so far to the search's run."""
    rows, shares, found = _rows(space, study), importances(study), _cases(space, study)
    listed = summary.table([{"parameter": key, "importance": share} for key, share in shares.items()]) if shares else ""
    parent.log_table(rows, f"{summary.table(rows)}\n{listed}\n{conclusion(space, study)}\n", "summary")
    parent.log_metrics({f"importance.{key}": share for key, share in shares.items()}, step=len(rows))
    if found:
        parent.log_metrics({f"best.{VALIDATION_BITS}": min(case.bits for case in found)}, step=len(rows))
        logarithmic = [key for key, each in space.ranges.items() if each.log]
        values = [{key: row[key] for key in space.ranges} for row in rows]
        parent.log_figure(
            parallel_coordinates(values, [row[VALIDATION_BITS] for row in rows], logarithmic), "search.png"
        )


def _finish(parent: "Sweep", shared: Common, space: Space, study: "Study", runner: Runner) -> None:
    """Print and log what the search has found."""
    rows, found, concluded = _rows(space, study), _cases(space, study), conclusion(space, study)
    _summarise(parent, space, study)
    description = shared.experiment.description
    parent.set_description(f"{description}\n\n{concluded}")
    print(f"\n{summary.table(rows)}\n{concluded}")
    for line in summary.best(found):
        print(line)
    if found:
        best = study.best_trial.user_attrs[ROW]
        print(f"to rerun the best trial: {best['command']}\nto apply it to this folder: dvc exp apply {best['name']}")
    pictures = {"Each line is a trial: its bits per sample and its parameters": parent.last_figure} if found else {}
    page = comparison_page.write(shared.workspace, shared.name, description, found, runner, rows, pictures, concluded)
    parent.log_artifact(page, None)
    print(f"summary: MLflow run {parent.run_id}\nlisten to all trials: {page}")
    failures = [trial for trial in _counted(study) if FAILURE in trial.user_attrs]
    if failures:
        lines = [f"{shared.name}: trial {trial.number} failed: {trial.user_attrs[FAILURE]}" for trial in failures]
        raise AudioRNNError("\n".join([f"{shared.name}: {len(failures)} of {len(rows)} trials failed", *lines]))
