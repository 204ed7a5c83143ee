"""Sweeps: all settings of a named experiment, run by DVC; an MLflow parent run with one child per setting.

`experiments/NAME.yaml` holds a `description`; in `set` the overrides of params.yaml; and, for several settings, either
`sweep`, lists of values (every combination is a setting), or `settings`, named ones, or `search`, ranges (see
`audiornn.experiments.search`). `repeat` runs each setting with several seeds. Keys are dotted, as in `dvc exp run
-S`. A key may name a whole section, which is then replaced.

    description: Does a longer context help?
    set:
      train.epochs: 4
    sweep:
      shard.context: [128, 512, 1000, 4000]
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiornn.common.digests import digest
from audiornn.common.errors import AudioRNNError
from audiornn.corpus.listing import is_drop_folder
from audiornn.experiments import comparison_page, summary
from audiornn.experiments.definition import FOLDER
from audiornn.experiments.dvc import DvcRunner, Runner
from audiornn.experiments.plan import PlannedExperiment, Setting, read_experiment, settings_of
from audiornn.experiments.summary import VALIDATION_BITS, Case

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from audiornn.tracking.sweeps import Sweep


def run(
    name: str,
    set_params: Sequence[str] = (),
    workspace: str | Path = ".",
    runner: Runner | None = None,
    repeat: int | None = None,
    trials: int | None = None,
) -> None:
    """Run an experiment, all its settings one after the other, and print the result.

    A sweep's MLflow run is the parent of its settings' runs, and holds the summary: a table, a figure, what follows
    from them, and a page with clips. After an interruption it is resumed under the same parent, and finished settings
    are not repeated. If a setting fails, the others still run.

    Parameters
    ----------
    name, set_params, workspace
        As for `plan`.
    runner
        Runs a setting; by default DVC.
    repeat, trials
        Seeds per setting, and settings that a search tries; by default what the file says.

    Raises
    ------
    AudioRNNError
        As `plan`; or, after all settings have run, if some failed.
    """
    from audiornn.experiments.search import loop
    from audiornn.experiments.search.space import Space

    planned, runner = read_experiment(name, set_params, workspace, repeat, trials), runner or DvcRunner(workspace)
    if planned.experiment.search:
        space = Space(planned)
        announce(planned, space.first, planned.experiment.trials or 1)
        loop.run(space, runner)
        return
    settings = settings_of(planned)
    announce(planned, settings[0], len(settings))
    if settings[0].varied:
        _run_sweep(planned, settings, runner)
        return
    result = runner.run(settings[0], None)
    row = summary.row(settings[0], result)
    print(f"\n{summary.table([row])}\n{settings[0].name} is MLflow run {result.run_id}")
    print(f"To apply it to this folder: dvc exp apply {settings[0].name}")


def announce(planned: PlannedExperiment, first: Setting, runs: int) -> None:
    """Say what is going to run, and how long it takes.

    Raises
    ------
    AudioRNNError
        If the recordings of the first setting are not there.
    """
    path = first.params.corpus.path
    if path and not is_drop_folder(path) and not (planned.workspace / path).exists():
        raise AudioRNNError(
            f"corpus.path is {path!r}, which does not exist: {FOLDER / planned.name}.yaml says where its recordings "
            "are from"
        )
    takes = f"; on 2 cores, without further options: {planned.experiment.takes}" if planned.experiment.takes else ""
    print(f"{planned.name}: {' '.join(planned.experiment.description.split())}")
    print(f"{f'{runs} trainings' if runs > 1 else 'one training'}{takes}", flush=True)


def _run_sweep(planned: PlannedExperiment, settings: Sequence[Setting], runner: Runner) -> None:
    from audiornn.tracking import sweeps

    name, workspace, description = planned.name, planned.workspace, planned.experiment.description
    identity = digest([name, [setting.params.model_dump() for setting in settings]])
    with sweeps.sweep_run(workspace, name, description, identity) as parent:
        rows: list[dict[str, Any]] = []
        failed = []
        for i, setting in enumerate(settings):
            print(f"\n[{i + 1}/{len(settings)}] {name}: {setting.label}", flush=True)
            try:
                result = runner.run(setting, parent.run_id)
                row = summary.row(setting, result)
                metrics = {column: row[column] for column in summary.COLUMNS}
                row["run"] = parent.log_child(result.run_id, setting.name, setting.params.model_dump(), metrics)
            except AudioRNNError as error:
                failed.append(f"{name}: {setting.label} failed: {error}")
                print(f"error: {failed[-1]}", file=sys.stderr)
                row = summary.failed_row(setting)
            rows.append(row)
            _summarise(parent, planned, settings, rows)
        found = summary.cases(settings, rows)
        print(f"\n{summary.table(_shown(settings, rows))}")
        for line in summary.best(found):
            print(line)
        print(summary.conclusion(found))
        parent.set_description(f"{description}\n\n{summary.conclusion(found)}")
        picture = {"Bits per sample, sound and training time": parent.last_figure} if parent.last_figure else {}
        page = comparison_page.write(workspace, name, description, found, runner, _shown(settings, rows), picture)
        parent.log_artifact(page, None)
        print(f"summary: MLflow run {parent.run_id}\nlisten to all settings: {page}")
        if failed:
            raise AudioRNNError("\n".join([f"{name}: {len(failed)} of {len(rows)} settings failed", *failed]))


def _shown(settings: Sequence[Setting], rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Rows of the summary: of each run or, where settings are repeated, of each setting."""
    if settings[0].seed is None:
        return list(rows)
    return [case.summary() for case in summary.cases(settings, rows)]


def _summarise(
    parent: "Sweep", planned: PlannedExperiment, settings: Sequence[Setting], rows: Sequence[Mapping[str, Any]]
) -> None:
    """Log the tables and the figure of the settings so far, and what follows from them, to the sweep's run."""
    shown, found = _shown(settings, rows), summary.cases(settings, rows)
    parent.log_table(shown, f"{summary.table(shown)}\n{summary.conclusion(found)}\n", "summary")
    if settings[0].seed is not None:
        parent.log_csv([{"seed": setting.seed, **row} for setting, row in zip(settings, rows, strict=False)], "runs")
    done = [case for case in found if case.done]
    if not done:
        return
    near = [case.standing.ratio for case in done if case.standing.ratio is not None]
    best = {VALIDATION_BITS: min(case.bits for case in done), "distance_ratio": min(near, default=None)}
    parent.log_metrics({f"best.{column}": value for column, value in best.items()}, step=len(rows))
    parent.log_figure(_figure(f"Sweep {planned.name}", done), "sweep.png")


def _figure(title: str, done: Sequence[Case]) -> "Figure":
    from audiornn import figures

    alone = list(done[0].varied) if len(done[0].varied) == 1 else ["setting"]
    values = [case.varied.get(alone[0], case.label) for case in done]
    columns = {column: [case.mean(column) for case in done] for column in summary.COLUMNS}
    errors = {column: [case.error(column) for case in done] for column in summary.WITH_ERROR}
    return figures.sweep(alone[0], values, columns, title, errors)
