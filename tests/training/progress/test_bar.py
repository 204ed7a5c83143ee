"""What the bar shows while a model trains: smooth numbers, and a time left that can be believed."""

import io
import re

import pytest

from audiornn.codec_metrics import BITS_PER_NAT
from audiornn.training import trainer
from audiornn.training.progress import bar as bar_module
from audiornn.training.progress.bar import ProgressBar, RecentUpdates
from tests.helpers.training import quick

NATS_PER_BIT = 1 / BITS_PER_NAT


def test_loss_and_accuracy_are_means_over_the_last_hundred_updates():
    recent = RecentUpdates()
    for _ in range(300):
        recent.add(9.0 * NATS_PER_BIT * 10, 0, 10)
    for update in range(100):  # pauses and speech in turn
        recent.add(4.0 * NATS_PER_BIT * 10, 5 * (update % 2), 10)
    assert recent.accuracy == pytest.approx(0.25)
    assert recent.bits_per_sample == pytest.approx(4.0)


def test_the_time_left_is_unknown_until_some_seconds_after_the_first_updates():
    recent = RecentUpdates()
    assert recent.estimate_seconds_left(0.0) is None
    recent.mark(30.0, 0.01, 100)  # compiled for half a minute
    recent.mark(33.0, 0.02, 200)
    assert recent.estimate_seconds_left(0.02) is None and recent.targets_per_second is None
    recent.mark(36.0, 0.03, 300)
    assert recent.estimate_seconds_left(0.03) == pytest.approx(0.97 * 6.0 / 0.02)
    assert recent.targets_per_second == pytest.approx(200 / 6)


def test_the_time_left_follows_the_last_updates():
    recent = RecentUpdates()
    for mark in range(200):  # ten times as fast from the hundredth on
        recent.mark(10.0 * min(mark, 100) + max(0, mark - 100), mark / 1000, 0)
    assert recent.estimate_seconds_left(0.2) == pytest.approx(800)


@pytest.mark.slow
def test_the_bar_shows_the_time_left_with_the_last_validation_in_it(make_shards, tmp_path, sine_codes, monkeypatch):
    folder = make_shards({"a": sine_codes}, 16, 100)
    shown = io.StringIO()
    monkeypatch.setattr("sys.stderr", shown)
    monkeypatch.setattr(bar_module, "MEASURED_SECONDS", 1e-9)
    seen = []
    monkeypatch.setattr(ProgressBar, "update", lambda bar, state, used, left: seen.append((used, left)))
    trainer.train(folder, tmp_path / "model", quick(epochs=2))
    assert "compiling the training step" in shown.getvalue()
    assert seen[0][1] is None, "the first updates were compiled"
    assert all(left is not None and left < 60 for _, left in seen[1:])
    used, left = seen[-1]
    assert used > 0.9 and left > 0, "the last validation is to come"


@pytest.mark.slow
def test_the_line_of_the_bar_is_complete(make_shards, tmp_path, sine_codes, capsys, monkeypatch):
    monkeypatch.setattr(bar_module, "MEASURED_SECONDS", 1e-9)
    trainer.train(make_shards({"a": sine_codes}, 16, 100), tmp_path / "model", quick(epochs=1))
    bar = r"\d\d:\d\d<\d\d:\d\d epoch 1, step \d+: \d\.\d{3} bits, \d+\.\d% correct, [\d,]+ targets/s"
    assert re.search(bar, capsys.readouterr().err)
