"""Models to export, and the player, compiled as strictly as compilers can."""

import shutil
import subprocess
from types import SimpleNamespace

import pytest

from audiornn.backend import keras
from audiornn.exporting import folder
from audiornn.models import storage
from tests.conftest import CODEC
from tests.helpers import model_contract

STRICT = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic")
CHECKED = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def made(name="samplernn", **sizes):
    """A model with random weights."""
    keras.utils.set_random_seed(0)
    model = model_contract.shaken(storage.build(name, **sizes))
    model.codec = CODEC
    return model


@pytest.fixture(scope="session")
def model():
    """A samplernn with few units whose distributions are not flat."""
    return made(frames=[8, 2], units=12, embedding=6, lookback=5, dense=10)


@pytest.fixture(scope="session")
def exported(model, tmp_path_factory):
    """The model's export; tests leave it as it is."""
    path = tmp_path_factory.mktemp("exported") / "model"
    folder.export(model, path)
    return path


@pytest.fixture(scope="session")
def play(tmp_path_factory):
    """Run the player on a folder, compiled so that it stops at any access or arithmetic that C leaves undefined."""
    if not (compiler := shutil.which("cc")):
        pytest.skip("there is no C compiler, cc")
    program = tmp_path_factory.mktemp("player") / "player"
    source = str(folder.PLAYER / "player.c")
    built = subprocess.run([compiler, *STRICT, *CHECKED, "-o", program, source, "-lm"], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr

    def run(path, *options):
        done = subprocess.run([program, path, *map(str, options)], capture_output=True, timeout=60)
        return SimpleNamespace(code=done.returncode, output=done.stdout, errors=done.stderr.decode(errors="replace"))

    return run
