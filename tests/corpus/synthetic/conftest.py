"""A minute of speech and of music; tests leave them as they are."""

from pathlib import Path

import pytest

from audiornn.corpus.synthetic.music import music
from audiornn.corpus.synthetic.speech import voices


@pytest.fixture(scope="session")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return voices(tmp_path_factory.mktemp("voices"), 1)


@pytest.fixture(scope="session")
def played(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return music(tmp_path_factory.mktemp("music"), 1)
