"""List the recordings, and identify the prompt.

Neither Git nor DVC tracks them, so they are checked on every run: see docs/architecture.md.
"""

from dataclasses import asdict
from pathlib import Path

from audiornn.common.digests import sha256
from audiornn.common.errors import AudioRNNError
from audiornn.common.serialization import read_json, write_json
from audiornn.common.validation import parse
from audiornn.corpus.listing import Known, Listing, list_files, own_recordings
from audiornn.params import TEST_PROMPT, Params
from audiornn.reuse.packs import keep
from stages.common import WORKSPACE, resolve, run

OUTPUT, PROMPT = Path("data/recordings.json"), Path("data/prompt.json")
PREPARED = Path("data/resample"), Path("data/encode")  # which their stages use again as far as they can
KNOWN = WORKSPACE / ".dvc/tmp/audiornn-recordings.json"  # hashes of files that have not changed since the last time


def main(p: Params) -> None:
    for output in PREPARED:
        keep(output)
    write_json(PROMPT, prompt_digest(p.generate.prompt))
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


def prompt_digest(prompt: str | None) -> str | None:
    """SHA-256 of the audio file that clips continue, if it is one.

    Raises
    ------
    AudioRNNError
        If it is not there, which the generate stage would only notice after a training.
    """
    if prompt in (None, TEST_PROMPT):
        return None
    path = resolve(prompt)
    if not path.is_file():
        raise AudioRNNError(f"generate.prompt is {prompt!r}, but must be {TEST_PROMPT}, null or an audio file")
    return sha256(path)


if __name__ == "__main__":
    run(main)
