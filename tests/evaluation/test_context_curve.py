"""The context curve says how many of the last codes a model uses."""

import csv
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audiornn.backend import tf
from audiornn.codec import CODES
from audiornn.evaluation import context_curve
from audiornn.evaluation.context_curve import ContextPoint
from audiornn.models.base import AudioModel
from audiornn.training import scores
from tests.helpers.tiny_model import TinyModel

SURE = 0.99


class Echo(AudioModel):
    """Knows that a code is the one of `lag` codes ago, and nothing where it has seen fewer."""

    def __init__(self, lag):
        super().__init__()
        self.lag = lag

    @property
    def output_bias(self):
        return None

    def initial_state(self, batch):
        return tf.fill([batch, self.lag], -1)

    def forward(self, codes, state, training=False, padding_mask=None, num_last=None):
        known = tf.concat([state, tf.cast(codes, tf.int32)], 1)
        echo = known[:, 1 : 1 + codes.shape[1]][:, -(num_last or codes.shape[1]) :]
        seen = tf.cast(echo[..., None] >= 0, tf.float32)
        return seen * tf.one_hot(echo, CODES) * math.log(SURE / (1 - SURE) * (CODES - 1)), known[:, -self.lag :]

    def step(self, codes, state):
        raise NotImplementedError


def periodic(period, length, seed=0):
    return np.resize(np.random.default_rng(seed).permutation(CODES)[:period].astype(np.uint8), length)


@pytest.mark.parametrize("trained", [19, 20, 50])
def test_the_context_curve_falls_where_a_process_becomes_predictable(trained):
    """Codes repeat after 20: with 19 of them a model knows nothing, with 20 all there is to know."""
    curve = context_curve.context_curve(Echo(20), [periodic(20, 700, i) for i in range(3)], trained, targets=40)
    assert [point.context for point in curve] == context_curve.context_lengths(2 * trained, trained)
    assert any(point.context == trained for point in curve)
    for point in curve:
        expected = 8 if point.context < 20 else -math.log2(SURE)
        assert point.bits_per_sample == pytest.approx(expected, abs=1e-4), point
        assert (point.targets, point.standard_error) == (40, pytest.approx(0, abs=1e-5))
    assert {point.difference for point in curve if point.context == trained} == {0}
    told = {19: "-7.986 ± 0.000 with 38 codes", 20: "with 20 codes", 50: "32 codes suffice"}
    assert told[trained] in context_curve.describe_curve(curve, trained)


def test_each_point_is_the_mean_over_fresh_starts_at_the_same_targets():
    """From its definition, one target at a time; a recording of the longest context and a code holds one target."""
    model = TinyModel(units=6, hop=4)
    recordings = [np.random.default_rng(i).integers(0, CODES, 25).astype(np.uint8) for i in range(7)]
    curve = context_curve.context_curve(model, recordings, 12, targets=7)
    assert [point.context for point in curve] == [1, 2, 4, 8, 12, 16, 24]
    losses = {}
    for point in curve:
        found = []
        for codes in recordings:
            logits = model(codes[None, -1 - point.context : -1]).numpy()[0, -1].astype(np.float64)
            found.append(np.log2(np.exp(logits).sum()) - logits[codes[-1]] / math.log(2))
        losses[point.context] = np.array(found)
        assert point.bits_per_sample == pytest.approx(np.mean(found), abs=1e-4)
        assert point.standard_error == pytest.approx(np.std(found, ddof=1) / math.sqrt(7), abs=1e-4)
    for point in curve:
        difference = losses[point.context] - losses[12]
        assert point.difference == pytest.approx(difference.mean(), abs=1e-4)
        assert point.difference_error == pytest.approx(difference.std(ddof=1) / math.sqrt(7), abs=1e-4)


@pytest.mark.slow
def test_the_curve_does_not_depend_on_the_batch_size(monkeypatch):
    recordings = [np.random.default_rng(0).integers(0, CODES, 500).astype(np.uint8)]
    model = TinyModel(units=6, hop=4)
    whole = context_curve.context_curve(model, recordings, 16, targets=50, seed=1)
    monkeypatch.setattr(scores, "WINDOW_CODES", 300)
    for one, other in zip(whole, context_curve.context_curve(model, recordings, 16, targets=50, seed=1), strict=True):
        assert one.bits_per_sample == pytest.approx(other.bits_per_sample, abs=1e-5)
    other = context_curve.context_curve(model, recordings, 16, targets=50, seed=2)
    assert other[0].bits_per_sample != whole[0].bits_per_sample, "other targets"


def test_the_curve_ends_where_recordings_are_too_short_and_says_so(tmp_path):
    curve = context_curve.context_curve(Echo(5), [periodic(5, 60), periodic(5, 30)], training_context=100, targets=30)
    assert curve[-1].context == 30  # 60 - 30 codes have 30 before them, and none of the other recording
    assert "too short for twice the training context, 200" in context_curve.describe_curve(curve, 100)
    context_curve.write_curve(tmp_path / "curve.csv", curve)
    with open(tmp_path / "curve.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["context"]) for row in rows] == [1, 2, 4, 8, 16, 30]
    assert float(rows[0]["bits_per_sample"]) == curve[0].bits_per_sample


@given(st.lists(st.integers(2, 500), min_size=1, max_size=5), st.integers(1, 300), st.integers(2, 400))
def test_the_longest_context_has_enough_targets(lengths, trained, targets):
    def eligible(context):
        return sum(max(0, length - context) for length in lengths)

    longest = context_curve.longest_context(lengths, trained, targets)
    wanted = min(targets, max(1, eligible(1) // 2))
    assert 1 <= longest <= 2 * trained
    assert eligible(longest) >= wanted
    assert longest == 2 * trained or eligible(longest + 1) < wanted


def point(context, bits, difference, error):
    return ContextPoint(context, bits, 0.1, difference, error, 100)


def test_the_description_of_a_curve():
    curve = [point(1, 7, 3, 0.1), point(4, 4.02, 0.02, 0.02), point(8, 4, 0, 0), point(16, 3.9, -0.1, 0.01)]
    assert context_curve.describe_curve(curve, 8) == (
        "4.000 bits per sample with 8 codes before the target (± 0.100, 100 targets); 4 codes suffice; -0.100 ± 0.010 "
        "with 16 codes"
    )
