"""Checkpoints: everything needed to resume an interrupted training, written atomically."""

import fcntl
import hashlib
import json
import shutil
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from audiornn.common.errors import AudioRNNError, one_line
from audiornn.common.files import atomic_file
from audiornn.common.sources import source_digest
from audiornn.common.validation import parse
from audiornn.dataset.manifest import Manifest
from audiornn.params import Train
from audiornn.training.progress.state import TrainingState

MAX_TO_KEEP = 3  # the last checkpoint, and two before it, should it turn out damaged
# The code that a training depends on: the same modules and packages of the library that dvc.yaml lists for its stage.
TRAINING_CODE = ("backend.py", "codec.py", "codec_metrics.py", "dataset", "kernels", "models", "training")


def training_fingerprint(params: Mapping[str, Any], manifest: Manifest, start: str | None = None) -> str:
    """Digest of all that determines a training, 16 hexadecimal digits: parameters, shards, code and its libraries.

    Parameters
    ----------
    params
        The `train` section. The intervals of checkpoints and clips do not matter.
    manifest
        Of the shards.
    start
        SHA-256 of the weights that training starts from, if there are any. Where they are from does not matter.
    """
    import keras
    import tensorflow as tf

    libraries = {library.__name__: library.__version__ for library in (keras, np, tf)}
    irrelevant = ("checkpoint_", "clip_every_", "start_from")
    settings = {key: value for key, value in params.items() if not key.startswith(irrelevant)}
    layout = {
        "digest": manifest.digest,
        "context": manifest.layout.context,
        "targets_per_window": manifest.layout.targets_per_window,
    }
    whole = json.dumps([settings, layout, source_digest(TRAINING_CODE), libraries, start], sort_keys=True)
    return hashlib.sha256(whole.encode()).hexdigest()[:16]


class CheckpointStore:
    """Checkpoints of one training, in a folder of their own.

    Unlike those of `tf.train.CheckpointManager` they hold no code, and a damaged one is skipped.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def save(self, step: int, arrays: Sequence[NDArray[Any]], metadata: Mapping[str, Any]) -> None:
        """Write a checkpoint of arrays and metadata, which must fit JSON; of earlier ones the last two stay."""
        content = {str(i): array for i, array in enumerate(arrays)}
        text = np.frombuffer(json.dumps(metadata).encode(), np.uint8)
        digest = np.frombuffer(_digest([text, *arrays]), np.uint8)
        size = sum(array.nbytes for array in arrays)
        with atomic_file(self.folder / f"{step:09d}.npz", size) as partial:
            np.savez(partial, allow_pickle=False, metadata=text, digest=digest, **content)
        for file in self.files[MAX_TO_KEEP:]:
            file.unlink()

    def load(self) -> tuple[list[NDArray[Any]], dict[str, Any]] | None:
        """Arrays and metadata of the newest checkpoint that is whole; those that are not are named."""
        files = self.files
        for file in files:
            try:
                return _read(file)
            except Exception as error:  # whatever the parsers of zip, of arrays and of JSON raise
                print(f"{file}: damaged, using the checkpoint before it ({one_line(error)})")
        if files:
            print(f"{self.folder}: all checkpoints are damaged: training starts from scratch")
        return None

    @property
    def files(self) -> list[Path]:
        """Checkpoints, the newest first."""
        return sorted(self.folder.glob("[0-9]*.npz"), reverse=True)

    def clear(self) -> None:
        """Remove all checkpoints."""
        for file in self.files:
            file.unlink()


def _digest(arrays: Sequence[NDArray[Any]]) -> bytes:
    """SHA-256 of arrays: their types, shapes and bytes."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(f"{np.asarray(array).dtype.str} {np.shape(array)}".encode())
        found.update(np.asarray(array).tobytes())
    return found.digest()


def _read(file: Path) -> tuple[list[NDArray[Any]], dict[str, Any]]:
    """Arrays and metadata of a checkpoint.

    Raises
    ------
    Exception
        Of any kind, if it is damaged.
    """
    size = file.stat().st_size
    with zipfile.ZipFile(file) as archive:
        if sum(member.file_size for member in archive.infolist()) > size:
            raise ValueError("its arrays are larger than the file")
    with np.load(file, allow_pickle=False) as content:
        arrays = [content[str(i)] for i in range(len(content.files) - 2)]
        text, digest = content["metadata"], content["digest"]
    if digest.tobytes() != _digest([text, *arrays]):
        raise ValueError("its SHA-256 is not the one it was written with")
    return arrays, parse(dict[str, Any], json.loads(text.tobytes()), file)


