"""Windows of codes in TFRecord shards: writer and reader.

A window is `context + targets_per_window` consecutive codes: the first `context` are burn-in, the others targets.
Windows start `stride` codes apart, by default `targets_per_window`: then every code after the first `context` of a
recording is a target exactly once, and a target costs `(context + targets_per_window) / targets_per_window` bytes. The
last window of a recording may have fewer targets.

A record holds the window's codes as bytes, nothing else: its length minus the context is its number of targets.
"""

import hashlib
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from audiornn.array_types import Codes, Tensor
from audiornn.codec import CODES, CodecMetrics, CodecSettings
from audiornn.dataset.manifest import MANIFEST, MEND, RECORD_BYTES, Manifest, Shard, SplitManifest, verify
from audiornn.dataset.split import SPLITS, CodeRange, shuffled
from audiornn.dataset.windows import WindowLayout
from audiornn.errors import AudioRNNError
from audiornn.files import sha256, write_json

if TYPE_CHECKING:
    import tensorflow as tf


BLOCK = 1 << 20  # codes counted at a time


class _ShardWriter:
    """TFRecord files of about `size` bytes at most, named `train-00000.tfrecord` etc."""

    def __init__(self, folder: Path, split: str, size: float, context: int) -> None:
        self.folder, self.split, self.size, self.context = folder, split, size, context
        self.shards: list[Shard] = []
        self._writer: Any = None  # TensorFlow's, which has no types
        self._windows = self._targets = self._bytes = 0  # of the shard that is being written

    def write(self, window: Codes) -> None:
        from audiornn.backend import tf

        if self._writer is None:
            self._writer = tf.io.TFRecordWriter(str(self._path))
        self._writer.write(window.tobytes())
        self._windows += 1
        self._targets += len(window) - self.context
        self._bytes += len(window) + RECORD_BYTES
        if self._bytes >= self.size:
            self.close()

    @property
    def _path(self) -> Path:
        return self.folder / f"{self.split}-{len(self.shards):05d}.tfrecord"

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
            path = self._path
            self.shards.append(Shard(path.name, self._windows, self._targets, path.stat().st_size, sha256(path)))
            self._windows = self._targets = self._bytes = 0


