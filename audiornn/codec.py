"""Codec: pre-emphasis and 8-bit µ-law.

Speech and music fall by several dB per octave, while quantisation noise is white. A first-order pre-emphasis `y[n] =
x[n] - a x[n-1]` flattens the spectrum before quantisation, and the de-emphasis `x[n] = y[n] + a x[n-1]` shapes the
noise like the signal afterwards. In between is µ-law companding (the continuous form of ITU-T G.711 with µ = 255); the
codes are 256 uniform steps of the companded amplitude.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import scipy
from numpy.typing import ArrayLike
from pydantic import Field

from audiornn.common.array_types import Codes, Floats, Wave
from audiornn.common.errors import AudioRNNError

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
        y, self._previous = scipy.signal.lfilter([1, -self.preemphasis], [1], x, zi=self._previous)
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
        x, self._previous = scipy.signal.lfilter([1], [1, -self.preemphasis], y, zi=self._previous)
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
