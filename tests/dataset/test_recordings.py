"""A part is its recordings, whole: to prompt with, to compare with, to look at."""

import numpy as np
import pytest

from audiornn import codec
from audiornn.dataset.recordings import loudest
from audiornn.errors import AudioRNNError


def speech_like(seconds, seed):
    """Noise in bursts, with pauses between them, as codes."""
    random = np.random.default_rng(seed)
    loud = np.repeat(random.random(round(20 * seconds)) < 0.6, 400)
    return codec.encode(0.2 * loud * random.standard_normal(len(loud)).clip(-3, 3))


def test_prompts_are_pieces_of_the_test_part_where_there_is_sound(make_part):
    recordings = {"a": speech_like(4, 0), "b": speech_like(2, 1), "short": speech_like(0.05, 2)}
    part, _ = make_part(recordings, 64, 256)
    prompts = part.prompts(5, 800, seed=1)
    assert prompts.shape == (5, 800)
    texts = [codes.tobytes() for codes in recordings.values()]
    assert all(any(prompt.tobytes() in text for text in texts) for prompt in prompts)
    usual = np.mean(codec.expand(recordings["a"]) ** 2)
    assert min(np.mean(codec.expand(prompt) ** 2) for prompt in prompts) > usual
    np.testing.assert_array_equal(prompts, part.prompts(5, 800, seed=1))
    assert not np.array_equal(prompts, part.prompts(5, 800, seed=2))
    with pytest.raises(AudioRNNError, match="generate.prompt_seconds is 60, but the longest test recording has 4.00 s"):
        part.prompts(1, 60 * 8000, seed=1)


def test_recordings_are_whole_and_decoded_as_clips_are(make_part):
    recordings = {"a": speech_like(0.5, 0), "b": speech_like(1, 1)}
    part, _ = make_part(recordings, 64, 256)
    assert [codes.tobytes() for codes in part.ranges] == [codes.tobytes() for codes in recordings.values()]
    assert [len(wave) for wave in part.waves()] == [4000, 8000]
    decoded = codec.decode(recordings["b"], 0.95)
    assert abs(np.corrcoef(part.wave(1), decoded)[0, 1]) > 0.9
    assert abs(np.mean(part.wave(1))) < 1e-3


def test_an_example_is_as_long_as_the_part_allows(make_part):
    part, _ = make_part({"a": speech_like(0.5, 0), "b": speech_like(1, 1)}, 64, 256)
    assert len(part.example(1.2, seed=0)) == 9600
    assert len(part.example(9, seed=0)) == 12_000
    orders = {part.example(9, seed).tobytes() for seed in range(8)}
    assert len(orders) == 2


def test_the_loudest_piece_has_the_most_energy():
    quiet, loud = np.full(10, 140, np.uint8), np.full(10, 20, np.uint8)
    assert loudest([quiet, loud, quiet]) is loud
