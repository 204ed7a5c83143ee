"""Bring every recording to mono PCM at one rate, without DC and rumble."""

from pathlib import Path

from tqdm import tqdm

from audiornn.audio import resampling
from audiornn.corpus.scan import Recording
from audiornn.files import atomic_folder, read_json, write_json
from audiornn.params import Params
from stages.common import resolve, run

OUTPUT = Path("data/resample")


def main(p: Params) -> None:
    corpus = read_json("data/corpus/manifest.json")
    samples = clipped = 0
    with atomic_folder(OUTPUT) as folder:
        recordings = []
        for entry in tqdm(corpus["recordings"], "resample", unit="file"):
            recording = Recording(**entry)
            source, name = resolve(Path(corpus["root"], recording.path)), f"{recording.name}.wav"
            wav = resampling.resample_file(source, folder / name, p.resample.sample_rate, p.resample.highpass_hz)
            samples, clipped = samples + wav.samples, clipped + wav.clipped
            recordings.append({"file": name, "source": recording.path, "samples": wav.samples, "peak": wav.peak})
        settings = p.resample.model_dump()
        write_json(folder / "manifest.json", {**settings, "recordings": recordings})
    write_json(
        "metrics/resample.json",
        {"seconds": samples / p.resample.sample_rate, "clipped_share": clipped / max(samples, 1)},
    )


if __name__ == "__main__":
    run(main)
