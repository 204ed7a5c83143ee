"""TensorFlow, set up once for everything here: quiet, deterministic when asked, never more GPU memory than needed."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # must stand before TensorFlow is imported
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras  # noqa: E402
import tensorflow as tf  # noqa: E402

for gpu in tf.config.list_physical_devices("GPU"):
    tf.config.experimental.set_memory_growth(gpu, True)


def deterministic(seed: int) -> None:
    """Seed Python, numpy and TensorFlow, and let TensorFlow use only operations that give the same bits each time."""
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


__all__ = ["deterministic", "keras", "tf"]
