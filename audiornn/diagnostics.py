"""What is wrong with a clip, in numbers and in plain words: silence, clipping, noise, a tone, a loop.

A clip is judged as a whole and, where it is long enough, by its second half alone: a generator tends to begin well and
to fall into noise, a hum or a loop later. Each threshold stands between what was measured on real speech and music and
what was measured on the defect; docs/diagnosis.md has the tables and the command that prints them again.
"""

import random
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft, ndimage, signal

from audiornn import audio, corpus
from audiornn.errors import AudioRNNError

Array = NDArray[np.float64]

MIN_RATE = 1000  # Hz
MIN_SECONDS = 1.0  # of a clip that is judged by its sound, not by its levels alone
SILENT_DBFS = -60.0  # RMS of a clip, or of 32 ms of it, below which there is nothing to hear
MOSTLY_SILENT = 0.6  # share of silent frames
CLIPPED = 0.001  # share of samples on flat tops
DC = 0.01  # share of full scale
NOISE_FLATNESS = 0.45
TONE_CHANGE_DB = 1.0
ALIKE, EXACT = 0.88, 0.985  # similarity of a loop heard three times or more; of one heard only twice
LOOP_CONTRAST = 0.2  # by which that similarity must exceed the one at other lags
SHORTEST_LOOP = 0.05  # seconds; what repeats faster is a tone
SHORTEST_REPLAY = 0.25  # seconds of a loop that is not a copy
NEAR_DB = 5.0  # distance from a reference that is never far
FAR_MARGIN = 1.25  # beyond that, times the distance within which 95 % of the reference's own pieces stay
FAR_DB = 8.0  # distance that is far from a reference too short to measure that
EXCUSED = {"mostly-silent", "noise", "tone", "looping"}  # findings that count for nothing where they are usual:
USUAL = 0.1  # in at least this share of the reference's passages


@dataclass(frozen=True)
class Finding:
    """Something abnormal about a clip.

    Attributes
    ----------
    kind
        `silent`, `mostly-silent`, `clipped`, `dc`, `noise`, `tone`, `looping`, `far-from-reference` or `too-short`.
    advice
        What was found and what to try about it.
    """

    kind: str
    advice: str


@dataclass(frozen=True)
class Diagnosis:
    """The numbers of a clip, and what is abnormal about it.

    Attributes
    ----------
    seconds
        Length.
    rms_dbfs, peak_dbfs
        Levels relative to full scale, not below -120; the RMS leaves out the constant offset, which nobody hears.
    silent_share
        Share of 32 ms frames below -60 dBFS.
    clipped_share
        Share of samples that lie on flat tops or beyond full scale.
    dc
        Constant offset as a share of full scale.
    flatness
        Near 0 for tones, about 0.6 for noise of any colour.
    centroid_hz
        Mean frequency, weighted by power; 0 for digital silence.
    change_db
        How much the sound changes over time; near 0 for a steady tone.
    loop_period_seconds
        None where nothing loops.
    loop_similarity
        How alike the clip is to itself a period later, 1 for an exact copy. Without a loop, that of the lag that came
        closest, or 0 where none stands out.
    frechet_distance, frechet_limit
        Distance from the reference in dB a band, and what real audio of this length stays within; None without a
        reference, and for a clip that is silent or too short.
    findings
        What is abnormal; empty for a good clip.
    """

    seconds: float
    rms_dbfs: float
    peak_dbfs: float
    silent_share: float
    clipped_share: float
    dc: float
    flatness: float
    centroid_hz: float
    change_db: float
    loop_period_seconds: float | None
    loop_similarity: float
    frechet_distance: float | None
    frechet_limit: float | None
    findings: tuple[Finding, ...]

    def as_dict(self) -> dict[str, Any]:
        """All of it in what JSON has: finite numbers, strings, lists and None."""
        return asdict(self) | {"findings": [asdict(finding) for finding in self.findings]}

    def describe(self) -> str:
        """The numbers in indented lines, then a line for each finding."""
        loop = "no loop" if self.loop_period_seconds is None else f"loop of {self.loop_period_seconds:.3f} s"
        offset = round(self.dc, 4) + 0.0  # no -0.0000
        lines = [
            f"level      RMS {self.rms_dbfs:.1f} dBFS, peak {self.peak_dbfs:.1f} dBFS, offset {offset:.4f}, "
            f"{self.silent_share:.0%} silent, {self.clipped_share:.2%} clipped",
            f"sound      flatness {self.flatness:.2f}, centroid {self.centroid_hz:.0f} Hz, "
            f"change {self.change_db:.1f} dB, {loop} (similarity {self.loop_similarity:.2f})",
        ]
        if self.frechet_distance is not None:
            lines += [f"reference  {self.frechet_distance:.1f} dB away, real audio within {self.frechet_limit:.1f} dB"]
        lines += [f"{finding.kind}: {finding.advice}" for finding in self.findings] or ["nothing abnormal"]
        return "\n".join(f"  {line}" for line in lines)


