"""List the recordings. Neither Git nor DVC tracks them, so they are checked on every run: see docs/architecture.md."""

from dataclasses import asdict
from pathlib import Path

from audiornn.common.errors import AudioRNNError
from audiornn.common.serialization import read_json, write_json
from audiornn.common.validation import parse
from audiornn.corpus.listing import Known, Listing, list_files, own_recordings
from audiornn.params import Params
from audiornn.reuse.packs import keep
from stages.common import WORKSPACE, run

OUTPUT = Path("data/recordings.json")
PREPARED = Path("data/resample"), Path("data/encode")  # which their stages use again as far as they can
KNOWN = WORKSPACE / ".dvc/tmp/audiornn-recordings.json"  # hashes of files that have not changed since the last time


def main(p: Params) -> None:
    for output in PREPARED:
        keep(output)
    own = own_recordings(p.corpus.path, WORKSPACE)
    if not own:
        write_json(OUTPUT, asdict(Listing(None, [])))
        return
    try:
        known = parse(Known, read_json(KNOWN), KNOWN)
    except AudioRNNError:  # there is none yet
        known = {}
    files, remembered = list_files(own, known)
    write_json(OUTPUT, asdict(Listing(p.corpus.path, files)))
    if KNOWN.parent.is_dir():
        write_json(KNOWN, remembered)


if __name__ == "__main__":
    run(main)
