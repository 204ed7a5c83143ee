"""What tests of training share."""

import pytest

from tests.helpers.tiny_model import write_ancestor


@pytest.fixture
def ancestor_folder(tiny, tmp_path):
    return write_ancestor(tmp_path / "first")
