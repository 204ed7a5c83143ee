"""Run one setting by `dvc exp run`."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audiornn.errors import AudioRNNError
from audiornn.experiments.plan import Setting
from audiornn.provenance.git import git


@dataclass(frozen=True)
class SettingResult:
    """Result of one setting: its MLflow run, and the metrics files of its stages."""

    run_id: str
    metrics: dict[str, dict[str, Any]]


Runner = Callable[[Setting, str | None], SettingResult]  # a setting, the parent's run


class Dvc:
    """Run settings by `dvc exp run --temp`: in a copy, which leaves the workspace unchanged.

    Stages that ran before are restored from DVC's cache.
    """

    def __init__(self, workspace: str | Path) -> None:
        self.workspace = Path(workspace)

    def command(self, setting: Setting) -> list[str]:
        """The command of a setting."""
        options = [word for override in setting.overrides for word in ("-S", override)]
        return ["dvc", "exp", "run", "--temp", "--name", setting.name, *options]

    def run(self, setting: Setting, parent: str | None) -> SettingResult:
        """Run a setting.

        Raises
        ------
        AudioRNNError
            If DVC fails; its own message is on stderr. If the tracking server is not there.
        """
        from audiornn.tracking.store import client_of
        from audiornn.tracking.tags import PARENT

        client_of(self.workspace)  # the train stage would find out only after the stages before it
        if self._commit(setting.name):  # from an earlier run: DVC refuses a second experiment of the same name
            self._run(["dvc", "exp", "remove", "--quiet", setting.name])
        self._run(self.command(setting), **({PARENT: parent} if parent else {}))
        return self._result(setting.name)

    def _run(self, command: Sequence[str], **variables: str) -> None:
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

    def _result(self, name: str) -> SettingResult:
        from dvc.api import DVCFileSystem

        files = DVCFileSystem(str(self.workspace), rev=self._commit(name))
        metrics = {
            stage: json.loads(files.read_text(f"metrics/{stage}.json")) for stage in ("train", "evaluate", "generate")
        }
        return SettingResult(json.loads(files.read_text("models/mlflow.json"))["run_id"], metrics)
