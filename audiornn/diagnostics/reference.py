"""Reference statistics of real audio, and the Fréchet distance from them."""

import random
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tqdm import tqdm

from audiornn.audio import resampling
from audiornn.audio.examination import examine
from audiornn.audio.waves import Reading
from audiornn.common.errors import AudioRNNError
from audiornn.corpus import scan
from audiornn.diagnostics.diagnosis import COMMON_SHARE, IGNORED_IF_COMMON, diagnose
from audiornn.diagnostics.features import Array, Sound, check_wave

NEAR_DB = 5.0  # distance that is always acceptable
FAR_MARGIN = 1.25  # beyond that, the limit is this many times the 95th percentile of the reference's own pieces
FAR_DB = 8.0  # limit for a reference too short to measure that

PASSAGE_SECONDS = 10.0
PASSAGES = 32
PIECES = 8  # minimum number of pieces, as long as the clip, for that percentile
REFERENCE_SECONDS = 3600.0


class Reference:
    """Statistics of real audio in bounded memory; created by `of` or `read`.

    Attributes
    ----------
    sample_rate
        In Hz.
    seconds
        Length of the audio behind them.
    mean, covariance
        Of the log-mel levels, float [bands] and [bands, bands].
    passages
        Up to 32 random waves of at most 10 s, for the variation within real audio.
    """

    def __init__(
        self, sample_rate: int, seconds: float, mean: Array, covariance: Array, passages: list[NDArray[np.float32]]
    ) -> None:
        self.sample_rate, self.seconds = sample_rate, seconds
        self.mean, self.covariance = mean, covariance
        self.passages = passages
        self._limits: dict[int, float] = {}

    @classmethod
    def of(cls, waves: Iterable[ArrayLike], sample_rate: int) -> "Reference":
        """Compute the statistics of waves.

        Parameters
        ----------
        waves
            Float [n] each, full scale at ±1. They are cut into passages of 10 s; silent ones and remainders below a
            second are skipped.
        sample_rate
            In Hz, at least 1000.

        Raises
        ------
        AudioRNNError
            If a wave is not mono, empty or not finite, the rate is too low, or there is less than a second of sound.
        """
        drawn, size = random.Random(0), round(PASSAGE_SECONDS * sample_rate)
        passages: list[NDArray[np.float32]] = []
        count, samples, frames = 0, 0, 0
        total: Array = np.zeros(())
        products: Array = np.zeros(())
        for wave in waves:
            x = check_wave(wave, sample_rate)
            for start in range(0, len(x), size):
                piece = x[start : start + size]
                sound = Sound(piece - piece.mean(), sample_rate)
                if not sound.audible:
                    continue
                levels = sound.levels
                frames, total, products = frames + len(levels), total + levels.sum(axis=0), products + levels.T @ levels
                count, samples = count + 1, samples + len(piece)
                # Vitter's algorithm R: every passage so far is kept with the same probability.
                place = len(passages) if len(passages) < PASSAGES else drawn.randrange(count)
                if place < PASSAGES:
                    passages[place : place + 1] = [sound.wave.astype(np.float32)]
        if not passages:
            raise AudioRNNError("the reference has less than a second of sound")
        mean = total / frames
        return cls(sample_rate, samples / sample_rate, mean, products / frames - np.outer(mean, mean), passages)

    @classmethod
    def read(cls, path: str | Path, sample_rate: int) -> "Reference":
        """The statistics of a recording, or of all recordings below a folder, resampled to `sample_rate`.

        Of each recording the beginning is used: an hour, shared equally by all of them, but at least 10 s of each.

        Raises
        ------
        AudioRNNError
            If nothing can be read, or there is less than a second of sound.
        """
        if Path(path).is_dir():
            files = [(Path(path) / recording.path, recording.reading) for recording in scan.scan(path)[0]]
            if not files:
                raise AudioRNNError(f"{path}: holds no readable recording")
        else:
            files = [(Path(path), examine(path).reading)]
        seconds = max(PASSAGE_SECONDS, REFERENCE_SECONDS / len(files))
        try:
            told = tqdm(files, "read the reference", unit="file", delay=1, disable=None)
            return cls.of(
                (wave for file, how in told for wave in _passages(file, how, sample_rate, seconds)), sample_rate
            )
        except AudioRNNError as error:
            raise error if str(error).startswith(str(path)) else AudioRNNError(f"{path}: {error}") from None

    def distance(self, sound: Sound) -> float:
        """Fréchet distance of a sound's levels from those of the reference, in dB: its root mean square over bands."""
        mean, covariance = sound.levels.mean(axis=0), np.cov(sound.levels.T)
        return float(np.sqrt(frechet(mean, covariance, self.mean, self.covariance) / len(mean)))

    def limit(self, seconds: float) -> float:
        """Maximum distance of real audio of this length.

        1.25 times the 95th percentile over pieces of the reference itself, at least 5 dB: short pieces and varied
        recordings are farther from the whole. 8 dB if there are fewer than eight pieces.
        """
        size = int(seconds) * self.sample_rate  # whole seconds, to cache few limits
        if size not in self._limits:
            cut = [piece for p in self.passages for piece in (p[:size], p[size : 2 * size])]
            pieces = [Sound(piece - piece.mean(), self.sample_rate) for piece in cut if len(piece)]
            pieces = sorted((p for p in pieces if p.audible), key=lambda p: p.seconds, reverse=True)
            full = sum(len(piece.wave) == size for piece in pieces)
            distances = [self.distance(piece) for piece in pieces[: max(full, PIECES)]]
            spread = float(np.percentile(distances, 95)) if len(distances) >= PIECES else FAR_DB / FAR_MARGIN
            self._limits[size] = max(NEAR_DB, FAR_MARGIN * spread)
        return self._limits[size]

    @cached_property
    def centroid_hz(self) -> float:
        """Mean spectral centroid of the passages."""
        return float(np.mean([Sound(p.astype(np.float64), self.sample_rate).centroid_hz for p in self.passages]))

    @cached_property
    def usual(self) -> frozenset[str]:
        """Kinds of findings that do not count, as at least a tenth of the passages have them."""
        counts = Counter(
            finding.kind for passage in self.passages for finding in diagnose(passage, self.sample_rate).findings
        )
        return frozenset(kind for kind in IGNORED_IF_COMMON if counts[kind] >= COMMON_SHARE * len(self.passages))


