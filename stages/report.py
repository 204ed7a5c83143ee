"""Write the HTML report of a run."""

from pathlib import Path
from tempfile import TemporaryDirectory

from audiornn.common.files import atomic_file
from audiornn.common.waits import announced
from audiornn.params import Params
from audiornn.report import page as page_module
from audiornn.tracking import runs
from stages.common import WORKSPACE, run

MODEL, REPORT = Path("models"), "report.html"


def main(p: Params) -> None:
    mlflow_run = runs.reopen(WORKSPACE, MODEL)  # first of all, as the tracking server may not be there
    run_id = runs.read_run_id(MODEL / runs.RUN_FILE)
    with announced("writing the report"), atomic_file(REPORT) as partial:
        page = page_module.collect(".", run_id, p.report.clips, p.report.seconds)
        partial.write_text(page_module.render(page), encoding="utf-8")
    with mlflow_run, TemporaryDirectory() as folder:
        mlflow_run.log_artifact(REPORT, "report")
        page.recordings.write(Path(folder) / "recordings.csv")
        mlflow_run.log_artifact(folder, "data")
        mlflow_run.log_metrics({f"recordings.{key}": value for key, value in page.recordings.metrics().items()})
    print(f"{REPORT}: open it in a browser")


if __name__ == "__main__":
    run(main)
