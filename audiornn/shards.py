"""Windowed data sets on disk: codes in TFRecord shards, and their reader.

A window is `context + span` consecutive codes: its first `context` are burn-in, the others targets. Windows start
`shift` codes apart, by default `span`: then every code after the first `context` of a recording is a target exactly
once, and a target costs `(context + span) / span` bytes. The last window of a recording may hold fewer targets.

A record is the window's codes as bytes, nothing else: its length less the context is its number of targets.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from audiornn.codec import CODES
from audiornn.corpus import PARTS, Range, shuffled
from audiornn.files import read_json, sha256, write_json

if TYPE_CHECKING:
    import tensorflow as tf

MANIFEST = "manifest.json"
BLOCK = 1 << 20  # codes that are counted at a time


def windows(start: int, stop: int, context: int, span: int, shift: int) -> Iterator[tuple[int, int]]:
    """First and last-plus-one code of every window in the codes `start` to `stop`, each with at least one target."""
    for first in range(start, stop - context, shift):
        yield first, min(first + context + span, stop)


class _ShardWriter:
    """TFRecord files of at most about `size` bytes, named `part-00000.tfrecord` and on."""

    def __init__(self, folder: Path, part: str, size: float, context: int) -> None:
        self.folder, self.part, self.size, self.context = folder, part, size, context
        self.shards: list[dict[str, Any]] = []
        self._writer: Any = None

    def write(self, window: NDArray[np.uint8]) -> None:
        from audiornn.backend import tf

        if self._writer is None:
            name = f"{self.part}-{len(self.shards):05d}.tfrecord"
            self.shards.append({"file": name, "windows": 0, "targets": 0, "bytes": 0})
            self._writer = tf.io.TFRecordWriter(str(self.folder / name))
        self._writer.write(window.tobytes())
        shard = self.shards[-1]
        shard["windows"] += 1
        shard["targets"] += len(window) - self.context
        shard["bytes"] += len(window) + 16  # a record's length and two checksums
        if shard["bytes"] >= self.size:
            self.close()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
            path = self.folder / self.shards[-1]["file"]
            self.shards[-1] |= {"bytes": path.stat().st_size, "sha256": sha256(path)}


def write(
    folder: str | Path,
    codes: Mapping[str, NDArray[np.uint8]],
    parts: Mapping[str, Sequence[Range]],
    *,
    context: int,
    span: int,
    shift: int,
    megabytes: float = 32.0,
    seed: int = 0,
    extra: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write the windows of all parts as shards, and `manifest.json` beside them.

    Parameters
    ----------
    folder
        An existing folder.
    codes
        Codes uint8 [n] by recording, best memory-mapped: one window is read at a time.
    parts
        Ranges of recordings for `train`, `validation` and `test`.
    context, span, shift
        Layout of the windows, in codes; see the module.
    megabytes
        Size at which a shard is closed and the next begun.
    seed
        Recordings are written in an order drawn from it, so that neighbours on disk are no neighbours in the corpus.
    extra
        More entries of the manifest.

    Returns
    -------
    The manifest: layout; by part its shards (file, windows, targets, bytes, SHA-256), totals, ranges and, as
    `code_counts` [256], how often each code is there; and a digest over all shards.
    """
    folder = Path(folder)
    described: dict[str, Any] = {}
    for part in PARTS:
        writer = _ShardWriter(folder, part, megabytes * 1e6, context)
        counts = np.zeros(CODES, np.int64)
        for piece in shuffled(parts[part], seed):
            recording = codes[piece.recording]
            for start in range(piece.start, piece.stop, BLOCK):  # bincount makes 8 bytes of each code
                counts += np.bincount(recording[start : min(start + BLOCK, piece.stop)], minlength=CODES)
            for first, last in windows(piece.start, piece.stop, context, span, shift):
                writer.write(recording[first:last])
        writer.close()
        described[part] = {
            **{key: sum(s[key] for s in writer.shards) for key in ("windows", "targets", "bytes")},
            "shards": writer.shards,
            "ranges": [asdict(piece) for piece in parts[part]],
            "code_counts": counts.tolist(),
        }
    digest = hashlib.sha256("".join(s["sha256"] for p in described.values() for s in p["shards"]).encode())
    layout = {"context": context, "span": span, "shift": shift}
    manifest = {**layout, "digest": digest.hexdigest(), **(extra or {}), "parts": described}
    write_json(folder / MANIFEST, manifest)
    return manifest


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """The manifest of a folder of shards."""
    return read_json(Path(folder) / MANIFEST)


def read(
    folder: str | Path, part: str, batch: int, *, shuffle_seed: int | None = None, buffer_megabytes: float = 64.0
) -> "tf.data.Dataset":
    """Batches of windows for training and evaluation.

    Parameters
    ----------
    folder, part
        Where the shards are, and which part of them: `train`, `validation` or `test`.
    batch
        Windows a batch; the last batch may hold fewer.
    shuffle_seed
        Shuffle shards, and windows in a buffer of `buffer_megabytes`, anew in each iteration over the data set but
        the same in each run. None keeps the order of the disk.

    Returns
    -------
    A data set of `(codes, targets)`: codes uint8 [b, context + span], filled up with zeros behind windows with fewer
    targets; targets int32 [b], how many each window has.
    """
    from audiornn.backend import tf

    manifest = read_manifest(folder)
    context, window = manifest["context"], manifest["context"] + manifest["span"]
    files = [str(Path(folder) / shard["file"]) for shard in manifest["parts"][part]["shards"]]
    if shuffle_seed is None:
        data = tf.data.TFRecordDataset(files)
    else:
        data = tf.data.Dataset.from_tensor_slices(files).shuffle(len(files), seed=shuffle_seed)
        data = data.interleave(tf.data.TFRecordDataset, cycle_length=4, num_parallel_calls=2, deterministic=True)
        windows_held = min(manifest["parts"][part]["windows"], int(buffer_megabytes * 1e6 / window) + 1)
        data = data.shuffle(windows_held, seed=shuffle_seed)
    data = data.map(lambda record: tf.io.decode_raw(record, tf.uint8), num_parallel_calls=2, deterministic=True)
    data = data.map(lambda codes: (codes, tf.size(codes) - context))
    return data.padded_batch(batch, padded_shapes=([window], [])).prefetch(2)