def diagnose(wave: ArrayLike, sample_rate: int, reference: "Reference | None" = None) -> Diagnosis:
    """Measure a clip and say what is abnormal about it.

    Parameters
    ----------
    wave
        Float [n], full scale at ±1.
    sample_rate
        In Hz, at least 1000.
    reference
        Real audio at the same rate to compare with. What is usual there is not called noise, tone, looping or mostly
        silent: a model of rain may sound like rain.

    Returns
    -------
    The measurements and the findings.

    Raises
    ------
    AudioRNNError
        If the wave is empty, not mono or not finite, the rate is too low, or not the reference's.

    Examples
    --------
    >>> import numpy as np
    >>> hum = diagnose(0.3 * np.sin(2 * np.pi * 100 * np.arange(16000) / 8000), 8000)
    >>> [finding.kind for finding in hum.findings], round(hum.rms_dbfs, 1), round(hum.centroid_hz)
    (['tone'], -13.5, 100)
    """
    x = _check(wave, sample_rate)
    if reference is not None and reference.sample_rate != sample_rate:
        raise AudioRNNError(f"the clip is at {sample_rate} Hz, but the reference at {reference.sample_rate} Hz")
    dc = float(x.mean())
    whole = Sound(x - dc, sample_rate)
    loop = whole.loop if whole.audible else Loop(None, 0.0)
    clipped = 0.0
    if whole.rms_dbfs >= SILENT_DBFS:  # of a loop, one round: in many copies, a single peak would look flat
        clipped = clipped_share(x[-round((loop.seconds or whole.seconds) * sample_rate) :])
    findings = [*_judge_levels(whole, clipped, dc)]
    if whole.audible:
        for part in whole.parts():
            finding = _judge_sound(part, "It" if part is whole else "From its middle on it")
            if finding and all(finding.kind != known.kind for known in findings):
                findings.append(finding)
                loop = part.loop if finding.kind == "looping" else loop
    if reference is not None and any(finding.kind in EXCUSED for finding in findings):
        findings = [finding for finding in findings if finding.kind not in reference.usual]
    distance = limit = None
    if reference is not None and whole.audible:
        distance, limit = reference.distance(whole), reference.limit(whole.seconds)
        if distance > limit:
            findings.append(_judge_distance(whole, distance, limit, reference.centroid_hz))
    return Diagnosis(
        seconds=whole.seconds,
        rms_dbfs=whole.rms_dbfs,
        peak_dbfs=dbfs(float(np.abs(x).max())),
        silent_share=whole.silent_share,
        clipped_share=clipped,
        dc=dc,
        flatness=whole.flatness,
        centroid_hz=whole.centroid_hz,
        change_db=whole.change_db,
        loop_period_seconds=loop.seconds,
        loop_similarity=loop.similarity,
        frechet_distance=distance,
        frechet_limit=limit,
        findings=tuple(findings),
    )


