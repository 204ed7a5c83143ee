"""Find the recordings, or synthesise some; write the manifest and a report of what was left out."""

from dataclasses import asdict
from pathlib import Path

from audiornn.corpus import scan
from audiornn.corpus.synthetic.music import music
from audiornn.corpus.synthetic.speech import speech
from audiornn.errors import AudioRNNError
from audiornn.files import atomic_folder, write_json
from audiornn.params import Corpus, Params
from stages.common import WORKSPACE, run

OUTPUT = Path("data/corpus")
SYNTHESES = {"speech": speech, "music": music}  # corpus.synth
DROP_FOLDER = "recordings"  # ships empty; empty means: unset


def own_recordings(p: Corpus) -> Path | None:
    """The user's folder, from here or the workspace; None if it is unset."""
    if p.path is None:
        return None
    for folder in (Path(p.path), WORKSPACE / p.path):
        if folder.is_dir() and any(not f.name.startswith(".") for f in folder.iterdir()):
            return folder
    if p.path.rstrip("/") == DROP_FOLDER:
        return None
    raise AudioRNNError(f"corpus.path is {p.path!r}, but must be a folder with recordings: it is missing or empty")


def main(p: Params) -> None:
    own = own_recordings(p.corpus)
    with atomic_folder(OUTPUT) as folder:
        if own:
            root = source = str(p.corpus.path)
        else:
            SYNTHESES[p.corpus.synth](folder / "audio", p.corpus.minutes, p.corpus.seed)
            root, source = f"{OUTPUT}/audio", f"the embedded default ({p.corpus.synth})"
        recordings, left_out = scan.scan(own or folder / "audio")
        report = scan.report(recordings, left_out, source)
        print(report)
        if not recordings:
            raise AudioRNNError(f"corpus.path is {source!r}, but holds no recording that can be used; see above")
        seconds = sum(recording.seconds for recording in recordings)
        manifest = scan.CorpusManifest(root, seconds, recordings, left_out)
        write_json(folder / "manifest.json", asdict(manifest))
        (folder / "report.md").write_text(report, encoding="utf-8")
    metrics = {"recordings_used": len(recordings), "files_left_out": len(left_out)}
    write_json("metrics/corpus.json", metrics | {"minutes": seconds / 60})


if __name__ == "__main__":
    run(main)
