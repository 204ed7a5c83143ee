"""Write the HTML report of a run."""

from pathlib import Path

from audiornn.files import atomic_file, read_json
from audiornn.params import Params
from audiornn.report import page as page_module
from audiornn.tracking import runs
from stages.common import WORKSPACE, run

MODEL, REPORT = Path("models"), "report.html"


def main(p: Params) -> None:
    log = runs.reopen(WORKSPACE, MODEL)  # first of all, as the tracking server may not be there
    run_id = read_json(MODEL / runs.RUN_FILE)["run_id"]
    page = page_module.collect(".", run_id, p.report.clips, p.report.seconds)
    with atomic_file(REPORT) as partial:
        partial.write_text(page_module.render(page), encoding="utf-8")
    with log:
        log.artifact(REPORT, "report")
    print(f"{REPORT}: open it in a browser")


if __name__ == "__main__":
    run(main)
