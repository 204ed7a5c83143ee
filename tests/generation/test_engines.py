"""Engines compute the model that they are given; fused/test_engine.py is about the fused engines of all models."""

import numpy as np
import pytest

from audiornn.common.errors import AudioRNNError
from audiornn.generation import engines, sampling
from audiornn.generation.fused import audiornn


@pytest.mark.parametrize("streams", [1, 7])
@pytest.mark.parametrize("before", [1, 300])
def test_the_tensorflow_engine_has_the_logits_of_the_model(model, streams, before):
    codes = np.random.default_rng(0).integers(0, 256, (streams, before + 3000)).astype(np.uint8)
    expected = model(codes).numpy()[:, before:]
    runner = engines.create_engine(model, "tensorflow")
    runner.load_state(*sampling.prefill(model, codes[:, :before]))
    logits = runner.teacher_force(codes[:, before:])
    assert np.ptp(expected) > 5
    np.testing.assert_allclose(logits, expected, atol=1e-4)


def test_the_number_of_threads_does_not_change_the_codes(model):
    codes = np.random.default_rng(0).integers(0, 256, (5, 20)).astype(np.uint8)
    uniform = np.random.default_rng(1).random((5, 400), np.float32)
    results = []
    for threads in (1, 2, 5, 8):
        runner = audiornn.FusedAudioRNN(model, threads=threads)
        runner.load_state(*sampling.prefill(model, codes))
        results.append(runner.generate(uniform, np.ones_like(uniform)))
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])


def test_a_fused_engine_gives_the_logits_after_each_drawn_code_and_draws_the_same(model):
    prompt = np.full([3, 1], 128, np.uint8)
    uniform = np.random.default_rng(1).random((3, 200), np.float32)
    plain, watched, forced = (audiornn.FusedAudioRNN(model) for _ in range(3))
    for runner in (plain, watched, forced):
        runner.load_state(*sampling.prefill(model, prompt))
    codes, logits = plain.generate(uniform, np.ones_like(uniform)), np.empty((3, 200, 256), np.float32)
    np.testing.assert_array_equal(watched.generate(uniform, np.ones_like(uniform), logits), codes)
    np.testing.assert_array_equal(logits, forced.teacher_force(codes))


def test_unknown_engines_are_refused(model):
    with pytest.raises(AudioRNNError, match="engine is 'cuda', but must be one of auto, fused"):
        engines.create_engine(model, "cuda")
