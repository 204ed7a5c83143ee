"""What the codec loses: signal-to-noise ratios, clipped samples, entropy of the codes, in bits."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import numpy as np
import scipy
from numpy.typing import ArrayLike
from pydantic import Field

from audiornn.codec import CODES, CodecSettings, Decoder, Encoder, mu_law_encode
from audiornn.common.array_types import Codes, Counts, Wave

BITS_PER_NAT = 1 / math.log(2)


class CodecSnr:
    """Signal-to-noise ratio of the codec, accumulated over blocks of any number of recordings.

    Parameters
    ----------
    sample_rate
        In Hz. The second ratio is that of the band above a quarter of it: the upper half of the spectrum.
    """

    def __init__(self, sample_rate: int) -> None:
        self._sos = scipy.signal.butter(8, 0.5, "highpass", output="sos")
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
        high, self._state = scipy.signal.sosfilt(self._sos, both, zi=self._state)
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
        return combined_metrics(self._codec.sample_rate, [self.measured()])


def combined_metrics(sample_rate: int, recordings: Iterable[Measurement]) -> CodecMetrics:
    """Metrics of the codec over recordings, in order, with at least one sample among them."""
    snr, clipped, counts = CodecSnr(sample_rate), 0, np.zeros(CODES, np.int64)
    for recording in recordings:
        for energy in recording.energies:
            snr.add_energy(energy)
        clipped, counts = clipped + recording.clipped, counts + recording.counts
    return CodecMetrics(*snr.snr_db(), clipped / int(counts.sum()), entropy_bits(counts))
