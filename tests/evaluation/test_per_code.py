"""Every code has its loss, and probabilities are compared with how often they come true."""

import numpy as np
import pytest

from audiornn.codec import CODES
from audiornn.dataset.windows import WindowLayout
from audiornn.evaluation import per_code
from audiornn.evaluation.per_code import Reliability
from audiornn.training import scores as scores_module
from tests.helpers.tiny_model import TinyModel


@pytest.mark.slow
def test_evaluate_codes_has_the_scores_of_the_evaluation_and_the_loss_of_every_code(make_split):
    random = np.random.default_rng(0)
    recordings = {name: random.integers(100, 156, n).astype(np.uint8) for name, n in (("a", 500), ("b", 90), ("c", 20))}
    split, manifest = make_split(recordings, context=24, targets_per_window=64)
    model = TinyModel(units=6, hop=4)
    losses = per_code.evaluate_codes(model, split.recordings, WindowLayout(24, 64, 64), batch_size=3)
    scores = scores_module.evaluate(model, manifest, batch_size=4)["test"]
    assert losses.scores == pytest.approx(scores, rel=1e-5)
    assert [len(bits) for bits in losses.bits] == [500, 90, 20]
    for bits in losses.bits:
        assert np.isnan(bits[:24]).all()
        assert np.isfinite(bits[24:]).all()
    assert np.nanmean(np.concatenate(losses.bits)) == pytest.approx(scores["bits_per_sample"], rel=1e-5)
    expected = sum(
        len(range(0, min(64, last - first - 24), per_code.CALIBRATION_STRIDE))
        for codes in recordings.values()
        for first, last in WindowLayout(24, 64, 64).windows(0, len(codes))
    )
    assert losses.top_code.counts.sum() == expected
    assert losses.all_codes.counts.sum() == CODES * expected
    assert losses.all_codes.observed.sum() == expected, "of all codes, one came"
    assert losses.all_codes.predicted.sum() == pytest.approx(expected, rel=1e-4)


def test_calibrated_probabilities_have_no_calibration_error():
    random = np.random.default_rng(0)
    p = random.random(200_000)
    honest, sure = Reliability(per_code.CONFIDENCES), Reliability(per_code.CONFIDENCES)
    for split in np.split(p, 10):
        came = random.random(len(split)) < split
        honest.add(split, came)
        sure.add(split**0.5, came)
    assert honest.counts.sum() == 200_000
    assert honest.error < 0.005
    assert sure.error == pytest.approx(np.mean(p**0.5 - p), abs=0.005)
    assert Reliability(per_code.CONFIDENCES).error == 0
    edges = Reliability(per_code.PROBABILITIES)
    edges.add(np.array([0.0, 1e-9, 1.0]), np.array([0, 0, 1]))
    assert (edges.counts[0], edges.counts[-1]) == (2, 1)
