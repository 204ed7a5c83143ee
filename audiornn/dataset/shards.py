"""Windowed data sets on disk: codes in TFRecord shards, and their reader.

A window is `context + span` consecutive codes: its first `context` are burn-in, the others targets. Windows start
`shift` codes apart, by default `span`: then every code after the first `context` of a recording is a target exactly
once, and a target costs `(context + span) / span` bytes. The last window of a recording may hold fewer targets.

A record is the window's codes as bytes, nothing else: its length less the context is its number of targets.
"""

import hashlib
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from audiornn.codec import CODES
from audiornn.dataset.split import PARTS, Range, shuffled
from audiornn.dataset.windows import windows
from audiornn.files import read_json, sha256, write_json

if TYPE_CHECKING:
    import tensorflow as tf


MANIFEST = "manifest.json"
BLOCK = 1 << 20  # codes that are counted at a time


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
    folder: str | Path,
    part: str,
    batch: int,
    *,
    seed: int | None = None,
    epoch: int = 0,
    skip: int = 0,
    crop: int | None = None,
    buffer_megabytes: float = 64.0,
) -> "tf.data.Dataset":
    """Batches of windows for training and evaluation.

    What is read follows from the arguments alone, so that reading can go on where it was left: shards are shuffled,
    then the windows of as many of them at a time as fit the buffer; those that `skip` passes over are not even opened.

    Parameters
    ----------
    folder, part
        Where the shards are, and which part of them: `train`, `validation` or `test`.
    batch
        Windows a batch. The last batch is filled up with windows that have no target.
    seed
        Shuffle, in each epoch anew. None keeps the order of the disk.
    epoch
        Which of the orders that belong to the seed.
    skip
        Batches to pass over.
    crop
        Take only the context and this many targets of each window, from a place drawn by seed and epoch. Windows with
        fewer targets stay whole.
    buffer_megabytes
        Shards that are shuffled together hold no more than this, unless there is but one.

    Returns
    -------
    A data set of `(codes, targets)`: codes uint8 [batch, context + (crop or span)], filled up with zeros behind windows
    with fewer targets; targets int32 [batch], how many each window has.
    """
    from audiornn.backend import tf

    manifest = read_manifest(folder)
    described = manifest["parts"][part]
    context, most = manifest["context"], crop or manifest["span"]
    draw = random.Random(f"{seed} {epoch}")
    shards = described["shards"] if seed is None else draw.sample(described["shards"], len(described["shards"]))
    blocks = list(_blocks(shards, buffer_megabytes * 1e6))
    passed, ahead = 0, skip * batch  # windows
    while blocks and passed + _windows(blocks[0]) <= ahead:
        passed += _windows(blocks.pop(0))
    files = tf.constant([str(Path(folder) / shard["file"]) for block in blocks for shard in block], tf.string)
    sizes = np.array([(len(block), _windows(block)) for block in blocks], np.int64).reshape(-1, 2)
    order = draw.randrange(2**31)

    def records(stop: Any, number: Any, held: Any) -> Any:
        names = files[stop - number : stop]
        if seed is None:
            return tf.data.TFRecordDataset(names)
        data = tf.data.TFRecordDataset(names, num_parallel_reads=4)
        return data.shuffle(held, seed=order, reshuffle_each_iteration=False)

    def window(position: Any, record: Any) -> tuple:
        codes = tf.io.decode_raw(record, tf.uint8)
        spare = tf.maximum(tf.size(codes) - context - most, 0)
        first = tf.random.stateless_uniform([], [order, position], 0, spare + 1, tf.int32) if crop else 0
        codes = codes[first : first + context + most]
        return codes, tf.size(codes) - context

    data = tf.data.Dataset.from_tensor_slices((sizes[:, 0].cumsum(), *sizes.T)).flat_map(records)
    data = data.skip(ahead - passed).enumerate(ahead).map(window, num_parallel_calls=2, deterministic=True)
    filling = (tf.zeros([1, context + most], tf.uint8), tf.zeros([1], tf.int32))
    data = data.concatenate(tf.data.Dataset.from_tensor_slices(filling).repeat(-described["windows"] % batch))
    return data.padded_batch(batch, padded_shapes=([context + most], []), drop_remainder=True).prefetch(2)


def _windows(shards: Sequence[Mapping[str, Any]]) -> int:
    return sum(shard["windows"] for shard in shards)


def _blocks(shards: Sequence[Mapping[str, Any]], size: float) -> Iterator[list[Mapping[str, Any]]]:
    """Consecutive shards that together hold no more than `size` bytes, each at least one shard."""
    block: list[Mapping[str, Any]] = []
    for shard in shards:
        if block and sum(s["bytes"] for s in block) + shard["bytes"] > size:
            yield block
            block = []
        block.append(shard)
    if block:
        yield block
