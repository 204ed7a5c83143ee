"""Find or synthesise the recordings; write a manifest and a report of files left out."""

from dataclasses import asdict
from pathlib import Path

from audiornn.common.errors import AudioRNNError
from audiornn.common.files import atomic_folder
from audiornn.common.serialization import read_json, write_json
from audiornn.common.validation import parse
from audiornn.corpus import scan
from audiornn.corpus.listing import Listing, check_unchanged, own_recordings
from audiornn.corpus.synthetic.registry import SYNTHESES
from audiornn.params import Params
from audiornn.reuse.index import FOLDER, Index
from stages.common import WORKSPACE, run

LISTING, OUTPUT = "data/recordings.json", Path("data/corpus")


def main(p: Params) -> None:
    own = own_recordings(p.corpus.path, WORKSPACE)
    known = Index(WORKSPACE / FOLDER / "corpus.json", scan.Examined, scan.CODE)
    with atomic_folder(OUTPUT) as folder:
        if own:
            root = source = str(p.corpus.path)
        else:
            SYNTHESES[p.corpus.synthetic](folder / "audio", p.corpus.minutes, p.corpus.seed)
            root, source = f"{OUTPUT}/audio", f"the synthetic default ({p.corpus.synthetic})"
        listed = parse(Listing, read_json(LISTING), LISTING) if own else None
        digests = {file.path: file.sha256 for file in listed.files} if listed else None
        try:
            recordings, left_out = scan.scan(own or folder / "audio", digests, known)
        except BaseException:  # what was examined until then need not be again
            known.save(complete=False)
            raise
        report = scan.report(recordings, left_out, source)
        print(report)
        if listed:
            check_unchanged(listed.files, {r.path: r.sha256 for r in recordings}, (file.path for file in left_out))
            known.save()
        if not recordings:
            raise AudioRNNError(f"corpus.path is {source!r}, but has no usable recording; see above")
        seconds = sum(recording.seconds for recording in recordings)
        manifest = scan.CorpusManifest(root, seconds, recordings, left_out)
        write_json(folder / "manifest.json", asdict(manifest))
        (folder / "report.md").write_text(report, encoding="utf-8")
    metrics = {"recordings_used": len(recordings), "files_left_out": len(left_out)}
    write_json("metrics/corpus.json", metrics | {"minutes": seconds / 60})


if __name__ == "__main__":
    run(main)
