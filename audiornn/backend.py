"""TensorFlow and Keras, set up once for everything here: quiet, and deterministic when asked."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # must stand before TensorFlow is imported
os.environ.setdefault("KERAS_BACKEND", "tensorflow")


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back what native code writes to stderr; show it after all if the block fails.

    TensorFlow greets with a dozen lines about the processor before it reads its own log level.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(kept, held.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


with _quiet():
    import keras
    import tensorflow as tf

    GPUS = tf.config.list_physical_devices("GPU")

for gpu in GPUS:  # take memory as it is needed, not all of it at once
    tf.config.experimental.set_memory_growth(gpu, True)


def deterministic(seed: int) -> None:
    """Seed Python, numpy and TensorFlow, and let TensorFlow use only operations that give the same bits each time."""
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


__all__ = ["GPUS", "deterministic", "keras", "tf"]


# XLA fuses small operations. On a GPU it needs tools that not every machine has.
COMPILE = not GPUS
