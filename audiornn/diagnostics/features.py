"""Acoustic features of a wave: levels, flatness, spectra, loops."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from audiornn.audio.levels import SILENT_DBFS, dbfs
from audiornn.common.errors import AudioRNNError

Array = NDArray[np.float64]

MIN_RATE = 1000  # Hz
MIN_SECONDS = 1.0  # shorter clips are judged by their levels alone

TONE_CHANGE_DB = 1.0
LOOP_SIMILARITY = 0.88  # of a loop heard three times or more
COPY_SIMILARITY = 0.985  # of one heard only twice
LOOP_CONTRAST = 0.2  # by which the similarity must exceed that at other lags
SHORTEST_LOOP = 0.05  # seconds; faster repetition is a tone
SHORTEST_REPLAY = 0.25  # seconds; shortest loop that is not an exact copy


def check_wave(wave: ArrayLike, sample_rate: int) -> Array:
    x = np.asarray(wave, np.float64)
    if x.ndim != 1 or not x.size:
        raise AudioRNNError(f"the wave has shape {x.shape}, but must be mono and not empty: one axis of samples")
    if not np.isfinite(x).all():
        raise AudioRNNError("the wave holds values that are not finite")
    if sample_rate < MIN_RATE:
        raise AudioRNNError(f"the sample rate is {sample_rate} Hz, but must be at least {MIN_RATE} Hz")
    return x


FRAME_SECONDS, HOP_SECONDS = 0.032, 0.004  # frames of mel levels and of silence
FINE_SECONDS = 0.064  # frames that resolve the harmonics of a voice
FLAT_BINS = 22  # 344 Hz of them
BANDS = 24
RANGE_DB = 30.0  # dynamic range of levels below the mean
LOOP_SECONDS = 20.0  # at the end of a sound that are searched for loops
TINY = 1e-20


def clipped_share(wave: Array) -> float:
    """Share of clipped samples of a wave float [n], at full scale or below it, if it was scaled afterwards.

    On each side of zero, runs of two or more samples within 1 % of the peak count if there are at least 1.5 times as
    many as in the 4 % below: an unclipped wave, even a sine, spends more time there than at its peak. Fewer than six
    samples do not count, as one peak may be flat by chance. Samples beyond full scale always count.
    """
    flat = np.abs(wave) > 1
    for side in (wave, -wave):
        peak = side.max()
        top = scipy.ndimage.binary_opening(side >= 0.99 * peak, np.ones(2))
        below = np.count_nonzero((side >= 0.95 * peak) & (side < 0.99 * peak))
        if peak > 0 and top.sum() >= max(6, 1.5 * below):
            flat |= top
    return float(flat.mean())


class Loop(NamedTuple):
    """The period of a loop in seconds, None if there is none, and the similarity of the sound to itself at that lag."""

    seconds: float | None
    similarity: float


@dataclass(frozen=True)
class Sound:
    """A wave float [n] without DC offset, at `rate` Hz, and its features."""

    wave: Array
    rate: int

    @property
    def seconds(self) -> float:
        """Its length."""
        return len(self.wave) / self.rate

    @cached_property
    def rms_dbfs(self) -> float:
        """Its level."""
        return dbfs(float(np.sqrt(np.mean(self.wave**2))))

    @property
    def audible(self) -> bool:
        """Whether it can be judged: at least a second, not silent."""
        return self.seconds >= MIN_SECONDS and self.rms_dbfs >= SILENT_DBFS

    def parts(self) -> Iterator["Sound"]:
        """The sound itself, then its second half if that is long enough and at most 20 dB quieter."""
        yield self
        half = self.wave[len(self.wave) // 2 :]
        second = Sound(half - half.mean(), self.rate)
        if second.audible and second.rms_dbfs > self.rms_dbfs - 20:
            yield second

    @cached_property
    def silent_share(self) -> float:
        """Share of frames whose RMS is below -60 dBFS."""
        size = min(len(self.wave), round(FRAME_SECONDS * self.rate))
        frames = self.wave[: len(self.wave) // size * size].reshape(-1, size)
        return float(np.mean(np.sqrt(np.mean(frames**2, axis=1)) < 10 ** (SILENT_DBFS / 20)))

    @cached_property
    def flatness(self) -> float:
        """Spectral flatness (geometric over arithmetic mean of the power spectrum) in narrow bands.

        Over the whole spectrum, noise that falls with frequency, as from a model with pre-emphasis, would be no flatter
        than a voice. So the spectrum is whitened by first-order linear prediction and its flatness taken in bands of
        344 Hz, in which noise of any colour has exp(-γ) = 0.56 or slightly more, while a voice has harmonics. The mean
        over bands and frames is weighted by power: fricatives are noise, but weak.
        """
        return self._fine[0]

    @cached_property
    def centroid_hz(self) -> float:
        """Mean frequency, weighted by power."""
        return self._fine[1]

    @cached_property
    def _fine(self) -> tuple[float, float]:
        flat = moment = total = banded = 0.0
        coefficient = float(self.wave[1:] @ self.wave[:-1]) / (float(self.wave @ self.wave) + TINY)
        waves = self.wave, scipy.signal.lfilter([1, -coefficient], [1], self.wave)
        spectra = (_spectra(wave, self.rate, FINE_SECONDS, FINE_SECONDS / 2) for wave in waves)
        for power, flattened in zip(*spectra, strict=True):
            total += float(power.sum())
            moment += float((power @ np.linspace(0, self.rate / 2, power.shape[1])).sum())
            # Without the lowest bins, into which the window smears DC, and the last one, which is real.
            power, flattened = power[:, 2:-1], flattened[:, 2:-1]
            bins = min(FLAT_BINS, power.shape[1])
            shape = (len(power), power.shape[1] // bins, bins)
            power, flattened = (p[:, : shape[1] * bins].reshape(shape) for p in (power, flattened))
            weights = power.sum(axis=2)
            flatness = np.exp(np.log(flattened + TINY).mean(axis=2)) / (flattened.mean(axis=2) + TINY)
            flat += float((weights * flatness).sum())
            banded += float(weights.sum())
        return flat / banded if banded > TINY else 0.0, moment / total if total > TINY else 0.0

    @cached_property
    def power(self) -> Array:
        """Power in mel bands every 4 ms, float [frames, bands]."""
        bank: Array | None = None
        rows = []
        for spectrum in _spectra(self.wave, self.rate, FRAME_SECONDS, HOP_SECONDS):
            bank = mel_bank(spectrum.shape[1], self.rate) if bank is None else bank
            rows.append(spectrum @ bank.T)
        return np.concatenate(rows)

    @cached_property
    def levels(self) -> Array:
        """Log-mel levels in dB relative to the mean power of a band, with a floor at -30 dB, float [frames, bands].

        Invariant to volume, and to faint hiss in pauses and upper bands.
        """
        relative = self.power / (self.power.mean() + TINY)
        return 10 * np.log10(relative + 10 ** (-RANGE_DB / 10))

    @cached_property
    def level_variation_db(self) -> float:
        """Standard deviation of the levels over time, averaged over bands by their power."""
        weights = self.power.mean(axis=0)
        return float(weights @ self.levels.std(axis=0) / (weights.sum() + TINY))

    @cached_property
    def loop(self) -> Loop:
        """The lag at which the sound repeats, by its wave or its log-mel levels.

        The wave finds loops under noise and gives the period to the sample; the levels find loops that are repeated
        inexactly, if they are longer than vibrato, tremolo and trills. A sustained note is similar at every lag: a loop
        must stand out.
        """
        if self.level_variation_db < TONE_CHANGE_DB:
            return Loop(None, 0.0)
        shortest = round(SHORTEST_LOOP * self.rate)
        waves = autocorrelation(self.wave[-round(LOOP_SECONDS * self.rate) :, None])
        lag, alike = _repetition(waves, shortest, COPY_SIMILARITY)
        if alike < LOOP_SIMILARITY:
            # Two periods of similar levels are a phrase and its repetition in music; only an exact copy is a loop.
            levels = self.levels[-round(LOOP_SECONDS / HOP_SECONDS) :]
            levels = autocorrelation(levels - levels.mean(axis=0))
            frames, alike_levels = _repetition(levels, round(SHORTEST_REPLAY / HOP_SECONDS), np.inf)
            if alike_levels >= LOOP_SIMILARITY:
                lag, alike = self._refine(round(frames * HOP_SECONDS * self.rate), waves, shortest), alike_levels
        return Loop(lag / self.rate if alike >= LOOP_SIMILARITY else None, alike)

    def _refine(self, lag: int, waves: Array, shortest: int) -> int:
        """Refine a lag found by levels (every 4 ms) to the sample, or to a divisor of it, if the waves match there."""

        def best(near: float, width: int) -> int:
            first = max(1, round(near) - width)
            return first + int(waves[first : round(near) + width + 1].argmax())

        exact = best(lag, round(HOP_SECONDS * self.rate))
        if waves[exact] < 0.5:
            return lag
        if waves[exact] < LOOP_SIMILARITY:
            return exact
        rounds = [best(exact / n, 1) for n in range(exact // shortest, 1, -1)]
        return next((part for part in rounds if waves[part] >= 0.98 * waves[exact]), exact)


def _spectra(wave: Array, rate: int, seconds: float, hop_seconds: float) -> Iterator[Array]:
    """Power spectra float [frames, bins], Hann-windowed, in blocks of frames; a short wave is padded to one frame."""
    size, hop = scipy.fft.next_fast_len(round(seconds * rate), real=True), round(hop_seconds * rate)
    window = scipy.signal.windows.hann(size, sym=False)
    wave = np.pad(wave, (0, max(0, size - len(wave))))
    frames = np.lib.stride_tricks.sliding_window_view(wave, size)[::hop]
    for start in range(0, len(frames), 256):
        yield np.abs(scipy.fft.rfft(frames[start : start + 256] * window, axis=1)) ** 2


def mel_bank(bins: int, rate: int) -> Array:
    """Triangular filters float [bands, bins], equally spaced on the mel scale `2595 log10(1 + f / 700)` of HTK.

    The formula is O'Shaughnessy's (Speech Communication: Human and Machine, 1987), the layout that of Davis and
    Mermelstein (IEEE Trans. ASSP 28(4), 1980). Bands that contain no bin, at low rates, are left out.
    """

    def mel(hertz: Array) -> Array:
        return 2595 * np.log10(1 + hertz / 700)

    places = mel(np.linspace(0, rate / 2, bins))
    edges = np.linspace(mel(np.array(40.0)), places[-1], BANDS + 2)[:, None]
    rising = (places - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - places) / (edges[2:] - edges[1:-1])
    bank = np.maximum(0, np.minimum(rising, falling))
    return bank[bank.any(axis=1)]


def autocorrelation(x: Array) -> Array:
    """Normalised autocorrelation float [n // 2 + 2] of x float [n, channels] at lags up to half its length.

    `r[k] = sum(x[t] x[t+k]) / sqrt(sum(x[t]²) sum(x[t+k]²))`, summed over channels and all t below n - k.
    """
    n, lags = len(x), np.arange(min(len(x) - 1, len(x) // 2 + 1) + 1)
    size = scipy.fft.next_fast_len(n + len(lags), real=True)
    products = sum(scipy.fft.irfft(np.abs(scipy.fft.rfft(channel, size)) ** 2, size)[: len(lags)] for channel in x.T)
    energy = np.concatenate([[0.0], np.cumsum((x**2).sum(axis=1))])
    return products / (np.sqrt(energy[n - lags] * np.maximum(energy[n] - energy[lags], 0)) + TINY)


def _repetition(r: Array, lowest: int, exact: float) -> tuple[int, float]:
    """Lag and similarity of the most prominent repetition in r float [lags]; (0, 0.0) if there is none.

    Lags beyond a third of the sound, of which there are only two periods, count if their similarity reaches `exact`.
    """
    r = np.where((np.arange(len(r)) > 2 / 3 * len(r)) & (r < exact), 0, r)
    peaks = lowest + np.flatnonzero((r[lowest:-1] >= r[lowest - 1 : -2]) & (r[lowest:-1] > r[lowest + 1 :]))
    if not len(peaks) or r[peaks].max() <= 0:
        return 0, 0.0
    # The shortest, as multiples of the period are similar, too; then the best nearby, not a pitch period off.
    shortest = int(peaks[r[peaks] >= 0.9 * r[peaks].max()][0])
    lag = shortest + int(r[shortest : int(1.4 * shortest)].argmax())
    between = r[int(0.3 * lag) : int(0.7 * lag) + 1].max()
    return (lag, float(r[lag])) if r[lag] - between >= LOOP_CONTRAST else (0, 0.0)
