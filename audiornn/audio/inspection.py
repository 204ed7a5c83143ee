"""Preprocessing of a recording step by step, each step as a wav file to listen to."""

from contextlib import ExitStack
from itertools import chain, count
from pathlib import Path
from typing import TypedDict

import numpy as np

from audiornn.audio import resampling, waves
from audiornn.audio.examination import examine
from audiornn.codec import CodecSettings
from audiornn.codec_metrics import MeasuringEncoder
from audiornn.common.array_types import Wave
from audiornn.common.errors import AudioRNNError
from audiornn.common.files import atomic_folder
from audiornn.naming import slug

STEPS = ("read", "resampled", "emphasised", "decoded")


class Inspection(TypedDict):
    """What `inspect` measured, in the keys that it is printed with as JSON.

    `file`; `rate` in Hz, `channels` and `seconds` as read; `sample_rate` in Hz; `snr_db` and, above a quarter of the
    sample rate, `snr_high_db` of the decoded wave against the resampled one (None if undefined); `clipped_share`;
    `code_entropy_bits`; `gain`, below 1 where resampling would exceed full scale; `notes`, such as that the file is
    damaged; and `steps`, the path of each step's wav.
    """

    file: str
    rate: int
    channels: int
    seconds: float
    sample_rate: int
    snr_db: float | None
    snr_high_db: float | None
    clipped_share: float
    code_entropy_bits: float
    gain: float
    notes: tuple[str, ...]
    steps: dict[str, str]


def inspect(
    path: str | Path, output: str | Path, sample_rate: int = 8000, highpass_hz: float = 20.0, preemphasis: float = 0.95
) -> Inspection:
    """Write a recording after each preprocessing step, and measure the quantisation loss.

    The steps are: as read; mono at the training rate without DC and rumble; after pre-emphasis, clipped to ±1; decoded
    from its codes and de-emphasised. Each is a 24-bit wav in the folder `output`, numbered in this order. Memory use
    does not depend on the length.

    Parameters
    ----------
    path
        An audio file in any format that libsndfile or FFmpeg reads.
    output
        The folder to write; an earlier inspection there is replaced.
    sample_rate, highpass_hz
        In Hz.
    preemphasis
        Coefficient, 0 (off) up to but excluding 1.

    Returns
    -------
    The measurements, and where the steps are.

    Raises
    ------
    AudioRNNError
        If the recording cannot be read or is empty, or `output` holds other files than an earlier inspection.
    """
    found = examine(path)
    rate, channels, frames = found.rate, found.channels, found.frames
    reading = resampling.with_headroom(path, sample_rate, highpass_hz, found.reading)
    offset = resampling.estimate_dc_offset(path, reading)
    resampler = resampling.Resampler(rate, sample_rate, highpass_hz, offset)
    encoder = MeasuringEncoder(CodecSettings(sample_rate, highpass_hz, preemphasis))
    names = {step: f"{number}-{step}.wav" for number, step in enumerate(STEPS, 1)}
    _check_replaceable(Path(output), set(names.values()))
    with atomic_folder(output) as folder, ExitStack() as stack:
        expected = dict.fromkeys(STEPS[1:], frames * sample_rate // rate)
        writers = {
            step: stack.enter_context(waves.WaveWriter(folder / names[step], sample_rate, frames=n))
            for step, n in expected.items()
        }
        as_read = stack.enter_context(waves.WaveWriter(folder / names["read"], rate, frames=frames, channels=channels))

        def process(wave: Wave) -> None:
            encoded = encoder.encode(wave)
            for step, result in zip(STEPS[1:], (wave, encoded.emphasised, encoded.decoded), strict=True):
                writers[step].write(result)

        for block in waves.read_blocks(path, decoder=reading.decoder):
            as_read.write(block)
            process(resampler.process(reading.mono(block)))
        process(resampler.process(np.zeros(0, np.float32), last=True))
    measured = encoder.metrics()
    return {
        "file": str(path),
        "rate": rate,
        "channels": channels,
        "seconds": as_read.samples / channels / rate,
        "sample_rate": sample_rate,
        "snr_db": measured.snr_db,
        "snr_high_db": measured.snr_high_db,
        "clipped_share": measured.clipped_share,
        "code_entropy_bits": measured.code_entropy_bits,
        "gain": reading.gain,
        "notes": found.notes,
        "steps": {step: str(Path(output) / name) for step, name in names.items()},
    }


def _check_replaceable(folder: Path, expected: set[str]) -> None:
    """Raise AudioRNNError if the folder to be replaced holds other files, such as the recording itself."""
    if folder.exists() and not folder.is_dir():
        raise AudioRNNError(f"{folder}: is not a folder; give another one")
    held = {item.name for item in folder.iterdir() if not item.name.startswith(".")} if folder.exists() else set()
    if others := sorted(held - expected):
        raise AudioRNNError(f"{folder}: would be replaced, but holds {others[0]!r}; give another folder")


def folder_names(paths: list[str]) -> list[str]:
    """A unique plain folder name for each file, even if files in different folders have the same name."""
    names: list[str] = []
    taken: set[str] = set()  # case-folded: some file systems ignore case
    for path in paths:
        stem = slug(Path(path).stem)
        free = (name for name in chain([stem], (f"{stem}-{n}" for n in count(2))) if name.lower() not in taken)
        names.append(next(free))
        taken.add(names[-1].lower())
    return names
