"""Codec: pre-emphasis and 8-bit µ-law.

Speech and music fall by several dB per octave, while quantisation noise is white. A first-order pre-emphasis `y[n] =
x[n] - a x[n-1]` flattens the spectrum before quantisation, and the de-emphasis `x[n] = y[n] + a x[n-1]` shapes the
noise like the signal afterwards. In between is µ-law companding (the continuous form of ITU-T G.711 with µ = 255); the
codes are 256 uniform steps of the companded amplitude.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from pydantic import Field
from scipy import signal

from audiornn.array_types import Codes, Counts, Floats, Wave
from audiornn.errors import AudioRNNError

CODES: Literal[256] = 256
MU = CODES - 1
SILENCE = 128  # the code of amplitude 0


def compand(amplitude: Floats) -> Floats:
    """The µ-law curve, [-1, 1] -> [-1, 1]."""
    return np.sign(amplitude) * np.log1p(MU * np.abs(amplitude)) / np.log1p(MU)


def expand_companded(companded: Floats) -> Floats:
    """Amplitudes of companded ones: the inverse of `compand`."""
    return np.sign(companded) * np.expm1(np.abs(companded) * np.log1p(MU)) / MU


COMPANDED = np.arange(CODES) / MU * 2 - 1  # the companded amplitude of each code
_AMPLITUDES = expand_companded(COMPANDED)


def mu_law_encode(wave: ArrayLike) -> Codes:
    """µ-law codes of amplitudes.

    `code = floor((sign(x) ln(1 + 255 |x|) / ln 256 + 1) / 2 * 255 + 0.5)`, the formula of torchaudio's
    `mu_law_encoding` and of librosa's `mu_compress`, rounded to the nearest code.

    Parameters
    ----------
    wave
        Amplitudes of any shape. Values outside [-1, 1] are clipped to it, so that no code wraps around.

    Returns
    -------
    Codes 0 to 255 as uint8, of the same shape; 128 is silence.
    """
    x = np.clip(np.asarray(wave, np.float64), -1, 1)
    return np.floor((compand(x) + 1) / 2 * MU + 0.5).astype(np.uint8)


def mu_law_decode(codes: ArrayLike) -> Wave:
    """Amplitudes in [-1, 1] of µ-law codes 0 to 255, of the same shape: the inverse of `mu_law_encode` on codes."""
    return _AMPLITUDES[np.asarray(codes)]


def check_preemphasis(value: float) -> float:
    """Return `value` if it is in [0, 1), where the de-emphasis is stable; raise AudioRNNError otherwise."""
    if not 0 <= value < 1:
        raise AudioRNNError(f"preemphasis is {value}, but must be at least 0 (off) and below 1")
    return float(value)


class Encoder:
    """Encode a recording block by block; the codes are those of the whole recording.

    Parameters
    ----------
    preemphasis
        Coefficient `a` of `y[n] = x[n] - a x[n-1]`, 0 (off) up to but excluding 1.

    Attributes
    ----------
    samples, clipped
        Number of samples encoded, and of those clipped because they left [-1, 1] after pre-emphasis.
    """

    def __init__(self, preemphasis: float = 0.95) -> None:
        self.preemphasis = check_preemphasis(preemphasis)
        self.samples = 0
        self.clipped = 0
        self._previous = np.zeros(1)

    def emphasise(self, wave: ArrayLike) -> Wave:
        """The next block after pre-emphasis, float [n], not clipped."""
        x = np.asarray(wave, np.float64)
        if not x.size:  # lfilter refuses empty input, but the last block of a resampler may be empty
            return x
        y, self._previous = signal.lfilter([1, -self.preemphasis], [1], x, zi=self._previous)
        self.samples += x.size
        self.clipped += int(np.count_nonzero(np.abs(y) > 1))
        return y

    def encode(self, wave: ArrayLike) -> Codes:
        """Codes uint8 [n] of the next block, a wave float [n] in [-1, 1]."""
        return mu_law_encode(self.emphasise(wave))


class Decoder:
    """Decode one recording block by block: the inverse of `Encoder`.

    The de-emphasis is stable (its pole is `preemphasis` < 1): the wave is bounded, however long.
    """

    def __init__(self, preemphasis: float = 0.95) -> None:
        self.preemphasis = check_preemphasis(preemphasis)
        self._previous = np.zeros(1)

    def deemphasise(self, wave: ArrayLike) -> Wave:
        """The next block after de-emphasis, float [n]."""
        y = np.asarray(wave, np.float64)
        if not y.size:  # lfilter would lose its state
            return y
        x, self._previous = signal.lfilter([1], [1, -self.preemphasis], y, zi=self._previous)
        return x

    def decode(self, codes: ArrayLike) -> Wave:
        """The wave float [n] of the next block of codes [n]."""
        return self.deemphasise(mu_law_decode(codes))


def encode(wave: ArrayLike, preemphasis: float = 0.95) -> Codes:
    """Codes of a wave.

    Parameters
    ----------
    wave
        Float [n] in [-1, 1], mono.
    preemphasis
        Coefficient of the pre-emphasis, 0 (off) up to but excluding 1.

    Returns
    -------
    Codes uint8 [n].

    Raises
    ------
    AudioRNNError
        If `wave` is not one-dimensional or holds values that are not finite, or `preemphasis` is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> wave = 0.5 * np.sin(2 * np.pi * 440 * np.arange(8000) / 8000)
    >>> codes = encode(wave)
    >>> codes.dtype, codes.shape
    (dtype('uint8'), (8000,))
    >>> bool(np.abs(decode(codes) - wave).max() < 0.05)
    True
    """
    x = np.asarray(wave, np.float64)
    if x.ndim != 1:
        raise AudioRNNError(f"wave has shape {x.shape}, but must be mono: one axis of samples")
    if not np.isfinite(x).all():
        raise AudioRNNError("wave holds values that are not finite")
    return Encoder(preemphasis).encode(x)


def decode(codes: ArrayLike, preemphasis: float = 0.95) -> Wave:
    """The wave float [n] of codes [n] (integers 0 to 255); the inverse of `encode` up to quantisation.

    Raises
    ------
    AudioRNNError
        If `codes` is not one-dimensional, holds anything but integers 0 to 255, or `preemphasis` is out of range.
    """
    c = np.asarray(codes)
    if c.ndim != 1:
        raise AudioRNNError(f"codes have shape {c.shape}, but must have one axis")
    if c.size and (c.dtype.kind not in "iu" or c.min() < 0 or c.max() > MU):
        raise AudioRNNError("codes must be integers from 0 to 255")
    return Decoder(preemphasis).decode(c.astype(np.uint8))


@dataclass(frozen=True)
class CodecSettings:
    """Settings of the codec, stored with the codes, the shards and every model.

    Attributes
    ----------
    sample_rate
        In Hz.
    highpass_hz
        Corner in Hz of the high-pass filter before the codec; 0 is none.
    preemphasis
        Coefficient of the pre-emphasis, 0 (off) up to but excluding 1.
    codes
        How many different codes there are.
    """

    sample_rate: Annotated[int, Field(ge=1000, le=384_000)]
    highpass_hz: Annotated[float, Field(ge=0)]
    preemphasis: Annotated[float, Field(ge=0, lt=1)]
    codes: Literal[256] = CODES

    def __post_init__(self) -> None:
        if not self.highpass_hz < self.sample_rate / 2:
            raise ValueError(f"highpass_hz must be below half of sample_rate, {self.sample_rate / 2:g}")

    @property
    def dc_blocker_hz(self) -> float:
        """Cutoff in Hz of the DC blocker for decoded waves: that of the codec, or 20 Hz if it has none."""
        return self.highpass_hz or 20.0

    def encode(self, wave: ArrayLike) -> Codes:
        """Codes uint8 [n] of a wave float [n] in [-1, 1]; see `encode`."""
        return encode(wave, self.preemphasis)

    def decode(self, codes: ArrayLike) -> Wave:
        """The wave float [n] of codes [n]; see `decode`."""
        return decode(codes, self.preemphasis)


class CodecSnr:
    """Signal-to-noise ratio of the codec, accumulated over blocks of any number of recordings.

    Parameters
    ----------
    sample_rate
        In Hz. The second ratio is that of the band above a quarter of it: the upper half of the spectrum.
    """

    def __init__(self, sample_rate: int) -> None:
        self._sos = signal.butter(8, 0.5, "highpass", output="sos")
        self.sample_rate = sample_rate
        self._energy = np.zeros((2, 2))  # [whole, high] x [signal, error]
        self.start_recording()

    def start_recording(self) -> None:
        """Reset the filters for the next recording."""
        self._state = np.zeros((len(self._sos), 2, 2))

    def add(self, wave: Wave, decoded: Wave) -> None:
        """Add a block of the wave, float [n], and the same block decoded, float [n]."""
        self.add_energy(self.energy(wave, decoded))

    def energy(self, wave: Wave, decoded: Wave) -> list[list[float]]:
        """Energies of signal and error, of the whole band and of its upper half, in a recording's next block."""
        if not len(wave):
            return [[0.0, 0.0], [0.0, 0.0]]
        both = np.stack([wave, wave - decoded])
        high, self._state = signal.sosfilt(self._sos, both, zi=self._state)
        return [np.sum(both**2, axis=1).tolist(), np.sum(high**2, axis=1).tolist()]

    def add_energy(self, energy: Sequence[Sequence[float]]) -> None:
        """Add what `energy` returned."""
        self._energy += energy

    def snr_db(self) -> tuple[float | None, float | None]:
        """Signal-to-noise ratio overall and above a quarter of the sample rate, in dB; None if undefined."""
        return tuple(  # type: ignore[return-value]
            float(10 * np.log10(s / e)) if s > 0 and e > 0 else None for s, e in self._energy
        )


