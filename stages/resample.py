"""Convert every recording to mono PCM at one sample rate, without DC and rumble."""

from collections import defaultdict
from dataclasses import asdict
from pathlib import Path

from audiornn.audio import packs, resampling
from audiornn.common.errors import AudioRNNError, shown
from audiornn.common.files import atomic_folder
from audiornn.common.serialization import read_json, write_json
from audiornn.common.validation import parse
from audiornn.corpus.scan import CorpusManifest, Recording
from audiornn.params import Params
from audiornn.reuse.packs import Packs, Piece
from stages.common import WORKSPACE, resolve, run

INPUT, OUTPUT = Path("data/corpus/manifest.json"), Path("data/resample")
SYNTHETIC = "data/corpus/audio"  # where recordings are if the user has none
ResampledPacks = Packs[packs.Source, packs.ResampledSamples]
MAX_LISTED = 10  # recordings that are named on the terminal; data/resample/manifest.json has all
PAYS_FROM = 1800.0  # seconds of audio from which on more than one core pays


def tell(what: str, lines: list[str]) -> None:
    """Print what there is to know of some recordings."""
    if lines:
        more = [f"and {len(lines) - MAX_LISTED} more"] if len(lines) > MAX_LISTED else []
        print(f"{len(lines)} recordings {what}:", *lines[:MAX_LISTED], *more, sep="\n  ")


def resample(
    corpus: CorpusManifest, folder: Path, rate: int, highpass_hz: float, resampled_packs: ResampledPacks
) -> list[resampling.ResampledRecording]:
    """Write all recordings to packs in a folder: what they became, in the order of the corpus."""
    members: dict[str, list[Recording]] = defaultdict(list)
    for recording in sorted(corpus.recordings, key=lambda recording: recording.sha256):
        members[recording.sha256[: packs.PACK_DIGITS]].append(recording)

    def piece(recording: Recording) -> Piece[packs.Source, packs.ResampledSamples]:
        path = resolve(Path(corpus.root, recording.path))
        source = packs.Source(str(path.absolute()), recording.sha256, recording.reading, rate, highpass_hz)
        settings = [recording.sha256, path.suffix, asdict(recording.reading), rate, highpass_hz]
        return Piece(source, resampled_packs.index.key(*settings), recording.seconds)

    wanted = {name: [piece(recording) for recording in members[name]] for name in sorted(members)}
    results = resampled_packs.make(packs.resample_pack, wanted, folder, "resample", PAYS_FROM)
    resampled = {}
    for name, of_pack in members.items():
        start = 0
        for recording, made in zip(of_pack, results[name], strict=True):
            resampled[recording.path] = resampling.ResampledRecording(
                recording.name,
                f"{name}{packs.SUFFIX}",
                start,
                recording.path,
                made.samples,
                made.peak,
                made.gain,
                made.sha256,
            )
            start += made.samples
    return [resampled[recording.path] for recording in corpus.recordings]


def main(p: Params) -> None:
    corpus = parse(CorpusManifest, read_json(INPUT), INPUT)
    if corpus.root not in (p.corpus.path, SYNTHETIC):
        raise AudioRNNError(f"{INPUT}: is of the folder {shown(corpus.root)}, not of corpus.path; run dvc repro corpus")
    rate, highpass_hz = p.resample.sample_rate, p.resample.highpass_hz
    resampled_packs: ResampledPacks = Packs(
        "resample", OUTPUT, WORKSPACE, packs.ResampledSamples, packs.CODE, packs.SUFFIX
    )
    with atomic_folder(OUTPUT) as folder:
        recordings = resample(corpus, folder, rate, highpass_hz, resampled_packs)
        manifest = resampling.ResampledManifest(rate, highpass_hz, recordings)
        write_json(folder / "manifest.json", asdict(manifest))
    resampled_packs.close()
    pairs = list(zip(corpus.recordings, recordings, strict=True))
    gains = {before.path: after.gain / before.reading.gain for before, after in pairs}
    scaled = [f"{path}: by {gain:.3f}" for path, gain in gains.items() if gain != 1]
    narrow = [recording for recording in corpus.recordings if recording.rate < rate]
    share = sum(recording.seconds for recording in narrow) / (corpus.seconds or 1)
    tell("are scaled as a whole, as resampling would exceed full scale", scaled)
    tell(f"have less than {rate} Hz, {share:.0%} of the time", [f"{r.path}: {r.rate} Hz" for r in narrow])
    seconds = sum(recording.samples for recording in recordings) / rate
    metrics = {"seconds": seconds, "scaled_recordings": len(scaled), "narrow_share": share}
    write_json("metrics/resample.json", metrics)


if __name__ == "__main__":
    run(main)
