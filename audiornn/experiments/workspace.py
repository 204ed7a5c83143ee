"""New workspaces: clones of the repository with the parameters of a preset.

A preset is an experiment of a single setting: a file of `experiments/` without `sweep`, `settings`, `search` or
`repeat`.
"""

import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from audiornn.common.errors import AudioRNNError, one_line, shown
from audiornn.common.files import atomic_folder
from audiornn.common.serialization import parse_yaml
from audiornn.common.validation import did_you_mean, validate
from audiornn.experiments import plan
from audiornn.experiments.definition import FOLDER, Experiment, list_experiments
from audiornn.params import Params
from audiornn.provenance.git import git

REPOSITORY = Path(__file__).parents[2]
PARAMS = "params.yaml"
NAME = re.compile(r"\w[\w.-]{0,99}")


def presets(repository: str | Path = REPOSITORY) -> dict[str, Experiment]:
    """The experiments that are presets, by name."""
    found = list_experiments(Path(repository) / FOLDER)
    several = ("sweep", "settings", "search", "repeat")
    return {name: each for name, each in found.items() if not any(getattr(each, key) for key in several)}


def create(target: str | Path, preset: str, repository: str | Path = REPOSITORY) -> Experiment:
    """Clone the last commit of the repository, write the preset into params.yaml, and commit that.

    Parameters
    ----------
    target
        The new folder, which must not exist and must be in no other Git repository.
    preset
        Name of one of `presets`.
    repository
        What is cloned.

    Returns
    -------
    The preset.

    Raises
    ------
    AudioRNNError
        If the folder exists, its name or place is not possible, there is no such preset, its values are not valid, or
        Git fails. Nothing is left behind.
    """
    target, known = Path(target), presets(repository)
    if not NAME.fullmatch(target.name):
        raise AudioRNNError(
            f"{shown(str(target))}: not a name for a workspace: use letters, digits, _, . and -, with a letter, digit "
            "or _ first"
        )
    if preset not in known:
        hint = did_you_mean(preset, list(known), f"there are {', '.join(known) or 'none'}")
        raise AudioRNNError(f"--preset {shown(preset)}: no such preset; {hint}")
    if target.exists() or target.is_symlink():
        raise AudioRNNError(f"{target}: exists; name a new folder")
    if not target.parent.is_dir():
        raise AudioRNNError(f"{target}: {target.parent} is not a folder")
    if around := git("rev-parse", "--show-toplevel", folder=target.parent):
        raise AudioRNNError(
            f"{target}: is in the Git repository {around}; name a folder outside it, such as "
            f"{Path(around).parent / target.name}"
        )
    with atomic_folder(target) as folder:
        _git("clone", "--quiet", str(Path(repository).absolute()), str(folder.absolute()), folder=folder)
        file = folder / PARAMS
        if not file.is_file():
            raise AudioRNNError(f"{repository}: has no {PARAMS} in its last commit")
        file.write_text(edited(file.read_text(encoding="utf-8"), known[preset].set, preset), encoding="utf-8")
        _git("commit", "--quiet", "--allow-empty", "-m", f"Preset {preset}", "--", PARAMS, folder=folder)
    return known[preset]


def _git(*arguments: str, folder: Path) -> None:
    """Run a git command that must not fail."""
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    except OSError as error:
        raise AudioRNNError(f"git {arguments[0]}: {error.strerror}; is Git installed?") from None
    if done.returncode:
        raise AudioRNNError(f"git {arguments[0]}: {one_line((done.stderr.strip() or 'failed').splitlines()[-1])}")


def edited(text: str, changes: Mapping[str, Any], where: str) -> str:
    """params.yaml with other values, and with the comments and the order that it has.

    Parameters
    ----------
    text
        Of the file.
    changes
        Values by dotted key; a section as value replaces the whole section.
    where
        The changes are from, for errors.

    Raises
    ------
    AudioRNNError
        If the result would not be valid, or a file of that form cannot be edited.
    """
    tree = parse_yaml(text, PARAMS)
    if not isinstance(tree, dict):
        raise AudioRNNError(f"{PARAMS}: holds {shown(tree)}, but must hold sections")
    for key, value in changes.items():
        plan.set_dotted(tree, key, value, where)
        text = _replace(text, key.split("."), value)
    plan.check_sizes(validate(Params, tree, where), where)
    if parse_yaml(text, PARAMS) != tree:
        raise AudioRNNError(f"{PARAMS}: cannot be edited: write a section's keys below its name, one per line")
    return text


def _replace(text: str, path: list[str], value: object) -> str:
    """The text with a value replaced or added."""
    if isinstance(value, Mapping):
        for key, (start, end) in _children(text, path).items():
            if key not in value:
                text = _without(text, start, end)
        for key, inner in value.items():
            text = _replace(text, [*path, key], inner)
        return text
    new = value if isinstance(value, str) else json.dumps(value)
    siblings = _children(text, path[:-1])
    if path[-1] in siblings:
        start, end = siblings[path[-1]]
        key_and_colon = re.match(r"[^:]*:[ ]*", text[start:end])
        assert key_and_colon
        start += key_and_colon.end()
        comment = re.match(r"([ ]*)#", text[end:])
        if comment:  # which stays in its column if there is room
            new += " " * max(1, len(comment[1]) + end - start - len(new))
            end += len(comment[1])
        return text[:start] + new + text[end:]
    if not siblings:
        return text
    start, end = list(siblings.values())[-1]
    indent = start - text.rindex("\n", 0, start) - 1
    line_end = text.find("\n", end)
    return f"{text[:line_end]}\n{' ' * indent}{path[-1]}: {new}{text[line_end:]}"


def _without(text: str, start: int, end: int) -> str:
    """The text without the lines of a key and its value."""
    return text[: text.rindex("\n", 0, start)] + text[text.find("\n", end) :]


def _children(text: str, path: list[str]) -> dict[str, tuple[int, int]]:
    """Where the keys of a section begin, and their values end, by key."""
    node = yaml.compose(text, yaml.SafeLoader)
    for name in path:
        if not isinstance(node, yaml.MappingNode):
            return {}
        node = next((value for key, value in node.value if key.value == name), None)
    if not isinstance(node, yaml.MappingNode):
        return {}
    return {key.value: (key.start_mark.index, value.end_mark.index) for key, value in node.value}