def entropy_bits(counts: ArrayLike) -> float:
    """Entropy in bits of a single code, from counts [256]: the best loss of a model without memory."""
    c = np.asarray(counts, np.float64)
    p = c[c > 0] / c.sum()
    return float(-(p * np.log2(p)).sum()) + 0.0


@dataclass(frozen=True)
class CodecMetrics:
    """Quantisation loss of the codec.

    Attributes
    ----------
    snr_db, snr_high_db
        Signal-to-noise ratio of the decoded wave, overall and above a quarter of the sample rate; None if undefined.
    clipped_share
        Share of samples that left [-1, 1] after pre-emphasis.
    code_entropy_bits
        Entropy of a single code: the best loss of a model without memory.
    """

    snr_db: Annotated[float, Field(allow_inf_nan=False)] | None
    snr_high_db: Annotated[float, Field(allow_inf_nan=False)] | None
    clipped_share: Annotated[float, Field(ge=0, le=1)]
    code_entropy_bits: Annotated[float, Field(ge=0, le=8)]


class EncodedBlock(NamedTuple):
    """A block of a recording on its way through the codec: after pre-emphasis, as codes, and decoded; [n] each."""

    emphasised: Wave
    codes: Codes
    decoded: Wave


@dataclass(frozen=True)
class Measurement:
    """What quantisation loses of a recording.

    Attributes
    ----------
    energies
        Of each block, as `CodecSnr.energy` gives them.
    clipped
        Samples that left [-1, 1] after pre-emphasis.
    counts
        How often each of the 256 codes is used.
    """

    energies: Sequence[Sequence[Sequence[float]]]
    clipped: int
    counts: Counts


