"""Streamed audio is what a clip would be."""

import numpy as np

from audiornn import codec
from audiornn.audio import resampling
from audiornn.generation import streaming
from tests.conftest import CODEC


def test_a_stream_has_the_samples_of_a_clip():
    codes = codec.encode(0.4 * np.sin(np.arange(16_000) / 7))
    decoder = streaming.StreamDecoder(CODEC)
    parts = [decoder.decode(block) for block in np.split(codes, [10, 500, 501, 9000])]
    wave = np.concatenate([*parts, decoder.decode(codes[:0], last=True)])
    expected = resampling.Resampler(8000, 8000, 20).process(codec.decode(codes))
    assert np.abs(expected).max() < 0.98  # nothing to limit
    np.testing.assert_allclose(wave, expected, atol=1e-9)
