"""A split is its recordings, whole: to prompt with, to compare with, to look at."""

import dataclasses

import numpy as np
import pytest

from audiornn import codec
from audiornn.common.errors import AudioRNNError
from audiornn.dataset.split import CodeRange
from audiornn.preparation.encoded import EncodedCorpus
from audiornn.preparation.recordings import SplitRecordings, loudest


def speech_like(seconds, seed):
    """Noise in bursts, with pauses between them, as codes."""
    random = np.random.default_rng(seed)
    loud = np.repeat(random.random(round(20 * seconds)) < 0.6, 400)
    return codec.encode(0.2 * loud * random.standard_normal(len(loud)).clip(-3, 3))


def test_prompts_are_excerpts_of_the_test_split_with_sound(make_split):
    recordings = {"a": speech_like(4, 0), "b": speech_like(2, 1), "short": speech_like(0.05, 2)}
    split, _ = make_split(recordings, 64, 256)
    prompts = split.draw_prompts(5, 800, seed=1)
    assert prompts.shape == (5, 800)
    texts = [codes.tobytes() for codes in recordings.values()]
    assert all(any(prompt.tobytes() in text for text in texts) for prompt in prompts)
    usual = np.mean(codec.mu_law_decode(recordings["a"]) ** 2)
    assert min(np.mean(codec.mu_law_decode(prompt) ** 2) for prompt in prompts) > usual
    np.testing.assert_array_equal(prompts, split.draw_prompts(5, 800, seed=1))
    assert not np.array_equal(prompts, split.draw_prompts(5, 800, seed=2))
    with pytest.raises(AudioRNNError, match="^prompt_seconds is 60, but the longest test recording has 4.00 s"):
        split.draw_prompts(1, 60 * 8000, seed=1)


def test_recordings_are_whole_and_decoded_as_clips_are(make_split):
    recordings = {"a": speech_like(0.5, 0), "b": speech_like(1, 1)}
    split, _ = make_split(recordings, 64, 256)
    assert [codes.tobytes() for codes in split.recordings] == [codes.tobytes() for codes in recordings.values()]
    assert [len(wave) for wave in split.decode_all()] == [4000, 8000]
    decoded = codec.decode(recordings["b"], 0.95)
    assert abs(np.corrcoef(split.decode(1), decoded)[0, 1]) > 0.9
    assert abs(np.mean(split.decode(1))) < 1e-3


def test_drawn_codes_are_as_long_as_the_split_allows(make_split):
    split, _ = make_split({"a": speech_like(0.5, 0), "b": speech_like(1, 1)}, 64, 256)
    assert len(split.draw_codes(1.2, seed=0)) == 9600
    assert len(split.draw_codes(9, seed=0)) == 12_000
    orders = {split.draw_codes(9, seed).tobytes() for seed in range(8)}
    assert len(orders) == 2


def test_the_loudest_piece_has_the_most_energy():
    quiet, loud = np.full(10, 140, np.uint8), np.full(10, 20, np.uint8)
    assert loudest([quiet, loud, quiet]) is loud


def test_codes_that_differ_from_those_of_the_shards_are_named(make_split):
    _, manifest = make_split({"a": speech_like(1, 0)}, 64, 256)
    corpus = EncodedCorpus(manifest.folder.parent / "encode")
    longer = dataclasses.replace(manifest.splits["test"], ranges=[CodeRange("a", 0, 8001)])
    with pytest.raises(AudioRNNError, match="has 8000 codes, but the test split has those from 0 to 8001; run dvc"):
        SplitRecordings(corpus, dataclasses.replace(manifest, splits={"test": longer}))
    another = dataclasses.replace(manifest.splits["test"], ranges=[CodeRange("b", 0, 9)])
    with pytest.raises(AudioRNNError, match="manifest.json: has no recording b; run dvc repro encode"):
        SplitRecordings(corpus, dataclasses.replace(manifest, splits={"test": another}))