class Checkpointer:
    """Checkpoints of a training under way: when they are due, and what is in them.

    Nothing in here depends on other workers: each has a clock of its own, and one alone writes.

    Parameters
    ----------
    store
        Where checkpoints are; None, where there are none.
    params
        The `train` section, which says how often they are due.
    fingerprint
        What a checkpoint must agree in to be resumed from; must fit JSON.
    writes
        Whether this process writes checkpoints, or only reads them.
    workers
        How many workers read their own shards; 1 where all read the same.
    """

    def __init__(
        self, store: CheckpointStore | None, params: Train, fingerprint: object, writes: bool, workers: int = 1
    ) -> None:
        self.store, self.params, self.fingerprint, self.writes = store, params, fingerprint, writes
        self.workers = workers
        self.saved_at, self.saved_steps = time.monotonic(), 0

    @property
    def place(self) -> str:
        """Where the checkpoints are, in words."""
        return str(self.store.folder) if self.store else "no checkpoints"

    def is_due(self, steps: int) -> bool:
        """Whether enough time or updates have passed since the last checkpoint; `steps` counts all updates."""
        minutes, interval = self.params.checkpoint_minutes, self.params.checkpoint_steps
        return self.store is not None and (
            bool(minutes and time.monotonic() - self.saved_at >= 60 * minutes)
            or bool(interval and steps - self.saved_steps >= interval)
        )

    def save(self, state: TrainingState, arrays: Sequence[NDArray[Any]]) -> None:
        """Write a checkpoint, if this process does; where that fails, say so, and leave it to the next one."""
        if self.store and self.writes:
            try:
                metadata = {"fingerprint": self.fingerprint, "workers": self.workers, "state": asdict(state)}
                self.store.save(state.steps, arrays, metadata)
            except (AudioRNNError, OSError) as error:
                tqdm.write(f"warning: no checkpoint at step {state.steps}: {error}; training continues")
        self.saved_at, self.saved_steps = time.monotonic(), state.steps

    def load(self) -> tuple[TrainingState, list[NDArray[Any]]] | None:
        """State and arrays of the last checkpoint, if there is one of the same training.

        Raises
        ------
        AudioRNNError
            If another number of workers read their own shards: their batches were others.
        """
        if not self.store or not (saved := self.store.load()):
            return None
        arrays, metadata = saved
        if metadata.get("fingerprint") != self.fingerprint:
            tqdm.write(f"{self.store.folder}: from other settings, data or code: training starts from scratch")
            self.store.clear()
            return None
        if (workers := metadata.get("workers", 1)) != self.workers:
            before, now = _who_read(workers), _who_read(self.workers)
            raise AudioRNNError(
                f"{self.store.folder}: a checkpoint of {before}, but this is {now}: start as many workers as before, "
                "with the same train.shard_policy, or remove the folder"
            )
        state = parse(TrainingState, metadata.get("state"), f"{self.store.folder}: state")
        self.saved_steps = state.steps
        return state, arrays

    def clear(self) -> None:
        """Remove all checkpoints."""
        if self.store:
            self.store.clear()


def _who_read(workers: object) -> str:
    return "a training without own shards" if workers == 1 else f"{workers} workers with own shards"


@contextmanager
def locked_store(root: str | Path, fingerprint: str) -> Iterator[CheckpointStore | None]:
    """The store of a training below `root`, locked during the block and removed if it succeeds.

    None if another process is training with the same settings. Other folders below `root` belong to trainings with
    other settings, data or code, and are left alone.
    """
    folder = Path(root) / fingerprint
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"{folder}: in use by another training with the same settings; this one writes no checkpoints")
            yield None
            return
        store = CheckpointStore(folder)
        for partial in folder.glob(".*.partial*"):  # left by a process that was killed while writing
            partial.unlink()
        others = [path.name for path in Path(root).iterdir() if path.is_dir() and path != folder]
        if others and not store.files:
            print(f"{root}: not used, from other settings, data or code: {', '.join(sorted(others))}")
        yield store
        shutil.rmtree(folder, ignore_errors=True)
