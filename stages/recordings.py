"""List the recordings. Neither Git nor DVC tracks them, so they are looked at each time: see docs/architecture.md."""

from pathlib import Path

from audiornn.corpus.listing import as_json, list_files, own_recordings
from audiornn.errors import AudioRNNError
from audiornn.files import read_json, write_json
from audiornn.params import Params
from stages.common import WORKSPACE, run

OUTPUT = Path("data/recordings.json")
KNOWN = WORKSPACE / ".dvc/tmp/audiornn-recordings.json"  # hashes of files that have not changed since the last time


def main(p: Params) -> None:
    own = own_recordings(p.corpus.path, WORKSPACE)
    if not own:
        write_json(OUTPUT, {"path": None, "files": []})
        return
    try:
        known = read_json(KNOWN)
    except AudioRNNError:  # there is none yet
        known = {}
    files, remembered = list_files(own, known if isinstance(known, dict) else {})
    write_json(OUTPUT, {"path": p.corpus.path, "files": as_json(files)})
    if KNOWN.parent.is_dir():
        write_json(KNOWN, remembered)


if __name__ == "__main__":
    run(main)
