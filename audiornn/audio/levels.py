"""Levels of waves: dBFS, peak scaling, limiter."""

import numpy as np
from numpy.typing import ArrayLike

from audiornn.audio.resampling import CEILING, OFFSET_FRAMES, Resampler
from audiornn.common.array_types import Wave


class Limiter:
    """Look-ahead limiter that works block by block, with a smooth gain.

    The gain is the minimum of the required gain over the next `lookahead` seconds, smoothed by a moving average of the
    same length: it has fallen far enough by the time a peak arrives, and no sample exceeds the ceiling. The output is
    delayed by `lookahead`.

    Parameters
    ----------
    sample_rate
        In Hz.
    ceiling
        As a share of full scale.
    lookahead
        In seconds.

    Attributes
    ----------
    lowest_gain
        The lowest gain so far; 1 if nothing had to be limited.
    """

    def __init__(self, sample_rate: int, ceiling: float = CEILING, lookahead: float = 0.005) -> None:
        self.ceiling = ceiling
        self.delay = max(1, round(lookahead * sample_rate))
        self.lowest_gain = 1.0
        # The moving average looks back one lookahead, to before the first sample.
        self._wave = np.zeros(self.delay - 1)

    def process(self, wave: Wave, last: bool = False) -> Wave:
        """Process the next block, float [n], and return the output that is ready; `last` flushes the delay."""
        ahead = np.zeros(self.delay - 1) if last else np.zeros(0)
        held = np.concatenate([self._wave, wave, ahead])
        n = self.delay
        if len(held) < 2 * n - 1:
            self._wave = held
            return np.zeros(0)
        needed = np.minimum(1.0, self.ceiling / np.maximum(np.abs(held), 1e-12))
        lowest = np.lib.stride_tricks.sliding_window_view(needed, n).min(axis=1)  # [i]: of samples i to i + n - 1
        gain = np.lib.stride_tricks.sliding_window_view(lowest, n).mean(axis=1)  # [i]: for sample i + n - 1
        out = held[n - 1 : n - 1 + len(gain)] * gain
        self.lowest_gain = min(self.lowest_gain, float(gain.min()))
        self._wave = held[len(gain) :]
        return out


def make_playable(
    wave: ArrayLike,
    sample_rate: int,
    highpass_hz: float = 20.0,
    peak_mode: str = "safe",
    skip: int = 0,
) -> tuple[Wave, float]:
    """Make a generated wave safe to play.

    DC and rumble are removed, and no peak exceeds 0.98 of full scale.

    Parameters
    ----------
    wave
        Float [n], of any level.
    sample_rate, highpass_hz
        In Hz; the filter is that of `Resampler`.
    peak_mode
        `safe`: a wave with higher peaks is scaled down as a whole, others keep their level. `normalise`: every wave is
        scaled to that peak. `limit`: only the peaks are lowered, by `Limiter`.
    skip
        Samples at the start that only warm up the filter and are dropped.

    Returns
    -------
    The wave float [n - skip], and the gain that was applied: 1 if none was needed; for a limiter the lowest gain.
    """
    wave = np.asarray(wave, np.float64)
    constant = float(wave[:OFFSET_FRAMES].mean()) if wave.size else 0.0
    wave = Resampler(sample_rate, sample_rate, highpass_hz, constant).process(wave)[skip:]
    if peak_mode == "limit":
        limiter = Limiter(sample_rate)
        return limiter.process(wave, last=True), limiter.lowest_gain
    peak = float(np.abs(wave).max(initial=0.0))
    gain = CEILING / peak if peak else 1.0
    gain = gain if peak_mode == "normalise" else min(1.0, gain)
    return wave * gain, gain


SILENT_DBFS = -60.0  # RMS below which a clip, or a frame of 32 ms, counts as silent

FLOOR_DBFS = -120.0


def dbfs(value: float) -> float:
    """A level relative to full scale in dB, not below -120."""
    return max(FLOOR_DBFS, 20 * float(np.log10(max(value, 1e-9))))
