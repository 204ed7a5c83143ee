"""The synthetic corpora by name, as `corpus.synthetic` has it."""

from collections.abc import Callable
from pathlib import Path

from audiornn.corpus.synthetic.music import music
from audiornn.corpus.synthetic.speech import speech, voices

# Each writes wav files of so many minutes into a folder, with a seed, and returns them.
SYNTHESES: dict[str, Callable[[Path, float, int], list[Path]]] = {"speech": speech, "voices": voices, "music": music}
