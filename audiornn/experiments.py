"""Named experiments: differences from params.yaml in files, run by DVC. A sweep is an MLflow run with children.

`experiments/NAME.yaml` holds a `description`; in `set` what differs from params.yaml; and, for several settings, either
`sweep`, lists of values of which every combination is a setting, or `settings`, named ones. Keys are dotted, as in
`dvc exp run -S`. A key may name a whole section, whose value then replaces it.

    description: Does a longer context help?
    set:
      train.epochs: 4
    sweep:
      shard.context: [128, 512, 1000, 4000]

The only module that runs DVC.
"""

import copy
import difflib
import hashlib
import itertools
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, field_validator, model_validator

from audiornn.errors import AudioRNNError
from audiornn.files import slug
from audiornn.overrides import overrides
from audiornn.params import Params, Section, validate
from audiornn.ranking import Standing

FOLDER = Path("experiments")
DOTTED = re.compile(r"[^.\s]+(\.[^.\s]+)*")
# What the summary tells of a setting: column, metrics file of the stage, place in it.
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
BITS = RESULTS[0][0]

Differences = dict[str, Any]


class Experiment(Section):
    """A file of `experiments/`."""

    description: Annotated[str, Field(min_length=1)]
    set: Differences = Field(default_factory=dict)
    sweep: Annotated[dict[str, Annotated[list[Any], Field(min_length=1)]], Field(min_length=1)] | None = None
    settings: Annotated[dict[str, Differences], Field(min_length=1)] | None = None

    @field_validator("set", "sweep", "settings")
    @classmethod
    def _keys_are_dotted(cls, content: Any, info: Any) -> Any:
        inner = content.values() if info.field_name == "settings" and content else [content or {}]
        for key in itertools.chain(*inner):
            if not DOTTED.fullmatch(key):
                raise ValueError(f"must have keys such as shard.context, not {key!r}")
        return content

    @model_validator(mode="after")
    def _one_way_to_vary(self) -> "Experiment":
        if self.sweep and self.settings:
            raise ValueError("sweep and settings are both there, but one of them is all that an experiment can have")
        varied = set(self.sweep or {}) | {key for setting in (self.settings or {}).values() for key in setting}
        if twice := sorted(varied & self.set.keys()):
            raise ValueError(f"{', '.join(twice)} stands in set, too, but what varies must stand in one place")
        return self


@dataclass(frozen=True)
class Setting:
    """What is run once."""

    varied: dict[str, Any]  # what sets it apart from the others, by dotted name; or its own name, as `setting`
    name: str  # of the DVC experiment
    params: Params
    overrides: tuple[str, ...]  # options `-S`

    @property
    def label(self) -> str:
        """`shard.context=128`, or the name that the setting has in its file."""
        if list(self.varied) == ["setting"]:
            return str(self.varied["setting"])
        return " ".join(f"{key}={_shown(value)}" for key, value in self.varied.items())


@dataclass(frozen=True)
class Outcome:
    """What came of a setting: its MLflow run, and the metrics files of its stages."""

    run_id: str
    metrics: dict[str, dict[str, Any]]


Runner = Callable[[Setting, str | None], Outcome]  # a setting, the parent's run


def known(folder: str | Path = FOLDER) -> dict[str, Experiment]:
    """All experiments of a folder, by name."""
    return {path.stem: read(path.stem, folder) for path in sorted(Path(folder).glob("*.yaml"))}


def read(name: str, folder: str | Path = FOLDER) -> Experiment:
    """Read and validate an experiment's file.

    Raises
    ------
    AudioRNNError
        If there is none of that name, or it is not as this module describes.
    """
    path = Path(folder) / f"{name}.yaml"
    names = sorted(other.stem for other in Path(folder).glob("*.yaml"))
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(names) or 'none'}"
        raise AudioRNNError(f"{path}: no such experiment; {hint}")
    return validate(Experiment, _yaml(path), path)


