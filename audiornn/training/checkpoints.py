"""What a training needs to go on where it was interrupted, in files that are whole or not there."""

import fcntl
import hashlib
import json
import shutil
import signal
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiornn.dataset.shards import Manifest
from audiornn.files import atomic_file

KEPT = 3  # the last checkpoint, and some before it, should it turn out damaged
# What a training depends on, of the library: the same modules and packages that dvc.yaml lists for its stage.
TRAINING_CODE = (
    *("backend.py", "codec.py", "dataset/shards.py", "dataset/split.py", "dataset/windows.py"),
    *("evaluation/scores.py", "kernels", "models", "training"),
)


def identity(params: Mapping[str, Any], manifest: Manifest) -> str:
    """What determines a training, as 16 hexadecimal digits: parameters, shards, the code and its libraries.

    Parameters
    ----------
    params
        The `train` section. How often checkpoints and clips to listen to are made does not matter.
    manifest
        Of the shards.
    """
    import keras
    import tensorflow as tf

    root = Path(__file__).parents[1]
    sources = [
        file
        for name in TRAINING_CODE
        for file in ((root / name).rglob("*.py") if (root / name).is_dir() else [root / name])
    ]
    code = sorted((str(file.relative_to(root)), hashlib.sha256(file.read_bytes()).hexdigest()) for file in sources)
    libraries = {library.__name__: library.__version__ for library in (keras, np, tf)}
    settings = {key: value for key, value in params.items() if not key.startswith(("checkpoint_", "listen_"))}
    layout = {"digest": manifest.digest, "context": manifest.layout.context, "span": manifest.layout.span}
    whole = json.dumps([settings, layout, code, libraries], sort_keys=True)
    return hashlib.sha256(whole.encode()).hexdigest()[:16]


class Store:
    """Checkpoints of one training, in a folder of their own."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def save(self, step: int, arrays: Sequence[NDArray[Any]], about: Mapping[str, Any]) -> None:
        """Keep arrays, and what else there is to know as JSON; of earlier checkpoints the last two stay."""
        content = {str(i): array for i, array in enumerate(arrays)}
        text = np.frombuffer(json.dumps(about).encode(), np.uint8)
        with atomic_file(self.folder / f"{step:09d}.npz") as partial:
            np.savez(partial, allow_pickle=False, about=text, **content)
        for file in self.files[KEPT:]:
            file.unlink()

    def load(self) -> tuple[list[NDArray[Any]], dict[str, Any]] | None:
        """The arrays and the rest of the newest checkpoint that is readable."""
        for file in self.files:
            try:
                with np.load(file, allow_pickle=False) as content:
                    arrays = [content[str(i)] for i in range(len(content.files) - 1)]
                    return arrays, json.loads(content["about"].tobytes())
            except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
                print(f"{file}: damaged, the checkpoint before it is used ({error})")
        return None

    @property
    def files(self) -> list[Path]:
        """Checkpoints, the newest first."""
        return sorted(self.folder.glob("[0-9]*.npz"), reverse=True)

    def clear(self) -> None:
        """Remove all checkpoints."""
        for file in self.files:
            file.unlink()


@contextmanager
def claim(root: str | Path, key: str) -> Iterator[Store | None]:
    """The store of a training below `root`, for as long as the block lasts; it is removed if the block ends well.

    None, where another process trains with the same settings at this moment. Other folders below `root` belong to
    trainings with other settings, data or code, and are left as they are.
    """
    folder = Path(root) / key
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"{folder}: in use by another training with the same settings; this one makes no checkpoints")
            yield None
            return
        store = Store(folder)
        for partial in folder.glob(".*.partial*"):  # of a process that was killed while writing
            partial.unlink()
        others = [path.name for path in Path(root).iterdir() if path.is_dir() and path != folder]
        if others and not store.files:
            print(f"{root}: of other settings, data or code, not used: {', '.join(sorted(others))}")
        yield store
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def interruptions() -> Iterator[Callable[[], bool]]:
    """Within the block SIGINT and SIGTERM are only noted, so that work can be put in order; a second one interrupts.

    Gives a function that says whether there was one.
    """
    noted: list[int] = []

    def note(number: int, frame: Any) -> None:
        if noted:
            raise KeyboardInterrupt
        noted.append(number)

    if threading.current_thread() is not threading.main_thread():  # only there can signals be handled
        yield lambda: False
        return
    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(noted)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
