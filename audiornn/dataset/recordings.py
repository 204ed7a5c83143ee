"""One part of the data as whole recordings: for prompts, for comparison, and to look at single samples."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiornn import codec
from audiornn.audio import resampling
from audiornn.dataset.shards import read_manifest
from audiornn.errors import AudioRNNError
from audiornn.files import read_json

CANDIDATES = 8  # pieces of which the loudest becomes a prompt: the pauses between words would prompt silence
REAL = Path("real", "test-part.wav")  # beside generated clips: real audio of their length


class Part:
    """The codes of one part, recording by recording.

    Parameters
    ----------
    encoded, shards
        Folders that the encode and the shard stage wrote.
    settings
        The codec's settings, as stored with a model.
    name
        `train`, `validation` or `test`.

    Attributes
    ----------
    ranges
        Codes uint8 [n] of each recording, or of the piece of one, that belongs to the part; mapped, not read.
    """

    def __init__(self, encoded: str | Path, shards: str | Path, settings: dict[str, Any], name: str = "test") -> None:
        self.settings, self.name = settings, name
        files = {r["name"]: r["file"] for r in read_json(Path(encoded) / "manifest.json")["recordings"]}
        self.ranges: list[NDArray[np.uint8]] = [
            np.load(Path(encoded) / files[piece["recording"]], mmap_mode="r")[piece["start"] : piece["stop"]]
            for piece in read_manifest(shards)["parts"][name]["ranges"]
        ]

    def prompts(self, count: int, samples: int, seed: int) -> NDArray[np.uint8]:
        """Pieces uint8 [count, samples] drawn at random from where there is sound.

        Raises
        ------
        AudioRNNError
            If no recording is long enough.
        """
        long = [codes for codes in self.ranges if len(codes) >= samples]
        if not long:
            rate = self.settings["sample_rate"]
            longest = max(len(codes) for codes in self.ranges) / rate
            raise AudioRNNError(
                f"generate.prompt_seconds is {samples / rate:g}, but the longest {self.name} recording has "
                f"{longest:.2f} s"
            )
        random = np.random.default_rng(seed)
        weights = np.array([len(codes) for codes in long], np.float64)
        chosen = []
        for _ in range(count):
            pieces = []
            for _ in range(CANDIDATES):
                codes = long[random.choice(len(long), p=weights / weights.sum())]
                start = random.integers(len(codes) - samples + 1)
                pieces.append(np.asarray(codes[start : start + samples]))
            chosen.append(loudest(pieces))
        return np.stack(chosen)

    def wave(self, index: int) -> NDArray[np.float64]:
        """A recording, float [n], decoded and without DC, as clips are."""
        rate, highpass_hz = self.settings["sample_rate"], self.settings["highpass_hz"] or 20.0
        wave = codec.decode(self.ranges[index], self.settings["preemphasis"])
        return resampling.Resampler(rate, rate, highpass_hz)(wave)

    def waves(self) -> Iterator[NDArray[np.float64]]:
        """All recordings, as `wave` gives them."""
        return (self.wave(i) for i in range(len(self.ranges)))

    def example(self, seconds: float, seed: int) -> NDArray[np.uint8]:
        """Codes uint8 [n] of recordings in random order, as long as the part allows."""
        samples = round(seconds * self.settings["sample_rate"])
        order = np.random.default_rng(seed).permutation(len(self.ranges))
        return np.concatenate([self.ranges[i] for i in order])[:samples]


def loudest(pieces: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """That one of several pieces of codes, uint8 [n] each, that has the largest energy."""
    return max(pieces, key=lambda piece: float(np.sum(codec.expand(piece) ** 2)))