def read_clip(path: str | Path) -> tuple[Array, int]:
    """A recording as mono wave float [n] and its sample rate in Hz, offset and all.

    Raises
    ------
    AudioRNNError
        If it cannot be read, or is empty or below 1000 Hz.
    """
    with audio.open_audio(path) as file:
        rate = int(file.samplerate)
    blocks = [block.mean(axis=1, dtype=np.float64) for block in audio.read_blocks(path)]
    if not blocks:
        raise AudioRNNError(f"{path}: empty")
    if rate < MIN_RATE:
        raise AudioRNNError(f"{path}: has a sample rate of {rate} Hz, but must have at least {MIN_RATE} Hz")
    return np.concatenate(blocks), rate


def _check(wave: ArrayLike, sample_rate: int) -> Array:
    x = np.asarray(wave, np.float64)
    if x.ndim != 1 or not x.size:
        raise AudioRNNError(f"the wave has shape {x.shape}, but must be mono and not empty: one axis of samples")
    if not np.isfinite(x).all():
        raise AudioRNNError("the wave holds values that are not finite")
    if sample_rate < MIN_RATE:
        raise AudioRNNError(f"the sample rate is {sample_rate} Hz, but must be at least {MIN_RATE} Hz")
    return x


# ------------------------------------------------------------------------------------------------------- judgement


def _judge_levels(sound: "Sound", clipped: float, dc: float) -> Iterator[Finding]:
    if sound.seconds < MIN_SECONDS:
        length = int(sound.seconds * 100) / 100
        yield Finding("too-short", f"{length:.2f} s are too short to judge: generate at least {MIN_SECONDS:g} s.")
    if sound.rms_dbfs < SILENT_DBFS:
        yield Finding(
            "silent",
            f"There is nothing to hear at {sound.rms_dbfs:.0f} dBFS: raise the temperature and prompt with real audio; "
            "if it stays silent, train longer.",
        )
    elif sound.silent_share > MOSTLY_SILENT:
        yield Finding(
            "mostly-silent",
            f"{sound.silent_share:.0%} of it is silent: raise the temperature and prompt with real audio; if the "
            "recordings hold long pauses, cut those out and train again.",
        )
    if clipped >= CLIPPED:
        yield Finding(
            "clipped",
            f"{clipped:.1%} of its samples are cut off flat: lower the temperature, and leave out recordings that are "
            "clipped themselves.",
        )
    if abs(dc) >= DC and sound.seconds >= MIN_SECONDS:
        yield Finding(
            "dc", f"It lies off centre by {dc:+.3f} of full scale: set resample.highpass_hz to 20 and train again."
        )


def _judge_sound(sound: "Sound", it: str) -> Finding | None:
    if sound.loop.seconds is not None:
        return Finding(
            "looping",
            f"{it} repeats every {sound.loop.seconds:.3f} s: raise the temperature; if it still does, train with more "
            "context, or on more varied recordings.",
        )
    if sound.flatness > NOISE_FLATNESS:
        return Finding(
            "noise",
            f"{it} is noise: train longer; if the loss falls no further, lower the temperature, then try a larger "
            "model.",
        )
    if sound.change_db < TONE_CHANGE_DB:
        return Finding(
            "tone",
            f"{it} is a steady tone around {sound.centroid_hz:.0f} Hz: raise the temperature; if it stays, train "
            "longer, or with more context.",
        )
    return None


def _judge_distance(sound: "Sound", distance: float, limit: float, usual_hz: float) -> Finding:
    advice = "train longer, then try more context or a larger model."
    if not usual_hz / 1.3 < sound.centroid_hz < 1.3 * usual_hz:
        brighter = sound.centroid_hz > usual_hz
        advice = (
            f"it is {'brighter' if brighter else 'duller'}, with its centroid at {sound.centroid_hz:.0f} instead of "
            f"{usual_hz:.0f} Hz; {'lower' if brighter else 'raise'} the temperature, or train longer."
        )
    return Finding(
        "far-from-reference",
        f"It differs from the reference by {distance:.1f} dB, where real audio stays within {limit:.1f} dB: {advice}",
    )


