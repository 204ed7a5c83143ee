"""Bring every recording to mono PCM at one rate, without DC and rumble."""

from pathlib import Path

from tqdm import tqdm

from audiornn.audio import resampling
from audiornn.corpus.scan import Recording
from audiornn.files import atomic_folder, read_json, write_json
from audiornn.params import Params
from stages.common import locate, run

OUTPUT = Path("data/resample")
SHOWN = 10  # recordings that are named on the terminal; data/resample/manifest.json has all


def main(p: Params) -> None:
    corpus = read_json("data/corpus/manifest.json")
    samples = 0
    scaled, below, seconds = [], [], {True: 0.0, False: 0.0}
    with atomic_folder(OUTPUT) as folder:
        recordings = []
        for entry in tqdm(corpus["recordings"], "resample", unit="file"):
            recording = Recording.of(entry)
            source, name = locate(Path(corpus["root"], recording.path)), f"{recording.name}.wav"
            wav = resampling.resample_file(
                source, folder / name, p.resample.sample_rate, p.resample.highpass_hz, recording.reading
            )
            samples += wav.samples
            recordings.append(
                {
                    "file": name,
                    "source": recording.path,
                    "samples": wav.samples,
                    "peak": wav.peak,
                    "gain": wav.gain,
                }
            )
            if wav.gain != recording.reading.gain:
                scaled.append(f"{recording.path}: scaled by {wav.gain / recording.reading.gain:.3f}")
            seconds[recording.rate < p.resample.sample_rate] += recording.seconds
            if recording.rate < p.resample.sample_rate:
                below.append(f"{recording.path}: {recording.rate} Hz")
        settings = p.resample.model_dump()
        write_json(folder / "manifest.json", {**settings, "recordings": recordings})
    share = seconds[True] / max(sum(seconds.values()), 1e-9)
    for title, lines in (
        ("would be clipped by resampling and are quieter as a whole", scaled),
        (f"have less than {p.resample.sample_rate} Hz, {share:.0%} of the time: nothing in their upper band", below),
    ):
        if lines:
            print(f"{len(lines)} recordings {title}:", *lines[:SHOWN], sep="\n  ")
            print(f"  and {len(lines) - SHOWN} more" * (len(lines) > SHOWN), end="\n" * (len(lines) > SHOWN))
    metrics = {"seconds": samples / p.resample.sample_rate, "scaled_recordings": len(scaled), "below_rate_share": share}
    write_json("metrics/resample.json", metrics)


if __name__ == "__main__":
    run(main)
