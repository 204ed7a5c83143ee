"""What is said about a model is true of it: how much context it uses, what it finds hard, whether it knows its odds."""

import csv
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audiornn import codec, figures
from audiornn.backend import tf
from audiornn.codec import CODES
from audiornn.dataset.windows import WindowLayout
from audiornn.evaluation import code_statistics, context_curve, passages, per_code
from audiornn.evaluation import scores as scores_module
from audiornn.evaluation.context_curve import ContextPoint
from audiornn.evaluation.per_code import Reliability
from audiornn.models.base import AudioModel
from tests.helpers.tiny_model import Little

SURE = 0.99


class Echo(AudioModel):
    """Knows that a code is the one of `lag` codes ago, and nothing where it has not seen so many."""

    def __init__(self, lag):
        super().__init__()
        self.lag = lag

    @property
    def output_bias(self):
        return None

    def initial_state(self, batch):
        return tf.fill([batch, self.lag], -1)

    def run(self, codes, state, training=False, valid=None, last=None):
        known = tf.concat([state, tf.cast(codes, tf.int32)], 1)
        echo = known[:, 1 : 1 + codes.shape[1]][:, -(last or codes.shape[1]) :]
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
    told = {19: "with 38 it is -7.986", 20: "with 20 codes", 50: "32 codes do as well"}
    assert told[trained] in context_curve.describe_curve(curve, trained)


def test_each_point_is_the_mean_over_fresh_starts_at_the_same_targets():
    """From its definition, one target at a time; a recording of the longest context and a code holds one target."""
    model = Little(units=6, hop=4)
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


def test_a_long_context_is_computed_in_batches_to_the_same_end(monkeypatch):
    recordings = [np.random.default_rng(0).integers(0, CODES, 500).astype(np.uint8)]
    model = Little(units=6, hop=4)
    whole = context_curve.context_curve(model, recordings, 16, targets=50, seed=1)
    monkeypatch.setattr(scores_module, "WINDOW_CODES", 300)
    for one, other in zip(whole, context_curve.context_curve(model, recordings, 16, targets=50, seed=1), strict=True):
        assert one.bits_per_sample == pytest.approx(other.bits_per_sample, abs=1e-5)
    other = context_curve.context_curve(model, recordings, 16, targets=50, seed=2)
    assert other[0].bits_per_sample != whole[0].bits_per_sample, "other targets"


