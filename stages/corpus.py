"""Find or synthesise the recordings; write a manifest and a report of skipped files."""

from dataclasses import asdict
from pathlib import Path

from audiornn.corpus import scan
from audiornn.corpus.listing import Listing, check_unchanged, own_recordings
from audiornn.corpus.synthetic.music import music
from audiornn.corpus.synthetic.speech import speech, voices
from audiornn.errors import AudioRNNError
from audiornn.files import atomic_folder, read_json, write_json
from audiornn.params import Params
from audiornn.validation import parse
from stages.common import WORKSPACE, run

LISTING, OUTPUT = "data/recordings.json", Path("data/corpus")
SYNTHESES = {"speech": speech, "voices": voices, "music": music}  # corpus.synthetic


def main(p: Params) -> None:
    own = own_recordings(p.corpus.path, WORKSPACE)
    with atomic_folder(OUTPUT) as folder:
        if own:
            root = source = str(p.corpus.path)
        else:
            SYNTHESES[p.corpus.synthetic](folder / "audio", p.corpus.minutes, p.corpus.seed)
            root, source = f"{OUTPUT}/audio", f"the synthetic default ({p.corpus.synthetic})"
        recordings, left_out = scan.scan(own or folder / "audio")
        report = scan.report(recordings, left_out, source)
        print(report)
        if own:
            listed = parse(Listing, read_json(LISTING), LISTING)
            check_unchanged(listed.files, {r.path: r.sha256 for r in recordings})
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
