"""Wave to codes and back: pre-emphasis and 8-bit µ-law.

Speech and music fall off with frequency by several dB an octave, while quantisation noise is white. A first-order
pre-emphasis `y[n] = x[n] - a x[n-1]` flattens the spectrum before quantisation, and the de-emphasis
`x[n] = y[n] + a x[n-1]` shapes the noise like the signal afterwards. Between the two stands µ-law companding
(ITU-T G.711's continuous form with µ = 255), whose 256 uniform steps of the companded amplitude are the codes.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import signal

from audiornn.errors import AudioRNNError

CODES = 256
MU = CODES - 1
SILENCE = 128  # the code of amplitude 0


def compand(amplitude: NDArray[Any]) -> NDArray[Any]:
    """The µ-law curve, [-1, 1] -> [-1, 1]."""
    return np.sign(amplitude) * np.log1p(MU * np.abs(amplitude)) / np.log1p(MU)


def expand_companded(companded: NDArray[Any]) -> NDArray[Any]:
    """Amplitudes of companded ones: the inverse of `compand`."""
    return np.sign(companded) * np.expm1(np.abs(companded) * np.log1p(MU)) / MU


COMPANDED = np.arange(CODES) / MU * 2 - 1  # the companded amplitude of each code
_AMPLITUDES = expand_companded(COMPANDED)


def compress(wave: ArrayLike) -> NDArray[np.uint8]:
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


def expand(codes: ArrayLike) -> NDArray[np.float64]:
    """Amplitudes in [-1, 1] of µ-law codes 0 to 255, of the same shape: the inverse of `compress` on codes."""
    return _AMPLITUDES[np.asarray(codes)]


def check_preemphasis(value: float) -> float:
    """Return `value` if it lies in [0, 1), where the de-emphasis is stable; raise AudioRNNError otherwise."""
    if not 0 <= value < 1:
        raise AudioRNNError(f"preemphasis is {value}, but must be at least 0 (off) and below 1")
    return float(value)


class Encoder:
    """Encode one recording block by block; the codes of the blocks are those of the whole.

    Parameters
    ----------
    preemphasis
        Coefficient `a` of `y[n] = x[n] - a x[n-1]`, 0 (off) up to but excluding 1.

    Attributes
    ----------
    samples, clipped
        How many samples were encoded, and how many of them left [-1, 1] after pre-emphasis and were clipped.
    """

    def __init__(self, preemphasis: float = 0.95) -> None:
        self.preemphasis = check_preemphasis(preemphasis)
        self.samples = 0
        self.clipped = 0
        self._previous = np.zeros(1)

    def emphasise(self, wave: ArrayLike) -> NDArray[np.float64]:
        """The next block after pre-emphasis, float [n], not clipped."""
        x = np.asarray(wave, np.float64)
        if not x.size:  # lfilter refuses it, but the last block of a resampler can be empty
            return x
        y, self._previous = signal.lfilter([1, -self.preemphasis], [1], x, zi=self._previous)
        self.samples += x.size
        self.clipped += int(np.count_nonzero(np.abs(y) > 1))
        return y

    def __call__(self, wave: ArrayLike) -> NDArray[np.uint8]:
        """Codes uint8 [n] of the next block, a wave float [n] in [-1, 1]."""
        return compress(self.emphasise(wave))


class Decoder:
    """Decode one recording block by block: the inverse of `Encoder`.

    The de-emphasis has its pole at `preemphasis` < 1: bounded codes give a bounded wave, whatever its length.
    """

    def __init__(self, preemphasis: float = 0.95) -> None:
        self.preemphasis = check_preemphasis(preemphasis)
        self._previous = np.zeros(1)

    def deemphasise(self, wave: ArrayLike) -> NDArray[np.float64]:
        """The next block after de-emphasis, float [n]."""
        y = np.asarray(wave, np.float64)
        if not y.size:  # lfilter would lose its state
            return y
        x, self._previous = signal.lfilter([1], [1, -self.preemphasis], y, zi=self._previous)
        return x

    def __call__(self, codes: ArrayLike) -> NDArray[np.float64]:
        """The wave float [n] of the next block of codes [n]."""
        return self.deemphasise(expand(codes))


def encode(wave: ArrayLike, preemphasis: float = 0.95) -> NDArray[np.uint8]:
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
    return Encoder(preemphasis)(x)


def decode(codes: ArrayLike, preemphasis: float = 0.95) -> NDArray[np.float64]:
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
    return Decoder(preemphasis)(c.astype(np.uint8))


class RoundTrip:
    """Signal-to-noise ratio of the codec, gathered over blocks of any number of recordings.

    Parameters
    ----------
    sample_rate
        In Hz. The second ratio is that of the band above a quarter of it, the upper half of the spectrum.
    """

    def __init__(self, sample_rate: int) -> None:
        self._sos = signal.butter(8, 0.5, "highpass", output="sos")
        self.sample_rate = sample_rate
        self._energy = np.zeros((2, 2))  # [whole, high] x [signal, error]
        self.start()

    def start(self) -> None:
        """Begin another recording: filters start from rest."""
        self._state = np.zeros((len(self._sos), 2, 2))

    def add(self, wave: NDArray[np.float64], decoded: NDArray[np.float64]) -> None:
        """Account for a block of the wave, float [n], and what was decoded of it, float [n]."""
        if not len(wave):
            return
        both = np.stack([wave, wave - decoded])
        high, self._state = signal.sosfilt(self._sos, both, zi=self._state)
        self._energy += [np.sum(both**2, axis=1), np.sum(high**2, axis=1)]

    def snr_db(self) -> tuple[float | None, float | None]:
        """Signal-to-noise ratio overall and above a quarter of the sample rate, in dB; None where undefined."""
        return tuple(  # type: ignore[return-value]
            float(10 * np.log10(s / e)) if s > 0 and e > 0 else None for s, e in self._energy
        )


def entropy_bits(counts: ArrayLike) -> float:
    """Entropy in bits of a single code, from the counts [256] of each: what a model without memory could reach."""
    c = np.asarray(counts, np.float64)
    p = c[c > 0] / c.sum()
    return float(-(p * np.log2(p)).sum()) + 0.0