def test_recordings_that_are_too_short_end_the_curve_and_it_says_so(tmp_path):
    curve = context_curve.context_curve(Echo(5), [periodic(5, 60), periodic(5, 30)], training_context=100, targets=30)
    assert curve[-1].context == 30  # 60 - 30 codes have so many before them, and none of the other recording
    assert "too short for twice the training context, 200" in context_curve.describe_curve(curve, 100)
    context_curve.write_curve(tmp_path / "curve.csv", curve)
    with open(tmp_path / "curve.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["context"]) for row in rows] == [1, 2, 4, 8, 16, 30]
    assert float(rows[0]["bits_per_sample"]) == curve[0].bits_per_sample


@given(st.lists(st.integers(2, 500), min_size=1, max_size=5), st.integers(1, 300), st.integers(2, 400))
def test_a_curve_reaches_as_far_as_there_are_targets(lengths, trained, targets):
    def eligible(context):
        return sum(max(0, length - context) for length in lengths)

    longest = context_curve.longest_context(lengths, trained, targets)
    wanted = min(targets, max(1, eligible(1) // 2))
    assert 1 <= longest <= 2 * trained
    assert eligible(longest) >= wanted
    assert longest == 2 * trained or eligible(longest + 1) < wanted


def point(context, bits, difference, error):
    return ContextPoint(context, bits, 0.1, difference, error, 100)


def test_a_curve_is_put_in_words():
    curve = [point(1, 7, 3, 0.1), point(4, 4.02, 0.02, 0.02), point(8, 4, 0, 0), point(16, 3.9, -0.1, 0.01)]
    assert context_curve.describe_curve(curve, 8) == (
        "with 8 codes before the target 4.000 bits per sample (± 0.100, 100 targets); 4 codes do as well; "
        "with 16 it is -0.100 ± 0.010"
    )


# --- The loss of every sample ------------------------------------------------------------------------------------


def test_the_losses_of_all_codes_score_as_the_evaluation_does(make_split):
    random = np.random.default_rng(0)
    recordings = {name: random.integers(100, 156, n).astype(np.uint8) for name, n in (("a", 500), ("b", 90), ("c", 20))}
    split, manifest = make_split(recordings, context=24, span=64)
    model = Little(units=6, hop=4)
    losses = per_code.evaluate_codes(model, split.recordings, WindowLayout(24, 64, 64), batch=3)
    scores = scores_module.evaluate(model, manifest, batch=4)["test"]
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


def test_probabilities_that_come_true_as_often_as_they_say_have_no_calibration_error():
    random = np.random.default_rng(0)
    p = random.random(200_000)
    honest, sure = Reliability(per_code.CONFIDENCES), Reliability(per_code.CONFIDENCES)
    for part in np.split(p, 10):
        came = random.random(len(part)) < part
        honest.add(part, came)
        sure.add(part**0.5, came)
    assert honest.counts.sum() == 200_000
    assert honest.error < 0.005
    assert sure.error == pytest.approx(np.mean(p**0.5 - p), abs=0.005)
    assert Reliability(per_code.CONFIDENCES).error == 0
    edges = Reliability(per_code.PROBABILITIES)
    edges.add(np.array([0.0, 1e-9, 1.0]), np.array([0, 0, 1]))
    assert (edges.counts[0], edges.counts[-1]) == (2, 1)


# --- What is predicted best and worst ----------------------------------------------------------------------------


def tone(seconds, level=0.3):
    return codec.encode(level * np.sin(2 * np.pi * 300 * np.arange(round(8000 * seconds)) / 8000))


def test_the_best_and_the_worst_second_with_sound_are_found(make_split, tmp_path):
    silent = np.full(16_000, codec.SILENCE, np.uint8)
    split, _ = make_split({"a": tone(3), "b": tone(2), "silent": silent, "short": tone(0.5)}, 64, 256)
    bits = [np.full(len(codes), 4.0, np.float32) for codes in split.recordings]
    for loss in bits:
        loss[:64] = np.nan
    bits[0][9000:17_000] = 2
    bits[1][7000:15_000] = 6
    bits[2][64:] = 0.1  # silence is easy
    bits[3][64:] = 0.1  # but nothing of a second
    best, worst = passages.best_and_worst(bits, split)
    assert [(p.title, p.recording, p.start, len(p.wave)) for p in (best, worst)] == [
        ("predicted best", 0, 9000, 8000),
        ("predicted worst", 1, 7000, 8000),
    ]
    assert (best.bits.mean(), worst.bits.mean()) == (2, 6)
    assert np.sqrt(np.mean(best.wave**2)) == pytest.approx(0.3 / math.sqrt(2), rel=0.05)
    best.write(tmp_path, 8000)
    assert (tmp_path / "predicted-best.wav").stat().st_size == 44 + 2 * 8000
    assert figures.passages([best, worst], 8000)


def test_where_no_recording_has_a_second_passages_are_as_long_as_can_be(make_split):
    split, _ = make_split({"a": tone(0.25), "b": tone(0.1)}, 64, 256)
    bits = [np.full(len(codes), 3.0, np.float32) for codes in split.recordings]
    for loss in bits:
        loss[:64] = np.nan
    assert [(p.recording, p.start, len(p.wave)) for p in passages.best_and_worst(bits, split)] == [(0, 64, 1936)] * 2


def test_a_silent_split_has_passages_too(make_split):
    split, _ = make_split({"a": np.full(9000, codec.SILENCE, np.uint8)}, 64, 256)
    bits = [np.linspace(1, 2, 9000, dtype=np.float32)]
    assert [p.start for p in passages.best_and_worst(bits, split)] == [0, 1000]


# --- Codes -------------------------------------------------------------------------------------------------------


def test_distributions_of_codes_are_compared_from_0_to_1():
    a, b = np.zeros(CODES), np.zeros(CODES)
    a[:128], b[128:] = 3, 5
    assert code_statistics.jensen_shannon_bits(a, 7 * a) == pytest.approx(0, abs=1e-9)
    assert code_statistics.jensen_shannon_bits(a, b) == pytest.approx(1)
    assert code_statistics.jensen_shannon_bits(a + b, a) == code_statistics.jensen_shannon_bits(a, a + b) > 0.1
    few = code_statistics.code_counts(np.random.default_rng(0).integers(0, CODES, 20_000))
    assert few.sum() == 20_000
    by_chance = 255 / (8 * 20_000 * math.log(2))
    assert code_statistics.jensen_shannon_bits(few, np.ones(CODES)) == pytest.approx(by_chance, rel=0.3)
