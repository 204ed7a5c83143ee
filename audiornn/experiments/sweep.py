"""Sweeps: all settings of a named experiment, run by DVC; an MLflow parent run with one child per setting.

`experiments/NAME.yaml` holds a `description`; in `set` the overrides of params.yaml; and, for several settings, either
`sweep`, lists of values (every combination is a setting), or `settings`, named ones. Keys are dotted, as in `dvc exp
run -S`. A key may name a whole section, which is then replaced.

    description: Does a longer context help?
    set:
      train.epochs: 4
    sweep:
      shard.context: [128, 512, 1000, 4000]

The only module that runs DVC.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiornn.errors import AudioRNNError
from audiornn.experiments.definition import FOLDER, read
from audiornn.experiments.dvc import Dvc, Runner, SettingResult
from audiornn.experiments.plan import Setting, format_value, plan
from audiornn.files import digest
from audiornn.tracking.ranking import Standing

if TYPE_CHECKING:
    from audiornn.tracking.sweeps import Sweep

# Columns of the summary: name, metrics file of the stage, keys in it.
RESULTS = (
    ("validation_bits_per_sample", "evaluate", ("validation", "bits_per_sample")),
    ("test_bits_per_sample", "evaluate", ("test", "bits_per_sample")),
    ("test_accuracy", "evaluate", ("test", "accuracy")),
    ("distance_ratio", "generate", ("distance_ratio",)),
    ("distance_db", "generate", ("distance_db",)),
    ("distance_limit_db", "generate", ("distance_limit_db",)),
    ("findings", "generate", ("findings",)),
    ("clips_with_findings", "generate", ("clips_with_findings",)),
    ("parameters", "train", ("parameters",)),
    ("training_seconds", "train", ("training_seconds",)),
    ("targets_per_second", "train", ("targets_per_second",)),
    ("samples_per_second", "generate", ("samples_per_second",)),
)
VALIDATION_BITS = RESULTS[0][0]


def run(name: str, set_params: Sequence[str] = (), workspace: str | Path = ".", runner: Runner | None = None) -> None:
    """Run an experiment, all its settings one after the other, and print the result.

    A sweep's MLflow run is the parent of its settings' runs, and holds the summary: a table and a figure. After an
    interruption it is resumed under the same parent, and finished settings are not repeated. If a setting fails, the
    others still run.

    Parameters
    ----------
    name, set_params, workspace
        As for `plan`.
    runner
        Callable that runs a setting; by default DVC.

    Raises
    ------
    AudioRNNError
        As `plan`; or, after all settings have run, if some failed.
    """
    from audiornn.tracking import sweeps

    settings, runner = plan(name, set_params, workspace), runner or Dvc(workspace).run
    if not settings[0].varied:
        result = runner(settings[0], None)
        row = _row(settings[0], result)
        print(f"\n{table([row])}\n{settings[0].name} is MLflow run {result.run_id}")
        print(f"To apply it to this folder: dvc exp apply {settings[0].name}")
        return
    description = read(name, Path(workspace) / FOLDER).description
    identity = digest([name, [setting.params.model_dump() for setting in settings]])
    with sweeps.sweep_run(workspace, name, description, identity) as log:
        rows, failed = [], []
        for i, setting in enumerate(settings):
            print(f"\n[{i + 1}/{len(settings)}] {name}: {setting.label}", flush=True)
            try:
                result = runner(setting, log.run_id)
                row = _row(setting, result)
                metrics = {column: row[column] for column, _, _ in RESULTS}
                row["run"] = log.child(result.run_id, setting.name, setting.params.model_dump(), metrics)
            except AudioRNNError as error:
                failed.append(f"{name}: {setting.label} failed: {error}")
                print(f"error: {failed[-1]}", file=sys.stderr)
                row = {**setting.varied, **{column: None for column, _, _ in RESULTS}, "run": "failed"}
            rows.append(row)
            _summarise(log, name, settings, rows)
        print(f"\n{table(rows)}")
        for line in _best(settings, rows):
            print(line)
        print(f"summary: MLflow run {log.run_id}")
        if failed:
            raise AudioRNNError("\n".join([f"{name}: {len(failed)} of {len(rows)} settings failed", *failed]))


def _row(setting: Setting, result: SettingResult) -> dict[str, Any]:
    """A row of the summary."""
    row: dict[str, Any] = dict(setting.varied)
    for column, stage, keys in RESULTS:
        value: Any = result.metrics[stage]
        for key in keys:
            value = value[key]
        row[column] = value
    return {**row, "run": result.run_id}


def _best(settings: Sequence[Setting], rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The best setting by bits and the best by sound, one line each."""
    done = [
        (Standing(row[VALIDATION_BITS], row["distance_ratio"], row["clips_with_findings"]), setting.label)
        for setting, row in zip(settings, rows, strict=True)
        if row[VALIDATION_BITS] is not None
    ]
    if not done:
        return
    best, label = min(done, key=lambda one: (one[0].bits, one[1]))
    yield f"best by bits: {label}, {best.bits:.3f} bits per sample on validation"
    best, label = min(done, key=lambda one: (one[0].order, one[0].flawed, one[1]))
    far = "silent" if best.ratio is None else f"{best.ratio:.2f} times the distance limit of real audio"
    yield f"best by sound: {label}, {far}, {best.flawed:.0%} of clips with findings"


def _summarise(log: "Sweep", name: str, settings: Sequence[Setting], rows: Sequence[Mapping[str, Any]]) -> None:
    """Log the table and the figure of the settings so far to the sweep's run."""
    from audiornn import figures

    done = [(setting, row) for setting, row in zip(settings, rows, strict=False) if row[VALIDATION_BITS] is not None]
    log.table(rows, table(rows), "summary")
    if not done:
        return
    near = [row["distance_ratio"] for _, row in done if row["distance_ratio"] is not None]
    best = {VALIDATION_BITS: min(row[VALIDATION_BITS] for _, row in done), "distance_ratio": min(near, default=None)}
    log.metrics({f"best.{column}": value for column, value in best.items()}, step=len(rows))
    alone = list(done[0][0].varied) if len(done[0][0].varied) == 1 else ["setting"]
    values = [setting.varied.get(alone[0], setting.label) for setting, _ in done]
    columns = {column: [row[column] for _, row in done] for column, _, _ in RESULTS}
    log.figure(figures.sweep(alone[0], values, columns, title=f"Sweep {name}"), "sweep.png")


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as a Markdown table with rounded numbers."""

    def cell(value: object) -> str:
        if value is None:
            return ""
        if isinstance(value, float):
            return f"{value:.4f}" if abs(value) < 100 else f"{value:.0f}"
        return format_value(value).replace("|", "\\|")

    head = list(rows[0])
    lines = [head, ["---"] * len(head), *([cell(row[key]) for key in head] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
