"""Best and worst predicted passages."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from audiornn.audio.levels import SILENT_DBFS
from audiornn.audio.waves import WaveWriter
from audiornn.common.array_types import Floats, Wave
from audiornn.naming import slug
from audiornn.preparation.recordings import SplitRecordings


@dataclass(frozen=True)
class Passage:
    """A passage of a recording with the loss of each code.

    `wave` is float [n], `bits` float [n], NaN where a code is no target; `recording` is its index in the split, `start`
    is in codes.
    """

    title: str
    recording: int
    start: int
    wave: Wave
    bits: NDArray[np.float32]

    def write(self, folder: str | Path, sample_rate: int) -> None:
        """Write a 16-bit wav named by the title."""
        with WaveWriter(Path(folder) / f"{slug(self.title)}.wav", sample_rate, "PCM_16") as writer:
            writer.write(self.wave)


class _Candidate(NamedTuple):
    """Where a passage could be: whether there is sound, its mean loss in bits, recording and start."""

    audible: bool
    loss: float
    recording: int
    start: int


def best_and_worst(bits: Sequence[NDArray[np.float32]], split: SplitRecordings, seconds: float = 1.0) -> list[Passage]:
    """The best and the worst predicted passage, among those with sound.

    Parameters
    ----------
    bits
        Loss of each code of each recording of `split`; see `CodeLosses`.
    seconds
        Length of a passage; it is shorter if in no recording the targets extend that far.

    Returns
    -------
    The best and the worst by the mean loss of their targets, among those with the most targets: all codes, unless
    windows are further apart than their targets. The same passage twice if there is only one.
    """
    rate = split.codec.sample_rate
    targets = [np.flatnonzero(np.isfinite(loss)) for loss in bits]
    length = max(1, min(round(seconds * rate), max((int(np.ptp(at)) + 1 for at in targets if len(at)), default=1)))
    long_enough = [i for i, loss in enumerate(bits) if len(loss) >= length]
    counts = {i: np.rint(length * _moving_mean(np.isfinite(bits[i]).astype(np.float64), length)) for i in long_enough}
    most = max(float(count.max()) for count in counts.values())
    found: list[_Candidate] = []
    for i in long_enough:
        means = _moving_mean(np.nan_to_num(bits[i].astype(np.float64)), length) * (length / most)
        loud = _moving_mean(split.decode(i) ** 2, length)
        for pick in (np.argmin, np.argmax):
            for audible in (True, False):
                usable = (counts[i] == most) & ((loud > 10 ** (SILENT_DBFS / 10)) | (not audible))
                if usable.any():
                    start = int(np.flatnonzero(usable)[pick(means[usable])])
                    found.append(_Candidate(audible, float(means[start]), i, start))
    candidates = [candidate for candidate in found if candidate.audible] or found
    best, worst = (pick(candidates, key=lambda candidate: candidate.loss) for pick in (min, max))
    return [
        Passage(
            title=f"predicted {name}",
            recording=at.recording,
            start=at.start,
            wave=split.decode(at.recording)[at.start : at.start + length],
            bits=bits[at.recording][at.start : at.start + length],
        )
        for name, at in (("best", best), ("worst", worst))
    ]


def _moving_mean(values: Floats, length: int) -> Floats:
    """Moving mean over `length` values of [n], none below 0, by first index."""
    sums = np.cumsum(np.concatenate([[0.0], values]))
    return np.maximum(sums[length:] - sums[:-length], 0) / length