class MeasuringEncoder:
    """Encode a recording block by block, and measure what quantisation loses.

    Parameters
    ----------
    codec
        The settings.
    """

    def __init__(self, codec: CodecSettings) -> None:
        self._codec = codec
        self._snr = CodecSnr(codec.sample_rate)
        self._energies: list[list[list[float]]] = []
        self._counts: Counts = np.zeros(CODES, np.int64)
        self._encoder, self._decoder = Encoder(codec.preemphasis), Decoder(codec.preemphasis)

    def encode(self, wave: Wave) -> EncodedBlock:
        """Encode and decode the next block of the recording, float [n] in [-1, 1]."""
        emphasised = self._encoder.emphasise(wave)
        codes = mu_law_encode(emphasised)
        decoded = self._decoder.decode(codes)
        self._energies.append(self._snr.energy(wave, decoded))
        self._counts += np.bincount(codes, minlength=CODES)
        return EncodedBlock(emphasised, codes, decoded)

    def measured(self) -> Measurement:
        """What was measured so far."""
        return Measurement(self._energies, self._encoder.clipped, self._counts)

    def metrics(self) -> CodecMetrics:
        """The same as metrics, of at least one sample."""
        return codec_metrics(self._codec.sample_rate, [self.measured()])


def codec_metrics(sample_rate: int, recordings: Iterable[Measurement]) -> CodecMetrics:
    """Metrics of the codec over recordings, in order, with at least one sample among them."""
    snr, clipped, counts = CodecSnr(sample_rate), 0, np.zeros(CODES, np.int64)
    for recording in recordings:
        for energy in recording.energies:
            snr.add_energy(energy)
        clipped, counts = clipped + recording.clipped, counts + recording.counts
    return CodecMetrics(*snr.snr_db(), clipped / int(counts.sum()), entropy_bits(counts))
