"""Whole recordings of one split: for prompts, comparison and evaluation sample by sample."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from audiornn.audio import resampling
from audiornn.codec import mu_law_decode
from audiornn.common.array_types import Codes, Wave
from audiornn.common.errors import AudioRNNError
from audiornn.dataset.manifest import Manifest
from audiornn.preparation.encoded import EncodedCorpus

PROMPT_CANDIDATES = 8  # random pieces of which the loudest becomes the prompt, as pauses would prompt silence
REAL_CLIP = Path("real", "test-split.wav")  # real audio of the same length, beside generated clips


class SplitRecordings:
    """The codes of one split, recording by recording.

    Parameters
    ----------
    encoded
        The encoded recordings.
    manifest
        The manifest of the shards.
    split
        `train`, `validation` or `test`.

    Attributes
    ----------
    codec
        Settings of the codec.
    recordings
        Codes uint8 [n] of each recording, or of the part of it that is in the split; memory-mapped.

    Raises
    ------
    AudioRNNError
        If codes are missing, damaged or not those that the shards were made of.
    """

    def __init__(self, encoded: EncodedCorpus, manifest: Manifest, split: str = "test") -> None:
        self.codec, self.split = manifest.codec, split
        self.recordings: list[Codes] = []
        for piece in manifest.splits[split].ranges:
            codes = encoded.open(piece.recording)
            if not piece.start < piece.stop <= len(codes):
                raise AudioRNNError(
                    f"{encoded.folder / piece.recording}: has {len(codes)} codes, but the {split} split has those from "
                    f"{piece.start} to {piece.stop}; run dvc repro shard"
                )
            self.recordings.append(codes[piece.start : piece.stop])
        if not self.recordings:
            raise AudioRNNError(f"{manifest.folder}: its split {split} has no recordings; run dvc repro shard")

    def draw_prompts(self, count: int, samples: int, seed: int) -> Codes:
        """Random pieces uint8 [count, samples] of passages with sound.

        Raises
        ------
        AudioRNNError
            If no recording is long enough.
        """
        long = [codes for codes in self.recordings if len(codes) >= samples]
        if not long:
            rate = self.codec.sample_rate
            longest = max(len(codes) for codes in self.recordings) / rate
            raise AudioRNNError(
                f"prompt_seconds is {samples / rate:g}, but the longest {self.split} recording has {longest:.2f} s"
            )
        random = np.random.default_rng(seed)
        weights = np.array([len(codes) for codes in long], np.float64)
        chosen = []
        for _ in range(count):
            pieces = []
            for _ in range(PROMPT_CANDIDATES):
                codes = long[random.choice(len(long), p=weights / weights.sum())]
                start = random.integers(len(codes) - samples + 1)
                pieces.append(np.asarray(codes[start : start + samples]))
            chosen.append(loudest(pieces))
        return np.stack(chosen)

    def decode(self, index: int) -> Wave:
        """A recording, float [n], decoded and DC-blocked like generated clips."""
        rate = self.codec.sample_rate
        wave = self.codec.decode(self.recordings[index])
        return resampling.Resampler(rate, rate, self.codec.dc_blocker_hz).process(wave)

    def decode_all(self) -> Iterator[Wave]:
        """All recordings, as `decode` gives them."""
        return (self.decode(i) for i in range(len(self.recordings)))

    def draw_codes(self, seconds: float, seed: int) -> Codes:
        """Codes uint8 [n] of recordings in random order, concatenated: `seconds` of them, or all."""
        samples = round(seconds * self.codec.sample_rate)
        order = np.random.default_rng(seed).permutation(len(self.recordings))
        return np.concatenate([self.recordings[i] for i in order])[:samples]


def loudest(pieces: Sequence[Codes]) -> Codes:
    """The piece of codes, uint8 [n] each, with the largest energy."""
    return max(pieces, key=lambda piece: float(np.sum(mu_law_decode(piece) ** 2)))