# ------------------------------------------------------------------------------------------------------ measurement

FLOOR_DBFS = -120.0
FRAME_SECONDS, HOP_SECONDS = 0.032, 0.004  # of levels in mel bands and of silence
FINE_SECONDS = 0.064  # frames that resolve the harmonics of a voice
FLAT_BINS = 22  # 344 Hz of them
BANDS = 24
RANGE_DB = 30.0  # levels count down to so far below the mean
LOOP_SECONDS = 20.0  # of a sound, at its end, are searched for loops
TINY = 1e-20


def dbfs(value: float) -> float:
    """A level relative to full scale in dB, not below -120."""
    return max(FLOOR_DBFS, 20 * float(np.log10(max(value, 1e-9))))


def clipped_share(wave: Array) -> float:
    """Share of samples of a wave float [n] that were cut off, at full scale or, if it was scaled later, below.

    On each side of zero, samples within 1 % of the peak count where two or more follow each other, if there are
    half as many again as in the 4 % below: an uncut wave, even a sine, is longer there than at its very peak. Less than
    six samples do not count: one peak can be flat by chance.
    What lies beyond full scale counts as well.
    """
    flat = np.abs(wave) > 1
    for side in (wave, -wave):
        peak = side.max()
        top = ndimage.binary_opening(side >= 0.99 * peak, np.ones(2))
        below = np.count_nonzero((side >= 0.95 * peak) & (side < 0.99 * peak))
        if peak > 0 and top.sum() >= max(6, 1.5 * below):
            flat |= top
    return float(flat.mean())


class Loop(NamedTuple):
    """The period of a loop in seconds, None where there is none, and how alike the sound is to itself at that lag."""

    seconds: float | None
    similarity: float


