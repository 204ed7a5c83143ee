import os
import sys

from tests.helpers.terminal import in_terminal

CODE = """
from audiornn.kernels.jit import njit
@njit(cache=True)
def double(x):
    return 2 * x
print(double(21), double(2.5))
"""


def test_it_is_said_once_that_kernels_are_compiled_and_only_if_they_are(tmp_path):
    (tmp_path / "kernel.py").write_text(CODE)
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    (first, _), (second, _) = (in_terminal([sys.executable, tmp_path / "kernel.py"], env=environment) for _ in range(2))
    assert first.count("compiling kernels for this processor, once: 10 to 30 s on 2 cores\r\n") == 1
    assert "42 5.0" in first and "42 5.0" in second
    assert "compiling" not in second
