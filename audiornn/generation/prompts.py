"""Codes to continue."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiornn import codec
from audiornn.audio import resampling
from audiornn.audio.examination import examine
from audiornn.audio.levels import dbfs
from audiornn.errors import AudioRNNError

TEST = "test"  # the prompt that means: pieces of the test part

SILENT_RMS = 1e-3  # -60 dBFS: a prompt below it says nothing


def file_prompt(path: str | Path, seconds: float, settings: dict[str, Any], offset: float = 0.0) -> NDArray[np.uint8]:
    """A piece of a recording of any rate and channels, as codes uint8 [n] of the model's codec.

    Parameters
    ----------
    path
        The recording.
    seconds, offset
        Length of the piece, and where in the recording it begins, in seconds.
    settings
        The codec's, as stored with a model.

    Raises
    ------
    AudioRNNError
        If the file is missing, unreadable or empty, ends before the piece does, or the piece is silent.
    """
    rate = settings["sample_rate"]
    first, wanted = round(offset * rate), round(seconds * rate)
    held: list[NDArray[np.float64]] = []
    seen = 0
    reading = resampling.with_headroom(path, rate, settings["highpass_hz"], examine(path).reading)
    for block in resampling.resample_blocks(path, rate, settings["highpass_hz"], reading):
        held.append(block[max(0, first - seen) :])
        seen += len(block)
        if seen >= first + wanted:
            break
    if not seen:
        raise AudioRNNError(f"{path}: empty: no prompt")
    if seen <= first:
        raise AudioRNNError(f"{path}: has {seen / rate:.2f} s, but the prompt was to begin at {offset:g} s")
    wave = np.concatenate(held)[:wanted]
    if len(wave) < wanted or not wanted:
        raise AudioRNNError(
            f"{path}: has {seen / rate:.2f} s, but a prompt of {seconds:g} s from {offset:g} s on was asked for"
        )
    if (rms := float(np.sqrt(np.mean(wave**2)))) < SILENT_RMS:
        raise AudioRNNError(f"{path}: silent from {offset:g} s for {seconds:g} s ({dbfs(rms):.0f} dBFS): no prompt")
    return codec.encode(np.clip(wave, -1, 1), settings["preemphasis"])
