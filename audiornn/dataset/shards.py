"""Windows of codes in TFRecord shards: the reader.

`audiornn.preparation.shard_writer` says what a window is, and what a record holds.
"""

import random
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from audiornn.common.array_types import Tensor
from audiornn.common.errors import AudioRNNError
from audiornn.dataset.manifest import MANIFEST, REMEDY, Manifest, Shard, verify

if TYPE_CHECKING:
    import tensorflow as tf


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
    worker: int = 0,
    workers: int = 1,
) -> "tf.data.Dataset":
    """Batches of windows as a `tf.data.Dataset`.

    The order depends on the arguments alone, so that reading can resume at any batch: shards are shuffled, then the
    windows of as many shards at a time as fit the buffer. Skipped shards are not opened; the others are first compared
    with their digests, once per process.

    Parameters
    ----------
    manifest, split
        The shards, and which of them: `train`, `validation` or `test`.
    batch_size
        Windows per batch. The last batch is padded with windows that have no target.
    seed
        Random seed of the order, which differs in each epoch; None for the order on disk.
    epoch
        Selects the order, together with the seed.
    skip
        Batches to leave out at the start.
    crop_targets
        Take only the context and this many targets of each window, at an offset drawn by seed and epoch. Windows with
        fewer targets stay whole.
    buffer_megabytes
        Maximum size of the shards that are shuffled together; a single shard may be larger.
    worker, workers
        Read only every `workers`-th shard, from number `worker` on. Each worker has as many batches as the one with
        the most windows; see `number_of_batches`.

    Returns
    -------
    A data set of `(codes, targets)`: codes uint8 [batch, context + (crop_targets or targets_per_window)], zero-padded
    at the end; targets int32 [batch], number of targets of each window.

    Raises
    ------
    AudioRNNError
        If the split is empty, has fewer shards than there are workers, or a shard is missing or damaged.
    """
    from audiornn.backend import tf

    split_manifest = manifest.splits[split]
    context, max_targets = manifest.layout.context, crop_targets or manifest.layout.targets_per_window
    random_source = random.Random(f"{seed} {epoch}" if workers == 1 else f"{seed} {epoch} {worker}")
    padded = number_of_batches(manifest, split, batch_size, workers) * batch_size
    shards = split_manifest.shards[worker::workers]
    windows = _windows(shards)
    if seed is not None:
        shards = random_source.sample(shards, len(shards))
    groups = list(_shuffle_groups(shards, buffer_megabytes * 1e6))
    skipped, skip_windows = 0, skip * batch_size
    while groups and skipped + _windows(groups[0]) <= skip_windows:
        skipped += _windows(groups.pop(0))
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
    data = data.concatenate(tf.data.Dataset.from_tensor_slices(padding).repeat(padded - max(windows, skip_windows)))
    data = data.padded_batch(batch_size, padded_shapes=([context + max_targets], []), drop_remainder=True).prefetch(2)
    # All numbers are fixed. TensorFlow's tuner has nothing to tune, and holds up the end of an epoch: woken to end, it
    # may sleep again, for up to a minute, as it is woken before it is told why (TensorFlow 2.21).
    options = tf.data.Options()
    options.autotune.enabled = False
    return data.with_options(options)


def number_of_batches(manifest: Manifest, split: str, batch_size: int, workers: int = 1) -> int:
    """Batches per epoch of a split when each of `workers` workers reads only its own shards.

    Raises
    ------
    AudioRNNError
        If the split is empty, or has fewer shards than there are workers.
    """
    shards = manifest.splits[split].shards
    if not manifest.splits[split].windows:
        raise AudioRNNError(f"{manifest.folder / MANIFEST}: its split {split} has no windows; {REMEDY}")
    if len(shards) < workers:
        raise AudioRNNError(
            f"{manifest.folder / MANIFEST}: its split {split} has {len(shards)} shards, but each of {workers} workers "
            "is to read its own: reduce shard.megabytes, or set train.shard_policy to data"
        )
    return max(-(-_windows(shards[worker::workers]) // batch_size) for worker in range(workers))


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
