"""Streaming of endless audio as PCM."""

import struct
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from audiornn.audio import levels, resampling
from audiornn.codec import CodecSettings, Decoder
from audiornn.common.array_types import Codes, Wave
from audiornn.generation import sampling
from audiornn.generation.fused.draws import Limits
from audiornn.models.base import AudioModel
from audiornn.params import Generate


class StreamDecoder:
    """Decode the codes of a stream to playable audio, block by block, in constant memory: DC blocker and limiter."""

    def __init__(self, codec: CodecSettings, prompt: Codes | None = None) -> None:
        rate = codec.sample_rate
        self._decoder = Decoder(codec.preemphasis)
        self._highpass = resampling.Resampler(rate, rate, codec.dc_blocker_hz)
        self._limiter = levels.Limiter(rate)
        if prompt is not None:
            self._highpass.process(self._decoder.decode(prompt))

    def decode(self, codes: Codes, last: bool = False, gain: float | Wave = 1.0) -> Wave:
        """Decode the next codes [n] and return the wave float [m] that is ready; `last` flushes the limiter.

        `gain` is a factor before the limiter, one or for each code.
        """
        return self._limiter.process(gain * self._highpass.process(self._decoder.decode(codes)), last)


def pcm16(wave: Wave) -> NDArray[np.int16]:
    """16-bit little-endian PCM [n] of a wave float [n] in [-1, 1]."""
    return np.round(wave * 32767).astype("<i2")


def stream(
    model: AudioModel,
    p: Generate,
    output: BinaryIO,
    prompt: Codes | None = None,
    finite: bool = False,
    wav: bool = False,
) -> None:
    """Write one clip as 16-bit little-endian PCM to a pipe, block by block, in constant memory.

    Parameters
    ----------
    model, p, prompt
        As for `generate_clips`, for one stream.
    output
        A binary file; it is flushed after each block of 1000 samples.
    finite
        Whether to stop after `p.seconds`; by default the stream is endless.
    wav
        Write a wav header first, with the maximum length, as the real one is unknown.
    """
    rate = model.codec.sample_rate
    decoder = StreamDecoder(model.codec, None if prompt is None else prompt[0])
    if wav:
        longest = 0xFFFFFFFF
        form = struct.pack("<IHHIIHH", 16, 1, 1, rate, 2 * rate, 2, 16)
        output.write(b"RIFF" + struct.pack("<I", longest) + b"WAVEfmt " + form + b"data" + struct.pack("<I", longest))

    def write(wave: Wave) -> None:
        output.write(pcm16(wave).tobytes())
        output.flush()

    for codes in sampling.generate_blocks(
        model,
        p.temperature,
        samples=round(p.seconds * rate) if finite else None,
        prompt=prompt,
        seed=p.seed,
        limits=Limits(p.top_k, p.top_p, p.confidence_threshold),
        engine_name=p.engine,
    ):
        write(decoder.decode(codes[0]))
    write(decoder.decode(np.zeros(0, np.uint8), last=True))
