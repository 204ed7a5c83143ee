"""Bring every recording to mono PCM at one rate, without DC and rumble."""

from dataclasses import asdict
from pathlib import Path

from tqdm import tqdm

from audiornn.audio import resampling
from audiornn.corpus.scan import CorpusManifest
from audiornn.files import atomic_folder, read_json, write_json
from audiornn.params import Params
from audiornn.validation import parse
from stages.common import resolve, run

INPUT, OUTPUT = Path("data/corpus/manifest.json"), Path("data/resample")


def main(p: Params) -> None:
    corpus = parse(CorpusManifest, read_json(INPUT), INPUT)
    samples = clipped = 0
    with atomic_folder(OUTPUT) as folder:
        recordings = []
        for recording in tqdm(corpus.recordings, "resample", unit="file"):
            source, name = resolve(Path(corpus.root, recording.path)), f"{recording.name}.wav"
            wav = resampling.resample_file(source, folder / name, p.resample.sample_rate, p.resample.highpass_hz)
            samples, clipped = samples + wav.samples, clipped + wav.clipped
            recordings.append(resampling.ResampledRecording(name, recording.path, wav.samples, wav.peak))
        manifest = resampling.ResampledManifest(p.resample.sample_rate, p.resample.highpass_hz, recordings)
        write_json(folder / "manifest.json", asdict(manifest))
    write_json(
        "metrics/resample.json",
        {"seconds": samples / p.resample.sample_rate, "clipped_share": clipped / max(samples, 1)},
    )


if __name__ == "__main__":
    run(main)
