"""How long and how large the stages before the training will be, from the recordings and a short piece of them."""

import hashlib
import itertools
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from audiornn.audio import resampling
from audiornn.audio.decoders import open_audio
from audiornn.audio.ffmpeg_decoder import packet_seconds
from audiornn.audio.waves import WaveWriter, read_blocks, read_mono
from audiornn.codec import CodecSettings
from audiornn.codec_metrics import MeasuringEncoder
from audiornn.common.array_types import Samples
from audiornn.common.errors import AudioRNNError
from audiornn.corpus.listing import files_below, own_recordings
from audiornn.corpus.synthetic.registry import SYNTHESES
from audiornn.params import Params

MAX_OPENED = 500  # files whose headers are read; the others are taken to have as many seconds per byte
PIECES_SECONDS, PIECE_SECONDS = 30.0, 10.0  # of recordings that are prepared on trial, in all and of each at most
SYNTHESISED_MINUTES = 0.5  # of the synthetic corpus, on trial
PCM_16, PCM_24 = 2, 3  # bytes per sample
HASHED = 1 << 26  # bytes
# What is imported: by DVC; by the stages from recordings to shard, and ancestor.
IMPORTS = (
    ("dvc.repo, dvc.commands.repro", 1),
    ("audiornn.audio.resampling, audiornn.preparation.encoded, audiornn.params", 6),
)
TRAINING_IMPORTS = "audiornn.training.trainer, audiornn.generation.training_clips, mlflow"


@dataclass(frozen=True)
class Recordings:
    """The recordings that there are, or that will be synthesised.

    Attributes
    ----------
    source
        Their folder, or which synthetic corpus, in words.
    seconds
        Of each recording.
    bytes
        Of all of them.
    pieces
        Files to prepare on trial.
    synthesis
        Seconds that their synthesis will take.
    """

    source: str
    seconds: Sequence[float]
    bytes: int
    pieces: Sequence[Path]
    synthesis: float = 0.0


@dataclass(frozen=True)
class Preparation:
    """Seconds of the stages before the training, but for the writing of shards; of its imports; bytes by folder."""

    seconds: float
    training_imports: float
    bytes: dict[str, int]


def find(p: Params, workspace: Path, scratch: Path) -> Recordings:
    """The recordings of `corpus.path`, by their headers; without it, what half a minute of the synthetic corpus says.

    Raises
    ------
    AudioRNNError
        If the folder is missing, or has no recording.
    """
    folder = own_recordings(p.corpus.path, workspace)
    if folder is None:
        return _synthetic(p, scratch)
    paths = sorted(map(Path, files_below(folder, [])))
    opened = sorted(random.Random(0).sample(paths, min(MAX_OPENED, len(paths))))
    sizes = {path: path.stat().st_size for path in paths if path.is_file()}
    seconds = {path: length for path in opened if (length := _seconds(path))}
    if not seconds:
        raise AudioRNNError(f"corpus.path is {p.corpus.path!r}, but has no usable recording among {len(opened)} files")
    share = sum(sizes[path] for path in seconds) / sum(sizes[path] for path in opened if path in sizes)
    whole = sum(sizes.values()) * share  # bytes of recordings, where not all files were opened
    repeated = itertools.cycle(seconds.values())
    number = round(len(seconds) * whole / sum(sizes[path] for path in seconds))
    pieces = random.Random(0).sample(list(seconds), len(seconds))
    return Recordings(str(p.corpus.path), list(itertools.islice(repeated, number)), round(whole), pieces)


def _seconds(path: Path) -> float | None:
    """The length of a recording by its header, or else by its packets; None if it is not a recording."""
    try:
        with open_audio(path) as file:
            return file.frames / file.samplerate or packet_seconds(path) or None
    except AudioRNNError:
        return None


def _synthetic(p: Params, scratch: Path) -> Recordings:
    minutes = min(SYNTHESISED_MINUTES, p.corpus.minutes)
    begin = time.perf_counter()
    files = SYNTHESES[p.corpus.synthetic](scratch / "synthetic", minutes, p.corpus.seed)
    took = time.perf_counter() - begin
    lengths = [length for path in files if (length := _seconds(path))]
    seconds: list[float] = []
    for length in itertools.cycle(lengths):
        if sum(seconds) >= 60 * p.corpus.minutes:
            break
        seconds.append(length)
    factor = sum(seconds) / sum(lengths)
    size = sum(path.stat().st_size for path in files)
    source = f"the synthetic default ({p.corpus.synthetic})"
    return Recordings(source, seconds, round(size * factor), files, took * factor)


def measure(p: Params, recordings: Recordings, scratch: Path) -> Preparation:
    """Prepare a short piece on trial, and take the rest to be like it."""
    rate = p.resample.sample_rate
    codec = CodecSettings(rate, p.resample.highpass_hz, p.encode.preemphasis)
    spent, prepared = 0.0, 0.0
    for path in recordings.pieces:
        piece, resampled = scratch / "piece.wav", scratch / "resampled.wav"
        begin = time.perf_counter()
        try:
            wave, source_rate = _beginning(path)
        except AudioRNNError:  # damaged: the run uses what can be decoded of it
            continue
        decoding = time.perf_counter() - begin
        with WaveWriter(piece, source_rate, "PCM_16") as writer:
            writer.write(wave)
        begin = time.perf_counter()
        resampling.resample_file(piece, resampled, rate, p.resample.highpass_hz)
        encoder = MeasuringEncoder(codec)
        for block in read_blocks(resampled):
            encoder.encode(block[:, 0].astype(np.float64))
        spent += time.perf_counter() - begin + 2 * decoding  # a recording is examined, and read again
        prepared += len(wave) / source_rate
        if prepared >= PIECES_SECONDS:
            break
    if not prepared:
        raise AudioRNNError(
            f"{recordings.source}: none of the {len(recordings.pieces)} recordings tried can be decoded"
        )
    total = sum(recordings.seconds)
    codes = round(total * rate)
    sizes = {"data/resample": PCM_24 * codes, "data/encode": codes}
    if recordings.synthesis:
        sizes = {"data/corpus": recordings.bytes, **sizes}
    hashed = 2 * (recordings.bytes + sum(sizes.values()))  # by the stages, and by DVC
    seconds = recordings.synthesis + spent * total / prepared + hashed * _seconds_per_hashed_byte()
    imports = sum(times * _importing(modules) for modules, times in IMPORTS)
    return Preparation(seconds + imports, _importing(TRAINING_IMPORTS), sizes)


def _beginning(path: Path) -> tuple[Samples, int]:
    """The beginning of a recording as one channel, and its sample rate."""
    with open_audio(path) as file:
        rate = file.samplerate
    blocks, frames = [np.zeros(0, np.float32)], 0
    for block in read_mono(path):
        blocks.append(block)
        frames += len(block)
        if frames >= PIECE_SECONDS * rate:
            break
    return np.concatenate(blocks), rate


def _seconds_per_hashed_byte() -> float:
    content, begin = bytes(HASHED), time.perf_counter()
    hashlib.sha256(content)
    return (time.perf_counter() - begin) / HASHED


def _importing(modules: str) -> float:
    """Seconds that an import takes."""
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", f"import {modules}"], check=True, capture_output=True)
    return time.perf_counter() - begin
