"""Endless audio, as bytes."""

import struct
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from audiornn import codec
from audiornn.audio import levels, resampling
from audiornn.audio.levels import corner
from audiornn.generation import sampling
from audiornn.generation.fused.draws import Limits
from audiornn.models.base import AudioModel
from audiornn.params import Generate


class Player:
    """Codes of one stream to playable audio, block by block, in constant memory: DC blocked, peaks limited."""

    def __init__(self, settings: dict[str, Any], prompt: NDArray[np.uint8] | None = None) -> None:
        rate = settings["sample_rate"]
        self._decoder = codec.Decoder(settings["preemphasis"])
        self._highpass = resampling.Resampler(rate, rate, corner(settings))
        self._limiter = levels.Limiter(rate)
        if prompt is not None:
            self._highpass(self._decoder(prompt))

    def __call__(self, codes: NDArray[np.uint8], last: bool = False) -> NDArray[np.float64]:
        """The wave float [m] that the next codes [n] add; `last` flushes the limiter."""
        return self._limiter(self._highpass(self._decoder(codes)), last)


def stream(
    model: AudioModel,
    p: Generate,
    output: BinaryIO,
    prompts: NDArray[np.uint8] | None = None,
    ends: bool = False,
    wav: bool = False,
) -> None:
    """Write one clip as 16-bit little-endian PCM to a pipe, block by block, in constant memory.

    Parameters
    ----------
    model, p, prompts
        As for `make`, for one stream.
    output
        A binary file; it is flushed after each block of 1000 samples.
    ends
        Whether to stop after `p.seconds`; without it the stream has no end.
    wav
        Write a wav header first, whose length says: until the end of the file.
    """
    settings = model.settings["codec"]
    rate = settings["sample_rate"]
    play = Player(settings, None if prompts is None else prompts[0])
    if wav:
        longest = 0xFFFFFFFF
        form = struct.pack("<IHHIIHH", 16, 1, 1, rate, 2 * rate, 2, 16)
        output.write(b"RIFF" + struct.pack("<I", longest) + b"WAVEfmt " + form + b"data" + struct.pack("<I", longest))

    def write(wave: NDArray[np.float64]) -> None:
        output.write(np.round(wave * 32767).astype("<i2").tobytes())
        output.flush()

    for codes in sampling.blocks(
        model,
        p.temperature,
        samples=round(p.seconds * rate) if ends else None,
        prompt=prompts,
        seed=p.seed,
        limits=Limits(p.top_k, p.top_p, p.certain),
        engine_name=p.engine,
    ):
        write(play(codes[0]))
    write(play(np.zeros(0, np.uint8), last=True))
