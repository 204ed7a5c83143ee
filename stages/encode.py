"""Pre-emphasise and quantise the recordings to µ-law codes; measure what that loses."""

from pathlib import Path

import numpy as np
from tqdm import tqdm

from audiornn import codec
from audiornn.audio import waves
from audiornn.files import atomic_folder, read_json, write_json
from audiornn.params import Params
from stages.common import run

INPUT, OUTPUT = Path("data/resample"), Path("data/encode")


def main(p: Params) -> None:
    resampled = read_json(INPUT / "manifest.json")
    preemphasis = p.encode.preemphasis
    loss = codec.RoundTrip(resampled["sample_rate"])
    counts, clipped = np.zeros(codec.CODES, np.int64), 0
    with atomic_folder(OUTPUT) as folder:
        recordings = []
        for entry in tqdm(resampled["recordings"], "encode", unit="file"):
            file = f"{Path(entry['file']).stem}.npy"
            codes = np.lib.format.open_memmap(folder / file, "w+", np.uint8, (entry["samples"],))
            encoder, decoder, done = codec.Encoder(preemphasis), codec.Decoder(preemphasis), 0
            loss.start()
            for block in waves.read_blocks(INPUT / entry["file"]):
                wave = block[:, 0].astype(np.float64)
                codes[done : done + len(wave)] = block_codes = encoder(wave)
                loss.add(wave, decoder(block_codes))
                counts += np.bincount(block_codes, minlength=codec.CODES)
                done += len(wave)
            clipped += encoder.clipped
            recordings.append({"name": Path(file).stem, "file": file, "source": entry["source"], "codes": done})
        snr, snr_high = loss.snr_db()
        metrics = {
            "snr_db": snr,
            "snr_high_db": snr_high,
            "clipped_share": clipped / int(counts.sum()),
            "code_entropy_bits": codec.entropy_bits(counts),
        }
        settings = {key: resampled[key] for key in ("sample_rate", "highpass_hz")}
        settings |= {"preemphasis": preemphasis, "codes": codec.CODES}
        write_json(folder / "manifest.json", {"codec": settings, "metrics": metrics, "recordings": recordings})
    write_json("metrics/encode.json", metrics)


if __name__ == "__main__":
    run(main)
