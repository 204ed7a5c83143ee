"""A process that logs runs: `python -m tests.helpers.run_writer WORKSPACE NAME RUNS POINTS`."""

import sys

from audiornn.tracking import runs


def main(workspace: str, name: str, count: str, points: str) -> None:
    for i in range(int(count)):
        with runs.pipeline_run(workspace, {"run": {"number": i}}, {"writer": name}, f"{name} {i}") as log:
            for step in range(int(points)):
                log.log_curves({step: {"loss": float(step)}})


if __name__ == "__main__":
    main(*sys.argv[1:])
