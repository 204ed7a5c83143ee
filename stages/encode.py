"""Encode the recordings as µ-law codes; measure the quantisation loss."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
from tqdm import tqdm

from audiornn.audio import waves
from audiornn.audio.decoders import open_audio
from audiornn.audio.resampling import ResampledManifest
from audiornn.codec import CodecSettings, MeasuringEncoder
from audiornn.dataset import encoded
from audiornn.errors import AudioRNNError
from audiornn.files import atomic_folder, read_json, sha256, write_json
from audiornn.params import Params
from audiornn.validation import parse
from stages.common import run

INPUT, OUTPUT = Path("data/resample"), Path("data/encode")


def main(p: Params) -> None:
    resampled = parse(ResampledManifest, read_json(INPUT / "manifest.json"), INPUT / "manifest.json")
    codec = CodecSettings(resampled.sample_rate, resampled.highpass_hz, p.encode.preemphasis)
    encoder = MeasuringEncoder(codec)
    with atomic_folder(OUTPUT) as folder:
        recordings = []
        for recording in tqdm(resampled.recordings, "encode", unit="file"):
            name, wav = Path(recording.file).stem, INPUT / recording.file
            with open_audio(wav) as file:
                if file.frames != recording.samples:
                    raise AudioRNNError(
                        f"{wav}: has {file.frames} samples, but had {recording.samples} when it was written; "
                        "run dvc repro resample"
                    )
            codes = np.lib.format.open_memmap(folder / f"{name}.npy", "w+", np.uint8, (recording.samples,))
            encoder.start_recording()
            done = 0
            for block in waves.read_blocks(wav):
                wave = block[:, 0].astype(np.float64)
                codes[done : done + len(wave)] = encoder.encode(wave).codes
                done += len(wave)
            digest = sha256(folder / f"{name}.npy")
            clipped = encoder.clipped_in_recording / max(done, 1)
            recordings.append(encoded.EncodedRecording(name, f"{name}.npy", recording.source, done, digest, clipped))
        encoded.write_manifest(folder, codec, encoder.metrics(), recordings)
    write_json("metrics/encode.json", asdict(encoder.metrics()))


if __name__ == "__main__":
    run(main)
