"""Write the HTML report of a run."""

from pathlib import Path

from audiornn.files import atomic_file
from audiornn.params import Params
from audiornn.report import page as page_module
from audiornn.tracking import runs
from stages.common import WORKSPACE, run

MODEL, REPORT = Path("models"), "report.html"


def main(p: Params) -> None:
    run_id = runs.read_run_id(MODEL / runs.RUN_FILE)
    page = page_module.collect(".", run_id, p.report.clips, p.report.seconds)
    with atomic_file(REPORT) as partial:
        partial.write_text(page_module.render(page), encoding="utf-8")
    runs.reopen(WORKSPACE, MODEL).artifact(REPORT, "report")
    print(f"{REPORT}: open it in a browser")


if __name__ == "__main__":
    run(main)