@dataclass(frozen=True)
class Sound:
    """A wave float [n] without constant offset, at `rate` Hz, and what is measured of it."""

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
        """Whether there is enough to judge: a second or more, not silent."""
        return self.seconds >= MIN_SECONDS and self.rms_dbfs >= SILENT_DBFS

    def parts(self) -> Iterator["Sound"]:
        """The sound itself, then its second half, if that is long enough and not more than 20 dB quieter."""
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
        """Spectral flatness, the geometric over the arithmetic mean of a power spectrum, in narrow bands.

        Over the whole spectrum, noise that falls off with frequency, such as a model with pre-emphasis makes, would
        seem no flatter than a voice. So the spectrum is flattened by linear prediction of first order, and its
        flatness taken in bands of 344 Hz, in which noise of any colour has exp(-γ) = 0.56 or a little more, while a
        voice has the peaks and valleys of its harmonics. The mean over bands and frames is weighted by power:
        fricatives are noise, but weak.
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
        waves = self.wave, signal.lfilter([1, -coefficient], [1], self.wave)
        spectra = (_spectra(wave, self.rate, FINE_SECONDS, FINE_SECONDS / 2) for wave in waves)
        for power, flattened in zip(*spectra, strict=True):
            total += float(power.sum())
            moment += float((power @ np.linspace(0, self.rate / 2, power.shape[1])).sum())
            # Neither the lowest bins, which the window smears DC into, nor the last one, which is not complex.
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

        Neither the volume nor faint hiss in pauses and upper bands makes a difference.
        """
        relative = self.power / (self.power.mean() + TINY)
        return 10 * np.log10(relative + 10 ** (-RANGE_DB / 10))

    @cached_property
    def change_db(self) -> float:
        """Standard deviation of the levels over time, averaged over bands by their power."""
        weights = self.power.mean(axis=0)
        return float(weights @ self.levels.std(axis=0) / (weights.sum() + TINY))

    @cached_property
    def loop(self) -> Loop:
        """The lag at which the sound repeats itself, by the wave or by its log-mel levels.

        The wave finds loops under noise and gives the period to a sample; the levels find loops whose rounds are
        spoken or played again rather than copied, if they are longer than vibrato, tremolo and trills. A sustained
        note is alike at every lag: a loop must stand out.
        """
        if self.change_db < TONE_CHANGE_DB:
            return Loop(None, 0.0)
        shortest = round(SHORTEST_LOOP * self.rate)
        waves = similarity(self.wave[-round(LOOP_SECONDS * self.rate) :, None])
        lag, alike = _repetition(waves, shortest, EXACT)
        if alike < ALIKE:
            # Two rounds of like levels are a phrase and its repetition in music; only an exact copy of it is a loop.
            levels = self.levels[-round(LOOP_SECONDS / HOP_SECONDS) :]
            levels = similarity(levels - levels.mean(axis=0))
            frames, alike_levels = _repetition(levels, round(SHORTEST_REPLAY / HOP_SECONDS), np.inf)
            if alike_levels >= ALIKE:
                lag, alike = self._refine(round(frames * HOP_SECONDS * self.rate), waves, shortest), alike_levels
        return Loop(lag / self.rate if alike >= ALIKE else None, alike)

    def _refine(self, lag: int, waves: Array, shortest: int) -> int:
        """A lag found by levels, every 4 ms, to the sample or to a fraction of it where the waves are alike there."""

        def best(near: float, width: int) -> int:
            first = max(1, round(near) - width)
            return first + int(waves[first : round(near) + width + 1].argmax())

        exact = best(lag, round(HOP_SECONDS * self.rate))
        if waves[exact] < 0.5:
            return lag
        rounds = [best(exact / n, 1) for n in range(exact // shortest, 1, -1)] if waves[exact] >= ALIKE else []
        return next((part for part in rounds if waves[part] >= 0.98 * waves[exact]), exact)


def _spectra(wave: Array, rate: int, seconds: float, hop_seconds: float) -> Iterator[Array]:
    """Power spectra float [frames, bins] under a Hann window, some frames at a time; a short wave is padded to one."""
    size, hop = fft.next_fast_len(round(seconds * rate), real=True), round(hop_seconds * rate)
    window = signal.windows.hann(size, sym=False)
    wave = np.pad(wave, (0, max(0, size - len(wave))))
    frames = np.lib.stride_tricks.sliding_window_view(wave, size)[::hop]
    for start in range(0, len(frames), 256):
        yield np.abs(fft.rfft(frames[start : start + 256] * window, axis=1)) ** 2


def mel_bank(bins: int, rate: int) -> Array:
    """Triangular filters float [bands, bins], equally spaced on the mel scale `2595 log10(1 + f / 700)` of HTK.

    The formula is O'Shaughnessy's (Speech Communication: Human and Machine, 1987), the layout that of Davis and
    Mermelstein (IEEE Trans. ASSP 28(4), 1980). Bands too narrow to hold a bin, at low rates, are left out.
    """

    def mel(hertz: Array) -> Array:
        return 2595 * np.log10(1 + hertz / 700)

    places = mel(np.linspace(0, rate / 2, bins))
    edges = np.linspace(mel(np.array(40.0)), places[-1], BANDS + 2)[:, None]
    rising = (places - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - places) / (edges[2:] - edges[1:-1])
    bank = np.maximum(0, np.minimum(rising, falling))
    return bank[bank.any(axis=1)]


def similarity(x: Array) -> Array:
    """Normalised autocorrelation float [n // 2 + 2] of x float [n, channels] at lags up to half its length.

    `r[k] = sum(x[t] x[t+k]) / sqrt(sum(x[t]²) sum(x[t+k]²))`, summed over channels and all t below n - k.
    """
    n, lags = len(x), np.arange(min(len(x) - 1, len(x) // 2 + 1) + 1)
    size = fft.next_fast_len(n + len(lags), real=True)
    products = sum(fft.irfft(np.abs(fft.rfft(channel, size)) ** 2, size)[: len(lags)] for channel in x.T)
    energy = np.concatenate([[0.0], np.cumsum((x**2).sum(axis=1))])
    return products / (np.sqrt(energy[n - lags] * np.maximum(energy[n] - energy[lags], 0)) + TINY)


def _repetition(r: Array, lowest: int, exact: float) -> tuple[int, float]:
    """The lag and the similarity of the repetition that stands out among r float [lags]; 0 and 0 where none does.

    Beyond a third of the sound, where a round is heard only twice, lags count if their similarity reaches `exact`.
    """
    r = np.where((np.arange(len(r)) > 2 / 3 * len(r)) & (r < exact), 0, r)
    peaks = lowest + np.flatnonzero((r[lowest:-1] >= r[lowest - 1 : -2]) & (r[lowest:-1] > r[lowest + 1 :]))
    if not len(peaks) or r[peaks].max() <= 0:
        return 0, 0.0
    # The shortest, as multiples of a period are alike, too; but not the pitch period before or after the right one.
    shortest = int(peaks[r[peaks] >= 0.9 * r[peaks].max()][0])
    lag = shortest + int(r[shortest : int(1.4 * shortest)].argmax())
    between = r[int(0.3 * lag) : int(0.7 * lag) + 1].max()
    return (lag, float(r[lag])) if r[lag] - between >= LOOP_CONTRAST else (0, 0.0)


# -------------------------------------------------------------------------------------------------------- reference

PASSAGE_SECONDS = 10.0
PASSAGES = 32
PIECES = 8  # of a clip's length: the fewest that the spread of a reference is measured by
REFERENCE_SECONDS = 3600.0


class Reference:
    """Statistics of real audio, in memory that does not grow with its length; made by `of` or `read`.

    Attributes
    ----------
    sample_rate
        In Hz.
    seconds
        Length of the audio that went in.
    mean, covariance
        Of the log-mel levels, float [bands] and [bands, bands].
    passages
        Up to 32 waves of at most 10 s, drawn at random, which tell how real audio differs from itself.
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
        """Gather the statistics.

        Parameters
        ----------
        waves
            Float [n] each, full scale at ±1. They are cut into passages of 10 s; silence and what is left below a
            second are passed over.
        sample_rate
            In Hz, at least 1000.

        Raises
        ------
        AudioRNNError
            If a wave is not mono, empty or not finite, the rate is too low, or there is not a second of sound.
        """
        drawn, size = random.Random(0), round(PASSAGE_SECONDS * sample_rate)
        passages: list[NDArray[np.float32]] = []
        count, samples, frames = 0, 0, 0
        total: Any = 0.0
        products: Any = 0.0
        for wave in waves:
            x = _check(wave, sample_rate)
            for start in range(0, len(x), size):
                piece = x[start : start + size]
                sound = Sound(piece - piece.mean(), sample_rate)
                if not sound.audible:
                    continue
                levels = sound.levels
                frames, total, products = frames + len(levels), total + levels.sum(axis=0), products + levels.T @ levels
                count, samples = count + 1, samples + len(piece)
                # Vitter's algorithm R: each passage so far is kept with the same probability.
                place = len(passages) if len(passages) < PASSAGES else drawn.randrange(count)
                if place < PASSAGES:
                    passages[place : place + 1] = [sound.wave.astype(np.float32)]
        if not passages:
            raise AudioRNNError("the reference holds no second of sound")
        mean = total / frames
        return cls(sample_rate, samples / sample_rate, mean, products / frames - np.outer(mean, mean), passages)

    @classmethod
    def read(cls, path: str | Path, sample_rate: int) -> "Reference":
        """The statistics of a recording, or of all recordings below a folder, resampled to `sample_rate`.

        Of a folder with more than an hour, each recording gives its beginning.

        Raises
        ------
        AudioRNNError
            If nothing there can be read, or it holds not a second of sound.
        """
        files = [Path(path)]
        if Path(path).is_dir():
            files = [Path(path) / recording.path for recording in corpus.scan(path)[0]]
            if not files:
                raise AudioRNNError(f"{path}: holds no readable recording")
        seconds = max(PASSAGE_SECONDS, REFERENCE_SECONDS / len(files))
        try:
            return cls.of((wave for file in files for wave in _passages(file, sample_rate, seconds)), sample_rate)
        except AudioRNNError as error:
            raise error if str(error).startswith(str(path)) else AudioRNNError(f"{path}: {error}") from None

    def distance(self, sound: Sound) -> float:
        """Fréchet distance of a sound's levels from those of the reference, in dB: its root mean square over bands."""
        mean, covariance = sound.levels.mean(axis=0), np.cov(sound.levels.T)
        return float(np.sqrt(frechet(mean, covariance, self.mean, self.covariance) / len(mean)))

    def limit(self, seconds: float) -> float:
        """The distance that real audio of this length stays within.

        1.25 times the 95th percentile over pieces of the reference itself, but at least 5 dB: a short piece is farther
        from the whole than a long one, and so is each of many different recordings. 8 dB where there are fewer than
        eight pieces.
        """
        size = int(seconds) * self.sample_rate  # whole seconds, so that clips of many lengths need few limits
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
        """The mean of its passages' centroids."""
        return float(np.mean([Sound(p.astype(np.float64), self.sample_rate).centroid_hz for p in self.passages]))

    @cached_property
    def usual(self) -> frozenset[str]:
        """The kinds of findings that mean nothing here, as at least a tenth of the passages get them."""
        counts = Counter(
            finding.kind for passage in self.passages for finding in diagnose(passage, self.sample_rate).findings
        )
        return frozenset(kind for kind in EXCUSED if counts[kind] >= USUAL * len(self.passages))


def frechet(mean_a: Array, covariance_a: Array, mean_b: Array, covariance_b: Array) -> float:
    """Squared Fréchet distance between two normal distributions.

    `|m_a - m_b|² + tr(C_a + C_b - 2 (C_a C_b)^(1/2))` (Dowson and Landau, J. Multivariate Analysis 12, 1982), the
    measure of FID (Heusel et al., NeurIPS 2017) and of FAD (Kilgour et al., Interspeech 2019), here of plain log-mel
    levels. The trace of the root is the sum of the root eigenvalues of the symmetric `C_a^(1/2) C_b C_a^(1/2)`, which
    has real ones only, whatever the rank. A second of sound has few independent frames for its 24 bands: 1 dB² on the
    diagonals keeps its covariance from being degenerate.

    Parameters
    ----------
    mean_a, mean_b
        Float [k].
    covariance_a, covariance_b
        Float [k, k], symmetric.

    Returns
    -------
    A number that is not negative; 0 for equal distributions.
    """
    a, b = (c + np.eye(len(c)) for c in (covariance_a, covariance_b))
    values, vectors = np.linalg.eigh(a)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ b @ root), 0)).sum()
    return max(0.0, float(np.sum((mean_a - mean_b) ** 2) + np.trace(a) + np.trace(b) - 2 * cross))


def _passages(path: Path, sample_rate: int, seconds: float) -> Iterator[Array]:
    """The first `seconds` of a recording as waves float [n] of 10 s, resampled."""
    size, left = round(PASSAGE_SECONDS * sample_rate), round(seconds * sample_rate)
    held = np.zeros(0)
    for block in audio.resample_blocks(path, sample_rate):
        held = np.concatenate([held, block])
        while len(held) >= size and left > 0:
            yield held[: min(size, left)]
            held, left = held[size:], left - size
        if left <= 0:
            return
    if len(held):
        yield held[:left]
