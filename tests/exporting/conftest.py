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


def compiled(program, source, *flags):
    """Compile a C file so that the program stops at any access or arithmetic that C leaves undefined."""
    if not (compiler := shutil.which("cc")):
        pytest.skip("there is no C compiler, cc")
    command = [compiler, *STRICT, *CHECKED, *flags, "-o", program, source, "-lm"]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return program


def runner(program):
    """A function that runs the player on a folder."""

    def run(path, *options):
        done = subprocess.run([program, path, *map(str, options)], capture_output=True, timeout=60)
        return SimpleNamespace(code=done.returncode, output=done.stdout, errors=done.stderr.decode(errors="replace"))

    return run


@pytest.fixture(scope="session")
def play(tmp_path_factory):
    """Run the player on a folder."""
    return runner(compiled(tmp_path_factory.mktemp("player") / "player", folder.PLAYER / "player.c"))


@pytest.fixture(scope="session")
def play_rounded(tmp_path_factory):
    """The same with rounded weights."""
    program = tmp_path_factory.mktemp("rounded") / "player"
    return runner(compiled(program, folder.PLAYER / "player.c", "-DAUDIORNN_BFLOAT16"))
