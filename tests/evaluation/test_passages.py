"""The best and the worst predicted second of the recordings are found and written."""

import math

import numpy as np
import pytest

from audiornn import codec, figures
from audiornn.evaluation import passages


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


def test_passages_are_shorter_than_a_second_only_if_all_recordings_are(make_split):
    split, _ = make_split({"a": tone(0.25), "b": tone(0.1)}, 64, 256)
    bits = [np.full(len(codes), 3.0, np.float32) for codes in split.recordings]
    for loss in bits:
        loss[:64] = np.nan
    assert [(p.recording, p.start, len(p.wave)) for p in passages.best_and_worst(bits, split)] == [(0, 64, 1936)] * 2


def test_where_windows_are_far_apart_the_targets_that_there_are_decide(make_split):
    split, _ = make_split({"a": tone(4), "b": tone(1.2)}, 64, 256)
    bits = [np.full(len(codes), np.nan, np.float32) for codes in split.recordings]
    bits[0][[4000, 8000, 12_000, 16_000, 20_000, 24_000]] = [5, 5, 2, 1, 7, 8]  # two in a second
    bits[1][4000] = 0.5  # one in a second
    best, worst = passages.best_and_worst(bits, split)
    assert [(p.recording, np.nanmean(p.bits), np.isfinite(p.bits).sum()) for p in (best, worst)] == [
        (0, 1.5, 2),
        (0, 7.5, 2),
    ]
    assert figures.passages([best, worst], 8000)


def test_silent_recordings_have_passages_too(make_split):
    split, _ = make_split({"a": np.full(9000, codec.SILENCE, np.uint8)}, 64, 256)
    bits = [np.linspace(1, 2, 9000, dtype=np.float32)]
    assert [p.start for p in passages.best_and_worst(bits, split)] == [0, 1000]
