"""A training that diverges is stopped."""

import pytest

from audiornn.common.errors import AudioRNNError
from audiornn.training import trainer
from tests.helpers.training import quick


@pytest.mark.slow
def test_a_loss_far_above_its_best_is_divergence(make_shards, tmp_path, sine_codes):
    folder = make_shards({"a": sine_codes}, 32, 128)
    wild = quick(epochs=40, learning_rate=1.0, clip_norm=1000.0, schedule="constant", patience=40, divergence_bits=0.5)
    try:
        _, result = trainer.train(folder, tmp_path / "m", wild, progress=False)
    except AudioRNNError as error:
        assert "diverged" in str(error)
        assert "no model to keep" in str(error)
    else:
        assert result.diverged
        assert "above its lowest" in result.stop_reason
