"""Windows of codes as TFRecord shards: the writer, on all cores or on many machines.

A window is `context + targets_per_window` consecutive codes: the first `context` are burn-in, the others targets.
Windows start `stride` codes apart, by default `targets_per_window`: then every code after the first `context` of a
recording is a target exactly once, and a target costs `(context + targets_per_window) / targets_per_window` bytes. The
last window of a recording may have fewer targets.

A record holds the window's codes as bytes, nothing else: its length minus the context is its number of targets.
"""

import hashlib
import itertools
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO

import google_crc32c
import numpy as np

from audiornn.codec import CODES, CodecSettings
from audiornn.codec_metrics import CodecMetrics
from audiornn.common import parallel
from audiornn.common.array_types import Codes
from audiornn.common.files import unique_file
from audiornn.common.serialization import write_json
from audiornn.dataset.manifest import MANIFEST, RECORD_BYTES, Manifest, Shard, SplitManifest
from audiornn.dataset.split import SPLITS, CodeRange, shuffled
from audiornn.dataset.windows import WindowLayout
from audiornn.preparation.encoded import StoredCodes
from audiornn.reuse.index import with_same_code

CODE = ("codec.py", "codec_metrics.py", "dataset", "preparation")  # what determines the bytes of a shard
BLOCK = 1 << 20  # codes counted at a time
PAYS_FROM = 1e9  # bytes of shards below which one process is faster than several


@dataclass(frozen=True)
class _Stretch:
    """Consecutive windows of a recording.

    Codes `start` to `stop` hold the first `windows` windows; the frequencies of the first `counted` codes are counted
    with this shard, so that each code is counted once. `codes` says where the recording is, or holds these codes
    themselves.
    """

    codes: StoredCodes | Codes
    start: int
    stop: int
    windows: int
    counted: int


@dataclass(frozen=True)
class _ShardJob:
    """A shard to write at `path`."""

    path: str
    layout: WindowLayout
    stretches: tuple[_Stretch, ...]

    @property
    def windows(self) -> int:
        return sum(stretch.windows for stretch in self.stretches)


def _plan(
    folder: Path, split: str, pieces: Sequence[tuple[StoredCodes | Codes, CodeRange]], layout: WindowLayout, size: float
) -> Iterator[tuple[_ShardJob, int]]:
    """Shards of at least `size` bytes each, except the last, named `train-00000.tfrecord` etc.; and their bytes."""
    stretches: list[_Stretch] = []
    names = (str(folder.absolute() / f"{split}-{number:05d}.tfrecord") for number in itertools.count())
    filled = 0  # bytes

    def stretch(codes: StoredCodes | Codes, start: int, windows: int, piece: CodeRange, counted: int) -> _Stretch:
        last = start + (windows - 1) * layout.stride + layout.length if windows else start
        end = min(piece.stop, max(counted, last))
        if isinstance(codes, StoredCodes):
            digest = codes.sha256 if start == piece.start else None  # the whole recording is checked once
            part: StoredCodes | Codes = replace(codes, path=str(Path(codes.path).absolute()), sha256=digest)
        else:
            part = codes[start:end]
        return _Stretch(codes=part, start=start, stop=end, windows=windows, counted=counted - start)

    for codes, piece in pieces:
        start, windows = piece.start, 0  # of the stretch
        for first, last in layout.windows(piece.start, piece.stop):
            windows += 1
            filled += last - first + RECORD_BYTES
            if filled >= size:
                following = min(first + layout.stride, piece.stop)
                has_more = following < piece.stop - layout.context
                counted = following if has_more else piece.stop
                stretches.append(stretch(codes, start, windows, piece, counted))
                yield _ShardJob(next(names), layout, tuple(stretches)), filled
                stretches, start, windows, filled = [], counted, 0, 0
        if start < piece.stop:
            stretches.append(stretch(codes, start, windows, piece, piece.stop))
    if stretches:
        yield _ShardJob(next(names), layout, tuple(stretches)), filled


def _write_shard(job: _ShardJob) -> tuple[Shard | None, list[int]]:
    """Write a shard; returns its entry of the manifest, or None if it has no windows, and the counts of its codes."""
    counts, digest = np.zeros(CODES, np.int64), hashlib.sha256()
    targets, size = 0, 0
    with unique_file(job.path) if job.windows else nullcontext() as partial, _opened(partial) as file:
        for stretch in job.stretches:
            codes = stretch.codes
            if isinstance(codes, StoredCodes):
                codes = codes.open_range(stretch.start, stretch.stop)
            for start in range(0, stretch.counted, BLOCK):  # bincount makes 8 bytes of each code
                counts += np.bincount(codes[start : min(start + BLOCK, stretch.counted)], minlength=CODES)
            for first, last in itertools.islice(job.layout.windows(0, len(codes)), stretch.windows):
                record = _record(codes[first:last].tobytes())
                if file:
                    file.write(record)
                digest.update(record)
                targets += last - first - job.layout.context
                size += len(record)
    if not job.windows:
        return None, counts.tolist()
    shard = Shard(file=Path(job.path).name, windows=job.windows, targets=targets, bytes=size, sha256=digest.hexdigest())
    return shard, counts.tolist()


