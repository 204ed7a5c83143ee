"""Kernels are compiled once, and again when what they are made of changes."""

import os
import re
import sys
from pathlib import Path

from numba import config

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


def test_compilation_is_announced_once_and_only_if_it_happens(tmp_path):
    (tmp_path / "kernel.py").write_text(CODE)
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    (first, _), (second, _) = (in_terminal([sys.executable, tmp_path / "kernel.py"], env=environment) for _ in range(2))
    assert first.count("compiling kernels for this processor, once: 10 to 30 s on 2 cores\r\n") == 1
    assert "42 5.0" in first and "42 5.0" in second
    assert "compiling" not in second


def test_compiled_functions_are_cached_separately_for_each_state_of_their_sources():
    assert Path(matmul.matmul_add._cache.cache_path).parent == Path(config.CACHE_DIR)
    compiled = {
        file
        for file in PACKAGE.rglob("*.py")
        if re.search(r"^@(njit|kernel|scalar_kernel)\b", file.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert PACKAGE / "kernels/matmul.py" in compiled <= set(source_files(jit.SOURCES))
    assert Path(config.CACHE_DIR).name == f"numba-{source_digest(jit.SOURCES)[:12]}"
