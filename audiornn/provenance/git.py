"""Git: commit and changed files."""

import subprocess
from pathlib import Path

from audiornn.provenance.dvc import LOCK


def git(*arguments: str, folder: str | Path = ".") -> str:
    """Output of a git command, stripped; empty if it fails or git is not installed."""
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


def version_tags() -> dict[str, str]:
    """Tags: the commit, and whether tracked files differ from it, other than those that pipeline runs write."""
    commit = git("rev-parse", "HEAD")
    if not commit:
        return {}
    changed = git(
        "status", "--porcelain", "-uno", "--", ".", *(f":!{path}" for path in ("params.yaml", LOCK, "metrics"))
    )
    return {"mlflow.source.git.commit": commit, "git.dirty": str(bool(changed)).lower()}
