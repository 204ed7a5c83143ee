"""A clone of this working tree with a tiny experiment, run for real."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

SOURCE = Path(__file__).parents[2]
TINY = {
    "corpus": {"minutes": 0.3},
    "shard": {"context": 64, "targets_per_window": 256},
    "train": {"model": {"name": "audiornn", "dense": 12, "units": 12, "layers": 2}, "epochs": 2, "batch_size": 16},
    "evaluate": {"context_targets": 64},
    "generate": {"seconds": 0.25, "count": 1, "temperature": 1.0, "prompt_seconds": 0.05},
}


@dataclass
class Workspace:
    """A clone, and commands in it."""

    root: Path

    def environment(self, **more):
        """What commands see: this Python's programs; of Python, TensorFlow, DVC and MLflow only the given settings."""
        foreign = ("DVC_", "MLFLOW_", "PYTHON", "TF_")
        env = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
        env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
        env |= {
            "GIT_AUTHOR_NAME": "a",
            "GIT_AUTHOR_EMAIL": "a@b",
            "GIT_COMMITTER_NAME": "a",
            "GIT_COMMITTER_EMAIL": "a@b",
        }
        return env | more

    def run(self, *command, check=True, **environment):
        env = self.environment(**environment)
        done = subprocess.run(command, cwd=self.root, env=env, capture_output=True, text=True, errors="replace")
        if check and done.returncode:
            pytest.fail(f"{' '.join(command)} exited with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        return done

    def set(self, **sections):
        """Change params.yaml: `shard={"context": 3}`."""
        path = self.root / "params.yaml"
        params = yaml.safe_load(path.read_text())
        for section, values in sections.items():
            params[section] |= values
        path.write_text(yaml.safe_dump(params))

    def commit(self):
        self.run("git", "add", "-A")
        self.run("git", "commit", "-qm", "state", "--allow-empty")

    def store(self):
        """A client of the default MLflow store, and its runs, oldest first."""
        import mlflow

        uri = f"sqlite:///{self.root}/mlflow.db"
        mlflow.set_tracking_uri(uri)  # logged models are looked up there, whatever the client's store is
        client = mlflow.MlflowClient(uri)
        experiment = client.get_experiment_by_name("audiornn")
        return client, sorted(client.search_runs([experiment.experiment_id]), key=lambda run: run.info.start_time)


def clone(root, **changes):
    """A fresh clone with the tiny experiment, committed."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=SOURCE,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.split("\0"):
        if name and (SOURCE / name).is_file() and not name.startswith(("metrics/", "dvc.lock")):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(SOURCE / name, root / name)
    workspace = Workspace(root)
    workspace.set(**TINY)
    workspace.set(**changes)
    workspace.run("git", "init", "-q")
    workspace.commit()
    return workspace
