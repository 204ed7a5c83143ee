"""A model that tests of generation share."""

import numpy as np
import pytest

from audiornn.backend import keras
from audiornn.models import storage
from tests.conftest import CODEC


@pytest.fixture(scope="session")
def model():
    """A small audiornn with random weights."""
    keras.utils.set_random_seed(0)
    made = storage.build("audiornn", dense=16, units=16, layers=2)
    for variable in made.trainable_variables:
        variable.assign(variable + 0.3 * np.random.default_rng(0).standard_normal(variable.shape))
    made.codec = CODEC
    return made