def _opened(path: Path | None) -> AbstractContextManager[IO[bytes] | None]:
    return path.open("wb") if path else nullcontext()


def _record(content: bytes) -> bytes:
    """A TFRecord: its length, the content, and a masked CRC-32C of each.

    Written here because importing TensorFlow takes longer than writing the shards of an hour of audio.
    Source: https://www.tensorflow.org/tutorials/load_data/tfrecord
    """
    length = struct.pack("<Q", len(content))
    return b"".join((length, _masked_crc(length), content, _masked_crc(content)))


def _masked_crc(content: bytes) -> bytes:
    crc = google_crc32c.value(content)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def write(
    folder: str | Path,
    codes: Mapping[str, StoredCodes] | Mapping[str, Codes],
    splits: Mapping[str, Sequence[CodeRange]],
    layout: WindowLayout,
    codec: CodecSettings,
    encode_metrics: CodecMetrics,
    *,
    too_short: Sequence[str] = (),
    megabytes: float = 32.0,
    seed: int = 0,
) -> Manifest:
    """Write the windows of all splits as shards, and `manifest.json` beside them.

    Shards are written on all cores, or by a cluster (see `audiornn.common.parallel.run`), with the same bytes.

    Parameters
    ----------
    folder
        An existing folder.
    codes
        By recording: where its codes are, or the codes uint8 [n] themselves; this process then writes all shards.
    splits
        Ranges of recordings for `train`, `validation` and `test`.
    layout
        Of the windows.
    codec, encode_metrics, too_short
        Stored in the manifest.
    megabytes
        Size of a shard in MB at which the next one is begun.
    seed
        Random seed of the order in which recordings are written, so that neighbours on disk are not neighbours in the
        corpus.

    Returns
    -------
    The manifest.

    Raises
    ------
    AudioRNNError
        If codes are missing or damaged, or a worker is killed.
    """
    folder = Path(folder)
    jobs: list[_ShardJob] = []
    sizes: list[int] = []
    split_of: list[str] = []  # of each job
    for split in SPLITS:
        pieces = [(codes[piece.recording], piece) for piece in shuffled(splits[split], seed)]
        for job, size in _plan(folder, split, pieces, layout, megabytes * 1e6):
            jobs.append(job)
            sizes.append(size)
            split_of.append(split)
    written: dict[int, tuple[Shard | None, list[int]]] = {}

    def take(number: int, result: tuple[Shard | None, list[int]]) -> str:
        written[number] = result
        return f"{len(written)}/{len(jobs)} shards"

    parallel.run(
        with_same_code(_write_shard, CODE),
        jobs,
        take,
        what="shard",
        weights=sizes,
        names=[Path(job.path).name for job in jobs],
        unit="B",
        pays_from=PAYS_FROM,
        kept=False,
        here=not all(isinstance(held, StoredCodes) for held in codes.values()),
    )
    for leftover in folder.glob(".*.partial*"):  # of a worker that was killed
        leftover.unlink()
    split_manifests: dict[str, SplitManifest] = {}
    for split in SPLITS:
        results = [written[number] for number, of in enumerate(split_of) if of == split]
        of_split = [shard for shard, _ in results if shard]
        split_manifests[split] = SplitManifest(
            windows=sum(shard.windows for shard in of_split),
            targets=sum(shard.targets for shard in of_split),
            bytes=sum(shard.bytes for shard in of_split),
            shards=of_split,
            ranges=list(splits[split]),
            code_counts=np.sum([counts for _, counts in results] or [[0] * CODES], axis=0).tolist(),
        )
    over_shards = hashlib.sha256("".join(s.sha256 for m in split_manifests.values() for s in m.shards).encode())
    short = list(too_short)
    manifest = Manifest(
        folder=folder,
        layout=layout,
        digest=over_shards.hexdigest(),
        codec=codec,
        encode_metrics=encode_metrics,
        too_short=short,
        splits=split_manifests,
    )
    content = {
        **asdict(layout),
        "digest": manifest.digest,
        "codec": asdict(codec),
        "encode_metrics": asdict(encode_metrics),
        "too_short": short,
        "splits": {split: asdict(of_split) for split, of_split in split_manifests.items()},
    }
    write_json(folder / MANIFEST, content)
    return manifest
