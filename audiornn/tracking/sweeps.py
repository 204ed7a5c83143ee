"""Sweeps: MLflow parent runs."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiornn.tracking.runs import Run, terminating
from audiornn.tracking.store import client_of, experiment_id
from audiornn.tracking.tags import PARENT_TAG, provenance_tags

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@contextmanager
def sweep_run(workspace: str | Path, name: str, description: str, identity: str) -> Iterator["Sweep"]:
    """Start or resume the parent run of a sweep: the newest one of the same identity that was not deleted."""
    client = client_of(workspace)
    experiment = experiment_id(client, workspace)
    found = client.search_runs([experiment], f"tags.`sweep.identity` = '{identity}'", max_results=1)
    if found:
        log = Sweep(client, found[0].info.run_id)
        client.update_run(log.run_id, status="RUNNING")
    else:
        tags = {**provenance_tags(), "sweep.identity": identity, "sweep": name, "mlflow.note.content": description}
        log = Sweep(client, client.create_run(experiment, run_name=name, tags=tags).info.run_id)
    with terminating(log):
        yield log


class Sweep(Run):
    """Writer of the parent run of a sweep."""

    def child(self, run_id: str, name: str, params: Mapping[str, Any], metrics: Mapping[str, float | None]) -> str:
        """Make the run of a setting a child of the sweep; returns the child's id.

        If the run belongs to another sweep, or is not in the store as its results came from DVC's cache, the child is a
        new run with its parameters and results, which names it in the tag `taken_from_run`.
        """
        from mlflow.exceptions import MlflowException

        try:
            run = self._client.get_run(run_id)
            if run.info.lifecycle_stage == "active" and run.data.tags.get(PARENT_TAG) in (None, self.run_id):
                self._client.set_tag(run_id, PARENT_TAG, self.run_id)
                return run_id
        except MlflowException:
            pass
        experiment = self._client.get_run(self.run_id).info.experiment_id
        tags = {"taken_from_run": run_id, PARENT_TAG: self.run_id}
        query = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
        if found := self._client.search_runs([experiment], query, max_results=1):
            return found[0].info.run_id
        copy = Run(self._client, self._client.create_run(experiment, run_name=name, tags=tags).info.run_id)
        copy.params(params)
        copy.metrics(metrics)
        self._client.set_terminated(copy.run_id)
        return copy.run_id

    def table(self, rows: Sequence[Mapping[str, Any]], markdown: str, name: str) -> None:
        """Log rows as an MLflow table, as CSV and as Markdown, replacing earlier ones of that name."""
        import pandas as pd

        frame = pd.DataFrame(list(rows))
        self._client.log_text(self.run_id, frame.to_csv(index=False), f"{name}.csv")
        self._client.log_text(self.run_id, markdown, f"{name}.md")
        if f"{name}.json" in {
            item.path for item in self._client.list_artifacts(self.run_id)
        }:  # it would be appended to
            self._client.log_text(self.run_id, frame.to_json(orient="split", index=False), f"{name}.json")
        else:
            self._client.log_table(self.run_id, frame, f"{name}.json")

    def figure(self, figure: "Figure", name: str) -> None:
        """Log a matplotlib figure as a picture."""
        self._client.log_figure(self.run_id, figure, name, save_kwargs={"dpi": 120, "facecolor": "white"})