def _yaml(path: str | Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise AudioRNNError(f"{path}: no such file") from None
    except (yaml.YAMLError, ValueError, OSError) as error:
        raise AudioRNNError(f"{path}: not readable as YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict | None):
        raise AudioRNNError(f"{path}: holds {content!r}, but must hold keys and values")
    return content or {}


def plan(name: str, given: Sequence[str] = (), workspace: str | Path = ".") -> list[Setting]:
    """The settings of an experiment, each checked as params.yaml is, before any is run.

    Parameters
    ----------
    name
        Of the experiment.
    given
        More differences, `KEY=VALUE` with values as in params.yaml, which go before those of the file; of a swept
        parameter one or several values, `KEY=1,2`.
    workspace
        The folder with params.yaml and `experiments`.

    Raises
    ------
    AudioRNNError
        If a file or a difference is not as it must be; a line for each problem.
    """
    folder = Path(workspace) / FOLDER
    experiment, base = read(name, folder), _yaml(Path(workspace) / "params.yaml")
    validate(Params, base, "params.yaml")
    where = f"{FOLDER / name}.yaml" + (f" with -S {' -S '.join(given)}" if given else "")
    sweep, fixed = dict(experiment.sweep or {}), dict(experiment.set)
    for key, text in map(_given, given):
        if any(key in differences for differences in (experiment.settings or {}).values()):
            raise AudioRNNError(f"-S {key}={text}: {name} varies {key} itself")
        if key in sweep:
            sweep[key] = _value(f"[{text.removeprefix('[').removesuffix(']')}]", key)
        else:
            fixed[key] = _value(text, key)
    cases: list[tuple[dict[str, Any], Differences]]
    if experiment.settings:
        cases = [({"setting": label}, differences) for label, differences in experiment.settings.items()]
    else:
        combinations = itertools.product(*sweep.values())
        cases = [(case, case) for values in combinations for case in [dict(zip(sweep, values, strict=True))]]
    settings, problems = [], dict[str, None]()
    for varied, differences in cases:
        tree = copy.deepcopy(base)
        try:
            for key, value in {**fixed, **differences}.items():
                _put(tree, key, value, where)
            _see_untracked(tree, Path(workspace))
            checked = validate(Params, tree, where)
            _check_sizes(checked, where)
        except AudioRNNError as error:
            problems |= dict.fromkeys(str(error).splitlines())
            continue
        digest = _digest(checked.model_dump())[:6]
        values = [f"{key.split('.')[-1] if len(varied) > 1 else ''}{_shown(value)}" for key, value in varied.items()]
        label = f"{slug('-'.join([name, *values]), 60)}-{digest}"
        settings.append(Setting(varied, label, checked, tuple(overrides(base, tree))))
    if problems:
        raise AudioRNNError("\n".join(problems))
    return settings


def _given(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not DOTTED.fullmatch(key):
        raise AudioRNNError(f"-S {text}: must be KEY=VALUE, such as train.epochs=2")
    return key, value


def _value(text: str, key: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise AudioRNNError(f"-S {key}={text}: not readable as YAML: {' '.join(str(error).split())}") from None


def _put(tree: dict[str, Any], key: str, value: Any, where: str) -> None:
    *sections, last = key.split(".")
    for section in sections:
        if tree.get(section) is None:  # missing, or all of its keys are commented out
            tree[section] = {}
        tree = tree[section]
        if not isinstance(tree, dict):
            raise AudioRNNError(f"{where}: {key}: {section} is no section, it is {tree!r}")
    tree[last] = copy.deepcopy(value)


def _see_untracked(tree: dict[str, Any], workspace: Path) -> None:
    """Name recordings that Git does not know by their absolute path.

    DVC runs experiments in a copy of what Git tracks. Under a relative path it would see an empty folder there, and
    take it for the same whatever the recordings are.
    """
    path = validate(Params, {"corpus": tree.get("corpus")}, "params.yaml").corpus.path
    if not path or not (workspace / path).exists():
        return
    whole = (workspace / path).resolve()
    if not whole.is_relative_to(workspace.resolve()) or _git(workspace, "ls-files", "--others", "--", path):
        _put(tree, "corpus.path", str(whole), "params.yaml")


def _check_sizes(p: Params, where: str) -> None:
    from audiornn.models import complete

    complete(p.train.model.name, p.train.model.sizes, f"{where}: train.model")


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=False).stdout.strip()


class Dvc:
    """Runs settings by `dvc exp run --temp`: in a copy of the workspace, which itself stays as it is.

    What an earlier experiment has done already is taken from DVC's cache.
    """

    def __init__(self, workspace: str | Path) -> None:
        self.workspace = Path(workspace)

    def command(self, setting: Setting) -> list[str]:
        """The command of a setting."""
        options = [word for override in setting.overrides for word in ("-S", override)]
        return ["dvc", "exp", "run", "--temp", "--name", setting.name, *options]

    def __call__(self, setting: Setting, parent: str | None) -> Outcome:
        """Run a setting.

        Raises
        ------
        AudioRNNError
            If DVC fails; what it had to say it has said on stderr.
        """
        from audiornn.tracking import PARENT

        if self._commit(setting.name):  # from an earlier pass: DVC refuses to name two the same
            self._run(["dvc", "exp", "remove", "--quiet", setting.name])
        self._run(self.command(setting), **({PARENT: parent} if parent else {}))
        return self._outcome(setting.name)

    def _run(self, command: Sequence[str], **variables: str) -> None:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"  # the stages' python
        environment = {**os.environ, "PATH": path, **variables}
        done = subprocess.run([sys.executable, "-m", *command], cwd=self.workspace, env=environment, check=False)
        if done.returncode:
            raise AudioRNNError(f"exit code {done.returncode} of {shlex.join(command)}")

    def _commit(self, name: str) -> str:
        """The commit of an experiment that starts from where the workspace is; empty if there is none."""
        head = _git(self.workspace, "rev-parse", "HEAD")
        return _git(self.workspace, "for-each-ref", "--format=%(objectname)", f"refs/exps/{head[:2]}/{head[2:]}/{name}")

    def _outcome(self, name: str) -> Outcome:
        from dvc.api import DVCFileSystem

        files = DVCFileSystem(str(self.workspace), rev=self._commit(name))
        metrics = {
            stage: json.loads(files.read_text(f"metrics/{stage}.json")) for stage in ("train", "evaluate", "generate")
        }
        return Outcome(json.loads(files.read_text("models/mlflow.json"))["run_id"], metrics)


def run(name: str, given: Sequence[str] = (), workspace: str | Path = ".", runner: Runner | None = None) -> None:
    """Run an experiment, all its settings one after the other, and say what came of it.

    A sweep's MLflow run is the parent of its settings' runs, and holds the summary: a table and a figure. Where an
    earlier pass was interrupted it goes on with the same parent, and what is finished is not done again. A setting that
    fails does not keep the others from being run.

    Parameters
    ----------
    name, given, workspace
        As for `plan`.
    runner
        What runs a setting; by default DVC.

    Raises
    ------
    AudioRNNError
        As `plan`; or, after all settings were run, if some failed.
    """
    from audiornn import tracking

    settings, runner = plan(name, given, workspace), runner or Dvc(workspace)
    if not settings[0].varied:
        outcome = runner(settings[0], None)
        row = _row(settings[0], outcome)
        print(f"\n{table([row])}\n{settings[0].name} is MLflow run {outcome.run_id}")
        print(f"To bring it into this folder: dvc exp apply {settings[0].name}")
        return
    description = read(name, Path(workspace) / FOLDER).description
    identity = _digest([name, [setting.params.model_dump() for setting in settings]])
    with tracking.sweep_run(workspace, name, description, identity) as log:
        rows, failed = [], []
        for i, setting in enumerate(settings):
            print(f"\n[{i + 1}/{len(settings)}] {name}: {setting.label}", flush=True)
            try:
                outcome = runner(setting, log.run_id)
                row = _row(setting, outcome)
                metrics = {column: row[column] for column, _, _ in RESULTS}
                row["run"] = log.child(outcome.run_id, setting.name, setting.params.model_dump(), metrics)
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


def _row(setting: Setting, outcome: Outcome) -> dict[str, Any]:
    """A line of the summary."""
    row: dict[str, Any] = dict(setting.varied)
    for column, stage, place in RESULTS:
        value: Any = outcome.metrics[stage]
        for part in place:
            value = value[part]
        row[column] = value
    return {**row, "run": outcome.run_id}


def _best(settings: Sequence[Setting], rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Which setting is the best by bits, and which by sound, in a line each."""
    done = [
        (Standing(row[BITS], row["distance_ratio"], row["clips_with_findings"]), setting.label)
        for setting, row in zip(settings, rows, strict=True)
        if row[BITS] is not None
    ]
    if not done:
        return
    best, label = min(done, key=lambda one: (one[0].bits, one[1]))
    yield f"best by bits: {label}, {best.bits:.3f} bits per sample on validation"
    best, label = min(done, key=lambda one: (one[0].order, one[0].flawed, one[1]))
    far = (
        "nothing to hear"
        if best.ratio is None
        else f"{best.ratio:.2f} times as far from real audio as that itself gets"
    )
    yield f"best by sound: {label}, {far}, {best.flawed:.0%} of clips with findings"


def _summarise(log: Any, name: str, settings: Sequence[Setting], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the table and the figure of the settings so far into the sweep's run."""
    from audiornn import figures

    done = [(setting, row) for setting, row in zip(settings, rows, strict=False) if row[BITS] is not None]
    log.table(rows, table(rows), "summary")
    if not done:
        return
    near = [row["distance_ratio"] for _, row in done if row["distance_ratio"] is not None]
    best = {BITS: min(row[BITS] for _, row in done), "distance_ratio": min(near, default=None)}
    log.metrics({f"best.{column}": value for column, value in best.items()}, step=len(rows))
    alone = list(done[0][0].varied) if len(done[0][0].varied) == 1 else ["setting"]
    values = [setting.varied.get(alone[0], setting.label) for setting, _ in done]
    columns = {column: [row[column] for _, row in done] for column, _, _ in RESULTS}
    log.figure(figures.sweep(alone[0], values, columns, title=f"Sweep {name}"), "sweep.png")


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as a Markdown table, numbers rounded for reading."""

    def cell(value: Any) -> str:
        if value is None:
            return ""
        if isinstance(value, float):
            return f"{value:.4f}" if abs(value) < 100 else f"{value:.0f}"
        return _shown(value).replace("|", "\\|")

    head = list(rows[0])
    lines = [head, ["---"] * len(head), *([cell(row[key]) for key in head] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
