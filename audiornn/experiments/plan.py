"""The settings of an experiment, all validated before the first runs."""

import copy
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audiornn.common.digests import digest as content_digest
from audiornn.common.errors import AudioRNNError, one_line, shown
from audiornn.common.serialization import parse_yaml, read_yaml
from audiornn.common.validation import validate
from audiornn.experiments.definition import DOTTED, FOLDER, Experiment, Overrides, read
from audiornn.naming import slug
from audiornn.params import Params
from audiornn.provenance.git import git
from audiornn.provenance.overrides import overrides

MAX_SETTINGS = 1000


@dataclass(frozen=True)
class Setting:
    """One setting of an experiment: a single pipeline run."""

    varied: dict[str, Any]  # the parameters that vary, by dotted name; or its own name, as `setting`
    name: str  # of the DVC experiment
    params: Params
    overrides: tuple[str, ...]  # options `-S`
    seed: int | None = None  # that tells apart the runs of a setting that is repeated

    @property
    def case(self) -> str:
        """`shard.context=128`, or the setting's name in the file."""
        if list(self.varied) == ["setting"]:
            return str(self.varied["setting"])
        return " ".join(f"{key}={format_value(value)}" for key, value in self.varied.items())

    @property
    def label(self) -> str:
        """The same, with the seed where settings are repeated."""
        return self.case if self.seed is None else f"{self.case} seed={self.seed}"


@dataclass(frozen=True)
class PlannedExperiment:
    """What the settings of an experiment have in common, and the way to make one.

    Attributes
    ----------
    name, experiment
        The experiment, with its own repeats and trials or those of the command line.
    where
        The file and the options, for errors.
    workspace
        The folder with params.yaml.
    tree
        Content of params.yaml.
    fixed
        Overrides for all settings.
    sweep
        Values of the swept parameters.
    """

    name: str
    experiment: Experiment
    where: str
    workspace: Path
    tree: dict[str, Any]
    fixed: Overrides
    sweep: dict[str, list[Any]]

    def setting(
        self, varied: dict[str, Any], differences: Overrides, seed: int = -1, named: str | None = None
    ) -> Setting:
        """A setting, validated like params.yaml.

        Parameters
        ----------
        varied
            What varies, as the summary shows it.
        differences
            Overrides of this setting alone.
        seed
            Which repeat it is, from 0 on; negative if settings are not repeated.
        named
            What tells its name from those of others; by default what varies.
        """
        tree = copy.deepcopy(self.tree)
        for key, value in {**self.fixed, **differences}.items():
            set_dotted(tree, key, value, self.where)
        _absolute_corpus_path(tree, self.workspace)
        checked = validate(Params, tree, self.where)
        chosen = None
        if seed >= 0:
            for key in self.experiment.seeds:
                section, name = key.split(".")
                first = getattr(getattr(checked, section), name)
                set_dotted(tree, key, first + seed, self.where)
                chosen = first + seed if chosen is None else chosen
            checked = validate(Params, tree, self.where)
        check_sizes(checked, self.where)
        words = _words(varied, self.name) if named is None else [named]
        ending = [] if chosen is None else [f"seed{chosen}"]
        name = "-".join([slug("-".join([self.name, *words]), 60), *ending, content_digest(checked.model_dump())[:6]])
        return Setting(varied, name, checked, tuple(overrides(self.tree, tree)), chosen)


def read_experiment(
    name: str,
    set_params: Sequence[str] = (),
    workspace: str | Path = ".",
    repeat: int | None = None,
    trials: int | None = None,
) -> PlannedExperiment:
    """Read an experiment with its overrides; parameters as for `plan`; `trials` replaces those of the file.

    Raises
    ------
    AudioRNNError
        If a file or an override is not valid.
    """
    experiment = read(name, Path(workspace) / FOLDER, repeat=repeat, trials=trials)
    base = read_yaml(Path(workspace) / "params.yaml", "keys and values")
    validate(Params, base, "params.yaml")
    where = f"{FOLDER / name}.yaml" + (one_line(f" with -S {' -S '.join(set_params)}", 100) if set_params else "")
    sweep, fixed = dict(experiment.sweep or {}), dict(experiment.set)
    for key, text in map(_key_and_text, set_params):
        named = [*(experiment.settings or {}).values(), experiment.search or {}]
        if any(key in differences for differences in named):
            raise AudioRNNError(f"{one_line(f'-S {key}={text}', 100)}: {name} itself varies {key}")
        if key in sweep:
            values = _value(f"[{text.removeprefix('[').removesuffix(']')}]", key)
            sweep[key] = values if isinstance(values, list) else [values]
        else:
            fixed[key] = _value(text, key)
    return PlannedExperiment(name, experiment, where, Path(workspace), base, fixed, sweep)


