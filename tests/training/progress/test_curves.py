"""Learning curves."""

import numpy as np
import pytest

from audiornn.training import trainer
from tests.helpers.training import quick


@pytest.mark.slow
def test_the_curves_by_step_hold_means_over_their_updates(make_shards, tmp_path, tiny, sine_codes):
    folder = make_shards({"a": sine_codes}, 16, 100)
    points = []
    _, result = trainer.train(folder, tmp_path / "m", quick(model=tiny), on_steps=points.extend, progress=False)
    assert [p.step for p in points] == [20, 40, 60, 80, 100, 120]
    epochs = np.mean([[p.loss for p in points[i : i + 2]] for i in (0, 2, 4)], axis=1)
    np.testing.assert_allclose(epochs, [e.train_loss for e in result.history], rtol=1e-3)
    assert all(p.gradient_norm > 0 and p.targets_per_second > 0 for p in points)
