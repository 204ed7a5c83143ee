"""Real speech and music, synthesised once for all tests of diagnostics."""

from pathlib import Path

import numpy as np
import pytest

from audiornn.audio import resampling
from audiornn.corpus.synthetic.music import music
from audiornn.corpus.synthetic.speech import voices
from audiornn.diagnostics.reference import Reference
from tests.helpers.waves import RATE, Wave


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A corpus of speech and one of music."""
    made = {"speech": tmp_path_factory.mktemp("speech"), "music": tmp_path_factory.mktemp("music")}
    voices(made["speech"], 0.6)
    music(made["music"], 0.4)
    return made


@pytest.fixture(scope="session")
def real(folders: dict[str, Path]) -> dict[str, list[Wave]]:
    """Their recordings at 8 kHz."""
    return {
        name: [np.concatenate(list(resampling.resample_blocks(path, RATE))) for path in sorted(folder.glob("*.wav"))]
        for name, folder in folders.items()
    }


@pytest.fixture(scope="session")
def said(real: dict[str, list[Wave]]) -> Wave:
    """Four seconds of speech."""
    return np.concatenate(real["speech"])[: 4 * RATE]


@pytest.fixture(scope="session")
def reference(real: dict[str, list[Wave]]) -> Reference:
    """Every other recording of speech."""
    return Reference.of(real["speech"][::2], RATE)
