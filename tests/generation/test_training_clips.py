"""One hears a model learn, soon and at little cost, and it learns what it would have learned unheard."""

from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import soundfile as sf
from matplotlib.image import imread

from audiornn.generation import training_clips
from audiornn.generation.training_clips import TrainingClips
from audiornn.models import storage
from audiornn.params import ModelParams, Train
from audiornn.training import trainer
from audiornn.training.checkpoints import CheckpointStore, training_fingerprint
from audiornn.training.progress.bar import Progress
from audiornn.training.progress.curves import ValidationRecord
from tests.conftest import CODEC

TINY = ModelParams(name="audiornn", dense=12, units=12, layers=1)


def progress(epoch, spent=0.5, scored=True):
    step = round(100 * epoch)
    found = ValidationRecord(epoch, step, 5.0, 5.25, 0.1, 0.1, 0.01, 1000.0)
    return Progress(epoch, step, spent, found if scored else None)


@pytest.fixture
def manifest(make_shards, sine_codes):
    quiet = np.full(3000, 128, np.uint8)
    return make_shards({"quiet": quiet, "sine": sine_codes[:6000]}, 64, 256)


class Clock:
    """Time that passes when it is told to."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def studio(manifest, monkeypatch):
    """A clips whose clips take `cost` seconds, the first one `compilation` more; its clock; when it made them."""

    def make(every, cost=1.0, compilation=0.0):
        clock, made = Clock(), []

        def pretend(self, progress, model, place):
            spared = 0.0 if made else compilation
            made.append((clock.now, progress.epoch))
            clock.now += cost + spared
            return spared

        monkeypatch.setattr(TrainingClips, "_make", pretend)
        return TrainingClips(manifest, Train(clip_every_epochs=every), lambda place: None, clock), clock, made

    return make


def run(clips, clock, seconds, epochs, compiled_after=0.0, until=1.0, batches=1000):
    """A training of the given seconds and epochs, clips left out, that ends when a share of its budget is spent."""
    clock.now += compiled_after
    for batch in range(1, round(until * batches) + 1):
        clock.now += seconds / batches
        reached = progress(epochs * batch / batches, batch / batches, scored=False)
        clips.after_batch(reached, lambda: nullcontext("a model"))


def test_clips_are_made_at_the_start_and_then_every_n_epochs(studio):
    clips, clock, made = studio(every=2)
    run(clips, clock, 1e6, 9)
    assert [epoch for _, epoch in made] == pytest.approx([0.018, 2, 4, 6, 8], abs=0.01)


@pytest.mark.parametrize("every", [0.1, 0.2, 0.3, 0.7])
def test_no_clip_is_made_twice_however_epochs_are_rounded(studio, every):
    clips, clock, made = studio(every)
    run(clips, clock, 1e6, 3)
    assert [epoch for _, epoch in made[1:]] == pytest.approx(np.arange(1, 3 / every + 1e-6) * every, abs=0.004)


@pytest.mark.parametrize("seconds", [320, 1000, 36_000])
@pytest.mark.parametrize("epochs", [0.5, 10])
def test_the_first_clip_comes_within_a_minute_if_the_training_is_long_enough(studio, seconds, epochs):
    clips, clock, made = studio(every=1, compilation=8.0)
    run(clips, clock, seconds, epochs, compiled_after=40.0, batches=10_000)
    assert made[0][0] < 40 + 60
    assert made[0][1] < 0.2 * epochs


@pytest.mark.parametrize("seconds", [30, 290, 400, 3600, 36_000])
@pytest.mark.parametrize(("cost", "compilation"), [(0.5, 0.0), (2.0, 10.0), (1.0, 14.0), (15.0, 0.0)])
@pytest.mark.parametrize("every", [0.05, 1])
def test_clips_never_take_more_than_a_twentieth_of_the_time(studio, seconds, cost, compilation, every):
    clips, clock, made = studio(every, cost, compilation)
    run(clips, clock, seconds, 10)
    assert clips.seconds == pytest.approx(cost * len(made) + (compilation if made else 0))
    assert (clips.count, clips.share) == (len(made), clips.seconds / clock.now)
    assert clips.share <= training_clips.SHARE
    payable = max(0, (training_clips.SHARE * seconds - compilation) // cost)
    if seconds * training_clips.SHARE >= training_clips.FIRST:
        assert len(made) >= 0.8 * min(10 / every, payable) - 1, "what may be used is used"
    else:
        assert made == []


def test_every_clip_but_the_first_waits_until_its_share_of_the_time_has_passed(studio):
    clips, clock, made = studio(every=0.01, cost=2.0, compilation=10.0)
    run(clips, clock, 3600, 10)
    later = [when for when, _ in made[1:]]
    allowed = training_clips.SHARE * 3600 - 12
    for number, when in enumerate(later, 1):
        assert 2.0 * number <= 1.02 * allowed * when / clock.now
    assert later[-1] > 0.95 * clock.now, "and the last is near the end"


def test_a_training_too_short_for_any_clip_says_so_once(studio, capsys):
    """However long compiling takes: that it is over soon is known after some seconds."""
    clips, clock, made = studio(every=1)
    run(clips, clock, 100, 10, compiled_after=150.0)
    assert made == []
    assert capsys.readouterr().out == (
        "no clips during training: the first takes about 15 s, more than 5% of the expected training time of 250 s\n"
    )
    clips, clock, made = studio(every=1)
    run(clips, clock, 5, 10)  # over before anything could be expected
    assert made == []
    assert "training time of 5 s" in capsys.readouterr().out


def test_a_resumed_training_has_a_clip_soon_within_the_remaining_time(studio):
    clips, clock, made = studio(every=1)
    clock.now = 30.0
    for batch in range(501, 1001):
        clock.now += 1.0
        clips.after_batch(progress(batch / 100, batch / 1000), lambda: nullcontext("a model"))
    assert made[0][0] < 60
    assert [epoch for _, epoch in made[1:]] == [6, 7, 8, 9, 10]
    assert clips.share <= training_clips.SHARE


def test_clips_can_be_turned_off(studio, capsys):
    clips, clock, made = studio(every=None)
    run(clips, clock, 1e6, 10)
    assert (made, clips.share, capsys.readouterr().out) == ([], 0, "")


def test_a_model_with_non_finite_weights_makes_no_clip(studio):
    clips, clock, made = studio(every=1)
    for batch in range(1, 1001):
        clock.now += 1.0
        clips.after_batch(progress(batch / 100, batch / 1000), lambda: nullcontext(None))
    assert (made, clips.count) == ([], 0)


@pytest.mark.slow
def test_a_clip_comes_with_its_spectrogram_from_the_same_prompt_and_seed(manifest, tmp_path):
    model = storage.build(TINY.name, **TINY.sizes)
    model.codec = CODEC
    found = {}
    clock = Clock()
    clips = TrainingClips(
        manifest, Train(), lambda place: found.update({f.name: f.read_bytes() for f in place.iterdir()}), clock
    )
    for number in (0.5, 1, 2):
        clock.now += 1e6
        clips.after_batch(progress(number, number / 4), lambda: nullcontext(model))
    assert sorted(found) == ["step-0000100.png", "step-0000100.wav", "step-0000200.png", "step-0000200.wav"]
    assert found["step-0000100.wav"] == found["step-0000200.wav"], "the same weights say the same"
    (tmp_path / "a.wav").write_bytes(found["step-0000100.wav"])
    (tmp_path / "a.png").write_bytes(found["step-0000100.png"])
    wave, rate = sf.read(tmp_path / "a.wav")
    assert (rate, len(wave)) == (8000, round(training_clips.SECONDS * 8000))
    assert np.ptp(wave) > 0
    assert np.ptp(imread(tmp_path / "a.png")) > 0.5


def test_the_prompt_is_an_excerpt_with_sound(manifest, sine_codes):
    found = training_clips.prompt(manifest)
    assert len(found) == 64 + 256  # no more in a window
    assert np.ptp(found) > 50
    assert found.tobytes() in sine_codes[:6000].tobytes()
    slow = replace(CODEC, sample_rate=400)
    assert len(training_clips.prompt(replace(manifest, codec=slow))) == 200


class CrashError(Exception):
    """In place of a process that is gone."""


@pytest.mark.slow
def test_clips_do_not_change_the_weights(manifest, tmp_path, monkeypatch):
    """Even if training is interrupted right after a clip and then resumed."""
    monkeypatch.setattr(training_clips, "SECONDS", 0.05)
    params = Train(model=TINY, epochs=3, batch_size=8, learning_rate=0.01, warmup_steps=2, ema=0.9, checkpoint_steps=1)
    unheard, _ = trainer.train(manifest, tmp_path / "unheard", params, progress=False)

    def train(place, crash_after=None, store=None):
        clock, heard = Clock(), []
        clips = TrainingClips(
            manifest, params, lambda files: heard.extend(sorted(f.name for f in files.iterdir())), clock
        )

        def on_batch(progress, model):
            clock.now += 1e6
            clips.after_batch(progress, model)
            if clips.count == crash_after:
                raise CrashError

        model, _ = trainer.train(manifest, tmp_path / place, params, on_batch=on_batch, store=store, progress=False)
        return model, heard

    store = CheckpointStore(tmp_path / "store")
    with pytest.raises(CrashError):
        train("heard", crash_after=2, store=store)
    model, heard = train("heard", store=store)
    assert len(heard) >= 2 * 3, "after the epochs, and right after it went on"
    for one, other in zip(unheard.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    weights = [(tmp_path / place / "model.weights.h5").read_bytes() for place in ("unheard", "heard")]
    assert weights[0] == weights[1]


def test_the_clip_interval_does_not_change_the_fingerprint(manifest):
    keys = {training_fingerprint(Train(clip_every_epochs=every).model_dump(), manifest) for every in (None, 1.0, 2.5)}
    assert len(keys) == 1