def plan(
    name: str, set_params: Sequence[str] = (), workspace: str | Path = ".", repeat: int | None = None
) -> list[Setting]:
    """The settings of an experiment, each validated like params.yaml; a repeated one is listed once per seed.

    Parameters
    ----------
    name
        Of the experiment, which is not a search.
    set_params
        Further overrides, `KEY=VALUE` with values as in params.yaml, which take precedence over the file; for a swept
        parameter one or several values, `KEY=1,2`.
    workspace
        The folder with params.yaml and `experiments`.
    repeat
        How many times each setting runs; by default what the file says.

    Raises
    ------
    AudioRNNError
        If a file or an override is invalid; one line per problem.
    """
    return settings_of(read_experiment(name, set_params, workspace, repeat))


def settings_of(planned: PlannedExperiment) -> list[Setting]:
    """The settings of an experiment that is not a search; see `plan`."""
    experiment, sweep = planned.experiment, planned.sweep
    repeat = experiment.repeat or 1
    cases: list[tuple[dict[str, Any], Overrides]]
    if experiment.settings:
        cases = [({"setting": label}, differences) for label, differences in experiment.settings.items()]
    elif not sweep and repeat > 1:
        cases = [({"setting": planned.name}, {})]
    else:
        if (count := math.prod(map(len, sweep.values())) * repeat) > MAX_SETTINGS:
            raise AudioRNNError(f"{planned.where}: has {count:,} settings, but must have at most {MAX_SETTINGS:,}")
        combinations = itertools.product(*sweep.values())
        cases = [(case, case) for values in combinations for case in [dict(zip(sweep, values, strict=True))]]
    settings, problems = [], dict[str, None]()
    for (varied, differences), seed in itertools.product(cases, range(repeat) if repeat > 1 else [-1]):
        try:
            settings.append(planned.setting(varied, differences, seed))
        except AudioRNNError as error:
            problems |= dict.fromkeys(str(error).splitlines())
    if problems:
        raise AudioRNNError("\n".join(problems))
    return settings


def overridden(set_params: Sequence[str] = (), workspace: str | Path = ".") -> Params:
    """The parameters of params.yaml with overrides, `KEY=VALUE`, as `plan` takes them.

    Raises
    ------
    AudioRNNError
        If the file or an override is invalid; one line per problem.
    """
    tree = read_yaml(Path(workspace) / "params.yaml", "keys and values")
    where = one_line(f"params.yaml with -S {' -S '.join(set_params)}", 100) if set_params else "params.yaml"
    for key, text in map(_key_and_text, set_params):
        set_dotted(tree, key, _value(text, key), where)
    checked = validate(Params, tree, where)
    check_sizes(checked, where)
    return checked


def _words(varied: Mapping[str, Any], experiment: str) -> list[str]:
    """What the name of a setting says of its values."""
    if varied == {"setting": experiment}:
        return []
    return [f"{key.split('.')[-1] if len(varied) > 1 else ''}{format_value(value)}" for key, value in varied.items()]


def _key_and_text(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not DOTTED.fullmatch(key):
        raise AudioRNNError(f"-S {one_line(text, 100)}: must be KEY=VALUE, such as train.epochs=2")
    return key, value


def _value(text: str, key: str) -> object:
    return parse_yaml(text, one_line(f"-S {key}={text}", 100))


def set_dotted(tree: dict[str, Any], key: str, value: object, where: str) -> None:
    *sections, last = key.split(".")
    for section in sections:
        if tree.get(section) is None:  # missing, or with all keys commented out
            tree[section] = {}
        tree = tree[section]
        if not isinstance(tree, dict):
            raise AudioRNNError(f"{where}: {key}: {section} is not a section, but {shown(tree)}")
    tree[last] = copy.deepcopy(value)


def _absolute_corpus_path(tree: dict[str, Any], workspace: Path) -> None:
    """Use the absolute path of recordings that Git does not track.

    DVC runs experiments in a copy of what Git tracks, where a relative path would be an empty folder.
    """
    path = validate(Params, {"corpus": tree.get("corpus")}, "params.yaml").corpus.path
    if not path or not (workspace / path).exists():
        return
    whole = (workspace / path).resolve()
    if not whole.is_relative_to(workspace.resolve()) or git("ls-files", "--others", "--", path, folder=workspace):
        set_dotted(tree, "corpus.path", str(whole), "params.yaml")


def check_sizes(p: Params, where: str) -> None:
    """Make sure that the model has the sizes that are given."""
    from audiornn.models.storage import complete

    complete(p.train.model.name, p.train.model.sizes, f"{where}: train.model")


def format_value(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
