"""What a search has found: rows, importances, conclusions, and their run in MLflow."""

import warnings
from typing import TYPE_CHECKING, Any

from audiornn.common.errors import AudioRNNError
from audiornn.experiments import comparison_page, summary
from audiornn.experiments.dvc import Runner
from audiornn.experiments.plan import PlannedExperiment
from audiornn.experiments.search.figure import parallel_coordinates
from audiornn.experiments.search.space import Space, label
from audiornn.experiments.summary import VALIDATION_BITS, Case

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

    from audiornn.tracking.sweeps import Sweep

ROW, FAILURE, KILLED = "row", "failure", "killed"  # user attributes of trials, and a value of the second
MIN_IMPORTANCES = 4  # complete trials without which nothing is said about importances


def counted(study: "Study") -> list["FrozenTrial"]:
    """Trials that have ended by themselves."""
    return [trial for trial in study.trials if trial.state.is_finished() and trial.user_attrs.get(FAILURE) != KILLED]


def rows_of(space: Space, study: "Study") -> list[dict[str, Any]]:
    """The summary: a row per trial."""
    from audiornn.tracking.trials import PRUNED

    rows = []
    for trial in counted(study):
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


def cases_of(space: Space, study: "Study") -> list[Case]:
    """Trials that are complete."""
    return [
        Case(label(space, trial.number, trial.params), trial.user_attrs[ROW]["name"], {}, [trial.user_attrs[ROW]])
        for trial in counted(study)
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
    rows, shares = rows_of(space, study), importances(study)
    pruned = sum(row["state"].startswith("pruned") for row in rows)
    failed = sum(row["state"] == "failed" for row in rows)
    sentences = [summary.conclusion(cases_of(space, study))]
    if pruned or failed:
        sentences.append(f"Of {len(rows)} trials {pruned} were pruned, and {failed} failed.")
    if shares:
        named = ", ".join(f"{key} {share:.0%}" for key, share in shares.items())
        sentences.append(f"Importances: {named}.")
    return " ".join(sentences)


def log_results(parent: "Sweep", space: Space, study: "Study") -> None:
    """Log the table, the importances and the figure of the trials so far to the search's run."""
    rows, shares, found = rows_of(space, study), importances(study), cases_of(space, study)
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


def finish(parent: "Sweep", planned: PlannedExperiment, space: Space, study: "Study", runner: Runner) -> None:
    """Print and log what the search has found."""
    rows, found, concluded = rows_of(space, study), cases_of(space, study), conclusion(space, study)
    log_results(parent, space, study)
    description = planned.experiment.description
    parent.set_description(f"{description}\n\n{concluded}")
    print(f"\n{summary.table(rows)}\n{concluded}")
    for line in summary.best(found):
        print(line)
    if found:
        best = study.best_trial.user_attrs[ROW]
        print(f"to rerun the best trial: {best['command']}\nto apply it to this folder: dvc exp apply {best['name']}")
    pictures = {"Each line is a trial: its bits per sample and its parameters": parent.last_figure} if found else {}
    page = comparison_page.write(planned.workspace, planned.name, description, found, runner, rows, pictures, concluded)
    parent.log_artifact(page, None)
    print(f"summary: MLflow run {parent.run_id}\nlisten to all trials: {page}")
    failures = [trial for trial in counted(study) if FAILURE in trial.user_attrs]
    if failures:
        lines = [f"{planned.name}: trial {trial.number} failed: {trial.user_attrs[FAILURE]}" for trial in failures]
        raise AudioRNNError("\n".join([f"{planned.name}: {len(failures)} of {len(rows)} trials failed", *lines]))
