"""Commands that repeat a run."""

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from audiornn.provenance.git import git
from audiornn.provenance.overrides import overrides

PIPELINE_OUTPUTS = {"params.yaml", "dvc.lock"}  # files that differ from a commit because a run was made


@dataclass(frozen=True)
class Reproduction:
    """Commands that make a run again, and what they do not bring back."""

    commands: Sequence[str]
    missing: Sequence[str] = ()


def reproduction(root: str | Path, params: Mapping[str, Any]) -> Reproduction:
    """The commands that make a run again from its commit.

    Parameters
    ----------
    root
        The workspace.
    params
        What params.yaml holds; where the commit's differs, the differences become options of `dvc exp run`.
    """
    commit = os.environ.get("DVC_EXP_BASELINE_REV") or git("rev-parse", "HEAD", folder=root)
    if not commit:
        return Reproduction(
            ["dvc repro"], ["This folder is no Git repository: the code that was used is not recorded."]
        )
    base = yaml.safe_load(git("show", f"{commit}:params.yaml", folder=root)) or {}
    changes = list(overrides(base, params))
    run = "dvc exp run " + " ".join(f"-S {shlex.quote(change)}" for change in changes) if changes else "dvc repro"
    changed = [
        line for line in git("diff", "--name-only", commit, folder=root).splitlines() if not _is_pipeline_output(line)
    ]
    missing = [f"Files that differed from the commit: {', '.join(changed)}."] if changed else []
    return Reproduction([f"git checkout {commit}", run], missing)


def _is_pipeline_output(file: str) -> bool:
    return file in PIPELINE_OUTPUTS or file.startswith("metrics/")
