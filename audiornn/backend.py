"""TensorFlow and Keras, imported once and without their start-up messages."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from audiornn.common.waits import importing

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # must be set before TensorFlow is imported
os.environ.setdefault("KERAS_BACKEND", "tensorflow")


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress stderr of native code; print it if the block fails.

    TensorFlow writes a dozen lines about the processor before it reads its log level.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            with importing("TensorFlow", kept):
                yield
        except BaseException:
            held.seek(0)
            os.write(kept, held.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


@contextmanager
def _hidden(*names: str) -> Iterator[None]:
    """Let imports of packages fail in the block, except of those that have been imported already."""
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type] # None: not to be found
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


# Where they are installed, Keras imports these two, for a third of its time: for wrappers and galleries of images.
with _quiet(), _hidden("sklearn", "matplotlib"):
    import keras
    import tensorflow as tf

    GPUS = tf.config.list_physical_devices("GPU")

for gpu in GPUS:  # allocate memory as needed, not all at once
    tf.config.experimental.set_memory_growth(gpu, True)


def deterministic(seed: int) -> None:
    """Seed Python, numpy and TensorFlow, and restrict TensorFlow to deterministic operations."""
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


__all__ = ["GPUS", "deterministic", "keras", "tf"]


# XLA fuses small operations. On GPUs it needs CUDA tools that may not be installed.
COMPILE = not GPUS
