"""Commands that reproduce a run."""

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audiornn.common.serialization import parse_yaml
from audiornn.provenance.git import git
from audiornn.provenance.overrides import overrides

PIPELINE_OUTPUTS = {"params.yaml", "dvc.lock"}  # files that every run changes


@dataclass(frozen=True)
class Reproduction:
    """Commands that reproduce a run, and what they cannot restore."""

    commands: Sequence[str]
    missing: Sequence[str] = ()


def reproduction(root: str | Path, params: Mapping[str, Any]) -> Reproduction:
    """The commands that reproduce a run from its commit.

    Parameters
    ----------
    root
        The workspace.
    params
        Content of params.yaml; differences from the commit's become options of `dvc exp run`.
    """
    commit = os.environ.get("DVC_EXP_BASELINE_REV") or git("rev-parse", "HEAD", folder=root)
    if not commit:
        return Reproduction(
            ["dvc repro"], ["This folder is not a Git repository: the version of the code is not recorded."]
        )
    base = parse_yaml(git("show", f"{commit}:params.yaml", folder=root), f"params.yaml of {commit}")
    changes = list(overrides(base if isinstance(base, dict) else {}, params))
    run = "dvc exp run " + " ".join(f"-S {shlex.quote(change)}" for change in changes) if changes else "dvc repro"
    changed = [
        line for line in git("diff", "--name-only", commit, folder=root).splitlines() if not _is_pipeline_output(line)
    ]
    missing = [f"Files that differed from the commit: {', '.join(changed)}."] if changed else []
    return Reproduction([f"git checkout {commit}", run], missing)


def _is_pipeline_output(file: str) -> bool:
    return file in PIPELINE_OUTPUTS or file.startswith("metrics/")
