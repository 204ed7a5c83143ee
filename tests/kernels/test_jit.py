"""Kernels are compiled once, and again when what they are made of changes."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from audiornn.common.sources import PACKAGE, source_digest, source_files
from audiornn.kernels import jit, matmul
from tests.helpers.terminal import in_terminal

CODE = """
from audiornn.kernels.jit import njit
@njit(cache=True)
def double(x):
    return 2 * x
print(double(21), double(2.5))
"""


@pytest.mark.slow
def test_compilation_is_announced_once_and_only_if_it_happens(tmp_path):
    (tmp_path / "kernel.py").write_text(CODE)
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    (first, _), (second, _) = (in_terminal([sys.executable, tmp_path / "kernel.py"], env=environment) for _ in range(2))
    assert first.count("compiling kernels for this processor, once: 10 to 30 s on 2 cores\r\n") == 1
    assert "42 5.0" in first and "42 5.0" in second
    assert "compiling" not in second


def test_compiled_functions_are_cached_separately_for_each_state_of_their_sources():
    compiled = {
        file
        for file in PACKAGE.rglob("*.py")
        if re.search(r"^@(njit|kernel|scalar_kernel)\b", file.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert PACKAGE / "kernels/matmul.py" in compiled <= set(source_files(jit.SOURCES))
    assert jit.cache_folder().name == f"kernels-{source_digest(jit.SOURCES)[:12]}"
    assert Path(matmul.matmul_add._cache.cache_path) == jit.cache_folder() / "kernels"


ADD = """
import numpy as np
from audiornn.kernels import elementwise
y = np.ones(16, np.float32)
elementwise.add(np.full_like(y, 2), y)
print(elementwise.__file__, y[0])
"""


@pytest.mark.slow
def test_a_copy_of_the_package_finds_what_another_copy_has_compiled(tmp_path):
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        shutil.copytree(PACKAGE, folder / "audiornn", ignore=shutil.ignore_patterns("__pycache__"))
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": "."}
    said = [in_terminal([sys.executable, "-c", ADD], env=environment, cwd=folder)[0] for folder in folders]
    assert ["compiling" in each for each in said] == [True, False]
    for folder, each in zip(folders, said, strict=True):
        assert f"{folder}/audiornn/kernels/elementwise.py 3.0" in each


def test_compiled_functions_of_earlier_versions_are_removed_after_a_month(tmp_path):
    for name, days in (("kernels-old", 31), ("kernels-recent", 29), ("other", 99)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
        os.utime(tmp_path / name, 2 * (time.time() - days * 86_400,))
    code = "from audiornn.kernels import jit; print(jit.cache_folder())"
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    said = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert {path.name for path in tmp_path.iterdir()} == {"kernels-recent", "other", jit.cache_folder().name}
    assert said.stdout.strip() == str(tmp_path / jit.cache_folder().name)


@pytest.mark.slow
def test_kernels_work_where_no_folder_can_be_written(tmp_path):
    (tmp_path / "file").touch()
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "file")}
    done = subprocess.run([sys.executable, "-c", ADD], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.endswith(" 3.0\n")
