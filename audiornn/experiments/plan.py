"""The settings of an experiment, all validated before the first runs."""

import copy
import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audiornn.errors import AudioRNNError, one_line, shown
from audiornn.experiments.definition import DOTTED, FOLDER, Overrides, read
from audiornn.files import digest as content_digest
from audiornn.files import parse_yaml, read_yaml, slug
from audiornn.params import Params
from audiornn.provenance.git import git
from audiornn.provenance.overrides import overrides
from audiornn.validation import validate

MAX_SETTINGS = 1000


@dataclass(frozen=True)
class Setting:
    """One setting of an experiment: a single pipeline run."""

    varied: dict[str, Any]  # the parameters that vary, by dotted name; or its own name, as `setting`
    name: str  # of the DVC experiment
    params: Params
    overrides: tuple[str, ...]  # options `-S`

    @property
    def label(self) -> str:
        """`shard.context=128`, or the setting's name in the file."""
        if list(self.varied) == ["setting"]:
            return str(self.varied["setting"])
        return " ".join(f"{key}={format_value(value)}" for key, value in self.varied.items())


def plan(name: str, set_params: Sequence[str] = (), workspace: str | Path = ".") -> list[Setting]:
    """The settings of an experiment, each validated like params.yaml.

    Parameters
    ----------
    name
        Of the experiment.
    set_params
        Further overrides, `KEY=VALUE` with values as in params.yaml, which take precedence over the file; for a swept
        parameter one or several values, `KEY=1,2`.
    workspace
        The folder with params.yaml and `experiments`.

    Raises
    ------
    AudioRNNError
        If a file or an override is invalid; one line per problem.
    """
    folder = Path(workspace) / FOLDER
    experiment, base = read(name, folder), read_yaml(Path(workspace) / "params.yaml", "keys and values")
    validate(Params, base, "params.yaml")
    where = f"{FOLDER / name}.yaml" + (one_line(f" with -S {' -S '.join(set_params)}", 100) if set_params else "")
    sweep, fixed = dict(experiment.sweep or {}), dict(experiment.set)
    for key, text in map(_key_and_text, set_params):
        if any(key in differences for differences in (experiment.settings or {}).values()):
            raise AudioRNNError(f"{one_line(f'-S {key}={text}', 100)}: {name} itself varies {key}")
        if key in sweep:
            values = _value(f"[{text.removeprefix('[').removesuffix(']')}]", key)
            sweep[key] = values if isinstance(values, list) else [values]
        else:
            fixed[key] = _value(text, key)
    cases: list[tuple[dict[str, Any], Overrides]]
    if experiment.settings:
        cases = [({"setting": label}, differences) for label, differences in experiment.settings.items()]
    else:
        if (count := math.prod(map(len, sweep.values()))) > MAX_SETTINGS:
            raise AudioRNNError(f"{where}: has {count:,} settings, but must have at most {MAX_SETTINGS:,}")
        combinations = itertools.product(*sweep.values())
        cases = [(case, case) for values in combinations for case in [dict(zip(sweep, values, strict=True))]]
    settings, problems = [], dict[str, None]()
    for varied, differences in cases:
        tree = copy.deepcopy(base)
        try:
            for key, value in {**fixed, **differences}.items():
                set_dotted(tree, key, value, where)
            _absolute_corpus_path(tree, Path(workspace))
            checked = validate(Params, tree, where)
            check_sizes(checked, where)
        except AudioRNNError as error:
            problems |= dict.fromkeys(str(error).splitlines())
            continue
        digest = content_digest(checked.model_dump())[:6]
        values = [
            f"{key.split('.')[-1] if len(varied) > 1 else ''}{format_value(value)}" for key, value in varied.items()
        ]
        label = f"{slug('-'.join([name, *values]), 60)}-{digest}"
        settings.append(Setting(varied, label, checked, tuple(overrides(base, tree))))
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
