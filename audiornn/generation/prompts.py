"""Codes to continue: from a file, from the test split, or none."""

import math
from pathlib import Path

import numpy as np

from audiornn.audio import resampling
from audiornn.audio.examination import examine
from audiornn.audio.levels import dbfs
from audiornn.codec import CodecSettings
from audiornn.common.array_types import Codes, Wave
from audiornn.common.errors import AudioRNNError
from audiornn.params import TEST_PROMPT, Generate
from audiornn.preparation.recordings import SplitRecordings

SILENT_RMS = 1e-3  # -60 dBFS: too quiet to be a prompt


def load(
    prompt: str | Path | None,
    p: Generate,
    codec: CodecSettings,
    test: SplitRecordings | None = None,
    max_seconds: float = math.inf,
) -> Codes | None:
    """What the clips of a request continue.

    Parameters
    ----------
    prompt
        A recording, of any rate and number of channels, that all clips continue; None where they start from silence; or
        `test` for pieces of the test split, another one for each clip, where that is given.
    p
        The request: how many clips, how much of the prompt and from where; its own `prompt` is not looked at.
    codec
        Of the model.
    test
        The test split.
    max_seconds
        How long the whole recording may be.

    Returns
    -------
    Codes uint8 [clips, n], or None.

    Raises
    ------
    AudioRNNError
        If the prompt cannot be used: see `file_prompt` and `SplitRecordings.draw_prompts`.
    """
    if prompt is None:
        return None
    if prompt == TEST_PROMPT and test is not None:
        return test.draw_prompts(p.clips, round(p.prompt_seconds * codec.sample_rate), p.seed)
    codes = file_prompt(prompt, p.prompt_seconds, codec, p.prompt_offset, max_seconds)
    return np.repeat(codes[None], p.clips, axis=0)


MAX_UPLOADED_SECONDS = 600.0  # of a recording that someone sends: all of it is decoded


def file_prompt(
    path: str | Path, seconds: float, codec: CodecSettings, offset: float = 0.0, max_seconds: float = math.inf
) -> Codes:
    """A passage of an audio file, of any sample rate and number of channels, as codes uint8 [n] of the model's codec.

    Parameters
    ----------
    path
        The recording.
    seconds, offset
        Length of the passage, and its start in the file, in seconds.
    codec
        Of the model.
    max_seconds
        How long the whole recording may be.

    Raises
    ------
    AudioRNNError
        If the file is missing, unreadable, empty, too short or too long, or the passage is silent.
    """
    rate = codec.sample_rate
    first, wanted = round(offset * rate), round(seconds * rate)
    held: list[Wave] = []
    seen = 0
    reading = resampling.with_headroom(path, rate, codec.highpass_hz, examine(path, max_seconds).reading)
    for block in resampling.resample_blocks(path, rate, codec.highpass_hz, reading):
        held.append(block[max(0, first - seen) :])
        seen += len(block)
        if seen >= first + wanted:
            break
    if not seen:
        raise AudioRNNError(f"{path}: empty, cannot be a prompt")
    if seen <= first:
        raise AudioRNNError(f"{path}: has {seen / rate:.2f} s, but the prompt should start at {offset:g} s")
    wave = np.concatenate(held)[:wanted]
    if len(wave) < wanted or not wanted:
        raise AudioRNNError(
            f"{path}: has {seen / rate:.2f} s, but the prompt should be {seconds:g} s long, from {offset:g} s on"
        )
    if (rms := float(np.sqrt(np.mean(wave**2)))) < SILENT_RMS:
        raise AudioRNNError(
            f"{path}: silent from {offset:g} s for {seconds:g} s ({dbfs(rms):.0f} dBFS), cannot be a prompt"
        )
    return codec.encode(np.clip(wave, -1, 1))
