"""Convert every recording to mono PCM at one sample rate, without DC and rumble."""

from dataclasses import asdict
from pathlib import Path

from tqdm import tqdm

from audiornn.audio import resampling
from audiornn.corpus.scan import CorpusManifest
from audiornn.errors import AudioRNNError, shown
from audiornn.files import atomic_folder, read_json, write_json
from audiornn.params import Params
from audiornn.validation import parse
from stages.common import resolve, run

INPUT, OUTPUT = Path("data/corpus/manifest.json"), Path("data/resample")
SYNTHETIC = "data/corpus/audio"  # where recordings are if there are no own ones
MAX_PLOTTED = 10  # recordings that are named on the terminal; data/resample/manifest.json has all


def tell(what: str, lines: list[str]) -> None:
    """Print what there is to know of some recordings."""
    if lines:
        more = [f"and {len(lines) - MAX_PLOTTED} more"] if len(lines) > MAX_PLOTTED else []
        print(f"{len(lines)} recordings {what}:", *lines[:MAX_PLOTTED], *more, sep="\n  ")


def main(p: Params) -> None:
    corpus = parse(CorpusManifest, read_json(INPUT), INPUT)
    if corpus.root not in (p.corpus.path, SYNTHETIC):
        raise AudioRNNError(f"{INPUT}: is of the folder {shown(corpus.root)}, not of corpus.path; run dvc repro corpus")
    rate, highpass_hz = p.resample.sample_rate, p.resample.highpass_hz
    recordings = []
    with atomic_folder(OUTPUT) as folder:
        for recording in tqdm(corpus.recordings, "resample", unit="file"):
            source, name = resolve(Path(corpus.root, recording.path)), f"{recording.name}.wav"
            wav = resampling.resample_file(source, folder / name, rate, highpass_hz, recording.reading)
            recordings.append(resampling.ResampledRecording(name, recording.path, wav.samples, wav.peak, wav.gain))
        manifest = resampling.ResampledManifest(rate, highpass_hz, recordings)
        write_json(folder / "manifest.json", asdict(manifest))
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