def write(
    folder: str | Path,
    codes: Mapping[str, Codes],
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

    Parameters
    ----------
    folder
        An existing folder.
    codes
        Codes uint8 [n] by recording, memory-mapped if possible: one window is read at a time.
    splits
        Ranges of recordings for `train`, `validation` and `test`.
    layout
        Of the windows.
    codec, encode_metrics, too_short
        Kept in the manifest.
    megabytes
        Size of a shard in MB at which the next one is begun.
    seed
        Random seed of the order in which recordings are written, so that neighbours on disk are not neighbours in the
        corpus.

    Returns
    -------
    The manifest.
    """
    folder = Path(folder)
    split_manifests: dict[str, SplitManifest] = {}
    for split in SPLITS:
        writer = _ShardWriter(folder, split, megabytes * 1e6, layout.context)
        counts = np.zeros(CODES, np.int64)
        for piece in tqdm(shuffled(splits[split], seed), f"shard {split}", unit="piece", disable=None):
            recording = codes[piece.recording]
            for start in range(piece.start, piece.stop, BLOCK):  # bincount makes 8 bytes of each code
                counts += np.bincount(recording[start : min(start + BLOCK, piece.stop)], minlength=CODES)
            for first, last in layout.windows(piece.start, piece.stop):
                writer.write(recording[first:last])
        writer.close()
        split_manifests[split] = SplitManifest(
            windows=_windows(writer.shards),
            targets=sum(shard.targets for shard in writer.shards),
            bytes=sum(shard.bytes for shard in writer.shards),
            shards=writer.shards,
            ranges=list(splits[split]),
            code_counts=counts.tolist(),
        )
    over_shards = hashlib.sha256("".join(s.sha256 for m in split_manifests.values() for s in m.shards).encode())
    short = list(too_short)
    manifest = Manifest(folder, layout, over_shards.hexdigest(), codec, encode_metrics, short, split_manifests)
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


def read(
    manifest: Manifest,
    split: str,
    batch_size: int,
    *,
    seed: int | None = None,
    epoch: int = 0,
    skip: int = 0,
    crop_targets: int | None = None,
    buffer_megabytes: float = 64.0,
) -> "tf.data.Dataset":
    """Batches of windows as a `tf.data.Dataset`.

    The order depends on the arguments alone, so that reading can resume at any batch: shards are shuffled, then the
    windows of as many shards at a time as fit the buffer; skipped shards are not opened. Each of the others is first
    compared with its digest, once per process.

    Parameters
    ----------
    manifest, split
        The shards, and which of them: `train`, `validation` or `test`.
    batch_size
        Windows per batch. The last batch is padded with windows that have no target.
    seed
        Random seed of the shuffling, which differs in each epoch. None: order on disk.
    epoch
        Selects the order, together with the seed.
    skip
        Batches to leave out at the start.
    crop_targets
        Take only the context and this many targets of each window, at an offset drawn by seed and epoch. Windows with
        fewer targets stay whole.
    buffer_megabytes
        Maximum size of the shards that are shuffled together, unless it is a single one.

    Returns
    -------
    A data set of `(codes, targets)`: codes uint8 [batch, context + (crop_targets or targets_per_window)], zero-padded
    at the end; targets int32 [batch], number of targets of each window.

    Raises
    ------
    AudioRNNError
        If the split is empty, or a shard is missing or damaged.
    """
    from audiornn.backend import tf

    split_manifest = manifest.splits[split]
    context, max_targets = manifest.layout.context, crop_targets or manifest.layout.targets_per_window
    random_source = random.Random(f"{seed} {epoch}")
    shards = split_manifest.shards
    if seed is not None:
        shards = random_source.sample(shards, len(shards))
    groups = list(_shuffle_groups(shards, buffer_megabytes * 1e6))
    skipped, skip_windows = 0, skip * batch_size
    while groups and skipped + _windows(groups[0]) <= skip_windows:
        skipped += _windows(groups.pop(0))
    if not split_manifest.windows:
        raise AudioRNNError(f"{manifest.folder / MANIFEST}: its split {split} has no windows; {MEND}")
    for shard in (shard for group in groups for shard in group):
        verify(manifest.folder, shard)
    files = tf.constant([str(manifest.folder / shard.file) for group in groups for shard in group], tf.string)
    sizes = np.array([(len(group), _windows(group)) for group in groups], np.int64).reshape(-1, 2)
    order = random_source.randrange(2**31)

    def records(stop: Tensor, number: Tensor, held: Tensor) -> "tf.data.Dataset":
        names = files[stop - number : stop]
        if seed is None:
            return tf.data.TFRecordDataset(names)
        data = tf.data.TFRecordDataset(names, num_parallel_reads=4)
        return data.shuffle(held, seed=order, reshuffle_each_iteration=False)

    def window(position: Tensor, record: Tensor) -> tuple[Tensor, Tensor]:
        codes = tf.io.decode_raw(record, tf.uint8)
        spare = tf.maximum(tf.size(codes) - context - max_targets, 0)
        first = tf.random.stateless_uniform([], [order, position], 0, spare + 1, tf.int32) if crop_targets else 0
        codes = codes[first : first + context + max_targets]
        return codes, tf.size(codes) - context

    data = tf.data.Dataset.from_tensor_slices((sizes[:, 0].cumsum(), *sizes.T)).flat_map(records)
    data = data.skip(skip_windows - skipped).enumerate(skip_windows)
    data = data.map(window, num_parallel_calls=2, deterministic=True)
    padding = (tf.zeros([1, context + max_targets], tf.uint8), tf.zeros([1], tf.int32))
    data = data.concatenate(tf.data.Dataset.from_tensor_slices(padding).repeat(-split_manifest.windows % batch_size))
    return data.padded_batch(batch_size, padded_shapes=([context + max_targets], []), drop_remainder=True).prefetch(2)


def _windows(shards: Sequence[Shard]) -> int:
    return sum(shard.windows for shard in shards)


def _shuffle_groups(shards: Sequence[Shard], size: float) -> Iterator[list[Shard]]:
    """Consecutive shards that together hold no more than `size` bytes, each group at least one shard."""
    group: list[Shard] = []
    for shard in shards:
        if group and sum(s.bytes for s in group) + shard.bytes > size:
            yield group
            group = []
        group.append(shard)
    if group:
        yield group
