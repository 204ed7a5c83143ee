"""The loop of a search: ask for a trial, run it, tell how it ended."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from audiornn.common.digests import digest
from audiornn.common.errors import AudioRNNError, one_line
from audiornn.common.files import locked
from audiornn.experiments import summary
from audiornn.experiments.dvc import Runner, options
from audiornn.experiments.search.results import FAILURE, KILLED, ROW, counted, finish, log_results
from audiornn.experiments.search.space import Space, label
from audiornn.experiments.summary import VALIDATION_BITS
from audiornn.naming import slug

if TYPE_CHECKING:
    from optuna import Study, Trial

    from audiornn.tracking.sweeps import Sweep

FOLDER = Path(".audiornn/searches")  # in the workspace
RANDOM_TRIALS = 8  # that are drawn at random before the sampler learns from those before


def run(space: Space, runner: Runner) -> None:
    """Run a search; after an interruption, the rest of it.

    Raises
    ------
    AudioRNNError
        If another process runs the same search, or the MLflow store is away; or, at the end, if a trial failed.
    """
    from audiornn.tracking import sweeps, trials
    from audiornn.tracking.store import client_of

    planned, experiment = space.planned, space.planned.experiment
    wanted = experiment.trials or 1
    place = planned.workspace / FOLDER / f"{slug(planned.name)}-{space.identity[:8]}.db"
    with (
        locked(place.with_suffix(".lock"), 1),
        sweeps.sweep_run(planned.workspace, planned.name, experiment.description, space.identity) as parent,
    ):
        study = trials.open_study(place)
        close_killed(study)
        print(f"{len(counted(study))} of {wanted} trials have run: {place}", flush=True)
        while (index := len(counted(study))) < wanted:
            client_of(planned.workspace)  # without the store every trial would fail
            trial = _ask(study, space, index)
            print(f"\n[{index + 1}/{wanted}] {planned.name}: {label(space, trial.number, trial.params)}", flush=True)
            try:
                _run_trial(study, trial, space, runner, parent, place)
            except BaseException:
                close_killed(study)
                raise
            log_results(parent, space, study)
        finish(parent, planned, space, study, runner)


def _run_trial(study: "Study", trial: "Trial", space: Space, runner: Runner, parent: "Sweep", place: Path) -> None:
    """Run a trial and tell the study how it ended."""
    from optuna.trial import TrialState

    from audiornn.tracking.trials import PRUNED, STUDY, TRIAL

    variables = {STUDY: str(place.resolve()), TRIAL: str(trial.number)} if space.planned.experiment.prune else {}
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
        print(f"error: {space.planned.name}: trial {trial.number} failed: {error}", file=sys.stderr)
        return
    trial.set_user_attr(
        ROW, {**row, "name": setting.name, "command": shlex.join(["dvc", "exp", "run", *options(setting)])}
    )
    study.tell(trial, row[VALIDATION_BITS])


def _ask(study: "Study", space: Space, index: int) -> "Trial":
    """The next trial. The sampler has a seed for each, as it cannot resume its random numbers."""
    from optuna.samplers import TPESampler

    seed = int(digest([space.identity, index])[:8], 16)
    study.sampler = TPESampler(n_startup_trials=RANDOM_TRIALS, seed=seed)
    return study.ask(space.distributions())


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
