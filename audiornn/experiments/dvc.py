"""Run one setting by `dvc exp run`."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from audiornn.common.errors import AudioRNNError, one_line
from audiornn.experiments.plan import Setting
from audiornn.provenance.git import git


@dataclass(frozen=True)
class SettingResult:
    """Result of one setting: its MLflow run, and the metrics files of its stages."""

    run_id: str
    metrics: dict[str, dict[str, Any]]


def options(setting: Setting) -> list[str]:
    """The options of `dvc exp run` that make a setting."""
    return [word for override in setting.overrides for word in ("-S", override)]


def command(setting: Setting) -> list[str]:
    """The command of a setting."""
    return ["dvc", "exp", "run", "--temp", "--name", setting.name, *options(setting)]


class Runner(Protocol):
    """What runs settings."""

    def run(self, setting: Setting, parent: str | None, **variables: str) -> SettingResult:
        """Run a setting below the run of its parent, with environment variables for its stages."""

    def read(self, name: str, path: str) -> bytes:
        """A file of the results of a setting that has run, by the name of its DVC experiment."""


class DvcRunner:
    """Run settings by `dvc exp run --temp`: in a copy, which leaves the workspace unchanged.

    Stages that ran before are restored from DVC's cache.
    """

    def __init__(self, workspace: str | Path) -> None:
        self.workspace = Path(workspace)
        self._opened: tuple[str, Any] = ("", None)  # the files of a commit, as opening them takes a while

    def run(self, setting: Setting, parent: str | None, **variables: str) -> SettingResult:
        """Run a setting; `variables` are for the environment of its stages.

        Raises
        ------
        AudioRNNError
            If DVC fails; its own message is on stderr. If the tracking server is not there.
        """
        from audiornn.tracking.store import client_of
        from audiornn.tracking.tags import PARENT

        client_of(self.workspace)  # the train stage would find out only after the stages before it
        if self._commit(setting.name):  # from an earlier run: DVC refuses a second experiment of the same name
            self._call(["dvc", "exp", "remove", "--quiet", setting.name])
        self._call(command(setting), **({PARENT: parent} if parent else {}), **variables)
        return self._result(setting.name)

    def _call(self, command: Sequence[str], **variables: str) -> None:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"  # the stages' python
        environment = {**os.environ, "PATH": path, **variables}
        done = subprocess.run([sys.executable, "-m", *command], cwd=self.workspace, env=environment, check=False)
        if done.returncode:
            raise AudioRNNError(f"exit code {done.returncode} of {shlex.join(command)}")

    def _commit(self, name: str) -> str:
        """The commit of an experiment based on the workspace's HEAD; empty if there is none."""
        head = git("rev-parse", "HEAD", folder=self.workspace)
        return git(
            "for-each-ref", "--format=%(objectname)", f"refs/exps/{head[:2]}/{head[2:]}/{name}", folder=self.workspace
        )

    def read(self, name: str, path: str) -> bytes:
        """A file of an experiment's results, from DVC's cache; that of this commit, or else of another.

        Raises
        ------
        AudioRNNError
            If it is not there.
        """
        from dvc.api import DVCFileSystem
        from dvc.exceptions import DvcException

        commit = self._commit(name) or git(
            "for-each-ref", "--count=1", "--format=%(objectname)", f"refs/exps/*/*/{name}", folder=self.workspace
        )
        if not commit:
            raise AudioRNNError(f"{path} of experiment {name}: there is no such experiment")
        try:
            if self._opened[0] != commit:
                self._opened = commit, DVCFileSystem(str(self.workspace), rev=commit)
            return self._opened[1].read_bytes(path)
        except (DvcException, OSError) as error:
            raise AudioRNNError(f"{path} of experiment {name}: {one_line(error)}") from None

    def _result(self, name: str) -> SettingResult:
        metrics = {
            stage: json.loads(self.read(name, f"metrics/{stage}.json")) for stage in ("train", "evaluate", "generate")
        }
        return SettingResult(json.loads(self.read(name, "models/mlflow.json"))["run_id"], metrics)
