"""A workspace with recordings to prepare."""

import pytest

from tests.helpers.preparation import FILES, Preparation, record


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    made = Preparation(tmp_path / "workspace", monkeypatch)
    for i in range(FILES):
        record(made.root / f"recordings/{i}.wav", i)
    return made
