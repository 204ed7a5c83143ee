"""What several tests share: small synthesised data."""

import numpy as np
import pytest

from audiornn import codec, corpus, shards

SETTINGS = {"codec": {"sample_rate": 8000, "highpass_hz": 20.0, "preemphasis": 0.95, "codes": 256}}


@pytest.fixture(scope="session")
def sine_codes():
    """Two seconds of a 440 Hz sine at 8 kHz, as codes."""
    return codec.encode(0.5 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 8000))


@pytest.fixture
def make_shards(tmp_path):
    """Write shards of recordings given as codes; all parts hold the same ones where there is only one."""

    def write(recordings, context, span, name="shards", shift=None):
        folder = tmp_path / name
        folder.mkdir()
        ranges = [corpus.Range(key, 0, len(codes)) for key, codes in recordings.items()]
        parts = dict.fromkeys(corpus.PARTS, ranges)
        extra = {"codec": SETTINGS["codec"], "encode_metrics": {"code_entropy_bits": 7.0}}
        shards.write(folder, recordings, parts, context=context, span=span, shift=shift or span, extra=extra)
        return folder

    return write
