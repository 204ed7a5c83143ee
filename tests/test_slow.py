"""The list of slow tests names tests that exist, so that none becomes part of `make test-fast` by a new name."""

import re
from pathlib import Path

import pytest

from tests.conftest import SLOW

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("start", SLOW)
def test_a_slow_test_exists(start):
    path, _, name = start.partition("::")
    assert (ROOT / path).exists()
    if name:
        function = name.partition("[")[0]
        assert re.search(rf"^def {function}\(", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE)
