"""Sweeps: MLflow parent runs."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from audiornn.tracking.delivery import RERUN, adopt
from audiornn.tracking.runs import Run, as_text, points, terminating
from audiornn.tracking.store import StoreError, client_of, direct, experiment_id
from audiornn.tracking.tags import provenance_tags

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from mlflow import MlflowClient


@contextmanager
def sweep_run(workspace: str | Path, name: str, description: str, identity: str) -> Iterator["Sweep"]:
    """Start or resume the parent run of a sweep: the newest one of the same identity that was not deleted."""
    client, experiment, found = _find(workspace, identity)
    if found:
        log = Sweep(client, workspace, found, RERUN)
        log.outbox.add("resumed", {})
    else:
        tags = {**provenance_tags(), "sweep.identity": identity, "sweep": name, "mlflow.note.content": description}
        log = Sweep(client, workspace, _begin(client, experiment, name, tags))
    with log, terminating(log):
        yield log


@direct
def _find(workspace: str | Path, identity: str) -> tuple["MlflowClient", str, str | None]:
    """A client, the experiment, and the id of the newest run of a sweep that was not deleted."""
    client = client_of(workspace)
    experiment = experiment_id(client, workspace)
    found = client.search_runs([experiment], f"tags.`sweep.identity` = '{identity}'", max_results=1)
    return client, experiment, found[0].info.run_id if found else None


@direct
def _begin(client: "MlflowClient", experiment: str, name: str, tags: dict[str, str]) -> str:
    return client.create_run(experiment, run_name=name, tags=tags).info.run_id


class Sweep(Run):
    """Writer of the parent run of a sweep. `last_figure` is the last figure that was logged, as PNG."""

    last_figure = b""

    def log_child(self, run_id: str, name: str, params: Mapping[str, Any], metrics: Mapping[str, float | None]) -> str:
        """Make the run of a setting a child of the sweep, see `adopt`; returns the child's id.

        While the store is not available that waits, and the id is that of the setting's run.
        """
        child: dict[str, Any] = {
            "run_id": run_id,
            "name": name,
            "params": as_text(params),
            "points": points({0: metrics}),
        }
        try:
            return direct(adopt)(self._client, self._workspace, self.run_id, **child)
        except StoreError:
            self.outbox.add("child", child)
            return run_id

    def log_table(self, rows: Sequence[Mapping[str, Any]], markdown: str, name: str) -> None:
        """Log rows as an MLflow table, as CSV and as Markdown, replacing earlier ones of that name."""
        import pandas as pd

        frame = pd.DataFrame(list(rows))
        self._text(frame.to_csv(index=False), f"{name}.csv")
        self._text(markdown, f"{name}.md")
        self._text(frame.to_json(orient="split", index=False), f"{name}.json")
        self.set_tags({"mlflow.loggedArtifacts": json.dumps([{"path": f"{name}.json", "type": "table"}])})

    def log_csv(self, rows: Sequence[Mapping[str, Any]], name: str) -> None:
        """Log rows as CSV."""
        import pandas as pd

        self._text(pd.DataFrame(list(rows)).to_csv(index=False), f"{name}.csv")

    def set_description(self, text: str) -> None:
        """Set the description that MLflow shows with the run."""
        self.set_tags({"mlflow.note.content": text})

    def log_figure(self, figure: "Figure", name: str) -> None:
        """Log a matplotlib figure as a picture."""
        with TemporaryDirectory() as folder:
            figure.savefig(Path(folder) / name, dpi=120, facecolor="white")
            self.last_figure = (Path(folder) / name).read_bytes()
            self.log_artifact(Path(folder) / name, None)

    def _text(self, text: str, name: str) -> None:
        with TemporaryDirectory() as folder:
            (Path(folder) / name).write_text(text, encoding="utf-8")
            self.log_artifact(Path(folder) / name, None)