def frechet(mean_a: Array, covariance_a: Array, mean_b: Array, covariance_b: Array) -> float:
    """Squared Fréchet distance between two normal distributions.

    `|m_a - m_b|² + tr(C_a + C_b - 2 (C_a C_b)^(1/2))` (Dowson and Landau, J. Multivariate Analysis 12, 1982), the
    measure of FID (Heusel et al., NeurIPS 2017) and of FAD (Kilgour et al., Interspeech 2019), here of plain log-mel
    levels. The trace of the root is the sum of the root eigenvalues of the symmetric `C_a^(1/2) C_b C_a^(1/2)`, which
    has real ones only, whatever the rank. A second of sound has few independent frames for 24 bands: 1 dB² on the
    diagonals regularises the covariance.

    Parameters
    ----------
    mean_a, mean_b
        Float [k].
    covariance_a, covariance_b
        Float [k, k], symmetric.

    Returns
    -------
    At least 0; 0 for equal distributions.
    """
    a, b = (c + np.eye(len(c)) for c in (covariance_a, covariance_b))
    values, vectors = np.linalg.eigh(a)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ b @ root), 0)).sum()
    return max(0.0, float(np.sum((mean_a - mean_b) ** 2) + np.trace(a) + np.trace(b) - 2 * cross))


def _passages(path: Path, reading: Reading, sample_rate: int, seconds: float) -> Iterator[Array]:
    """The first `seconds` of a recording as waves float [n] of 10 s, resampled."""
    size, left = round(PASSAGE_SECONDS * sample_rate), round(seconds * sample_rate)
    held = np.zeros(0)
    for block in resampling.resample_blocks(path, sample_rate, reading=reading):
        held = np.concatenate([held, block])
        while len(held) >= size and left > 0:
            yield held[: min(size, left)]
            held, left = held[size:], left - size
        if left <= 0:
            return
    if len(held):
        yield held[:left]
