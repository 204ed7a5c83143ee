"""Identify the model that training starts from. DVC cannot see changes of it, so it is checked on every run."""

from pathlib import Path

from audiornn.common.errors import AudioRNNError
from audiornn.common.serialization import write_json
from audiornn.params import Params
from stages.common import WORKSPACE, run

OUTPUT, MODELS = Path("data/ancestor.json"), Path("models")


def main(p: Params) -> None:
    source = p.train.start_from
    if source is None:
        write_json(OUTPUT, None)
        return
    from audiornn.tracking.runs import RUN_FILE, read_run_id
    from audiornn.training.ancestor import find

    roots = (Path(), WORKSPACE)
    if any((root / source).resolve().is_relative_to((root / MODELS).resolve()) for root in roots):
        run_file = WORKSPACE / MODELS / RUN_FILE
        run_id = f", {read_run_id(run_file)}" if run_file.is_file() else ""
        raise AudioRNNError(
            f"train.start_from is {source!r}, but must not be the output of the train stage, which DVC removes before "
            f"it trains: copy it (cp -rL {MODELS} FOLDER) and name the copy, or name its MLflow run{run_id}"
        )
    write_json(OUTPUT, find(source, WORKSPACE).summary())


if __name__ == "__main__":
    run(main)
