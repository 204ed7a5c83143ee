"""One hears a model learn, soon and at little cost, and it learns what it would have learned unheard."""

from contextlib import nullcontext

import numpy as np
import pytest
import soundfile as sf
from matplotlib.image import imread

from audiornn.dataset.shards import read_manifest
from audiornn.generation import training_clips
from audiornn.generation.training_clips import Listener
from audiornn.models import storage
from audiornn.params import ModelParams, Train
from audiornn.training import trainer
from audiornn.training.checkpoints import Store, training_fingerprint
from audiornn.training.curves import ValidationRecord
from audiornn.training.progress import Progress
from tests.conftest import SETTINGS

TINY = ModelParams(name="audiornn", dense=12, units=12, layers=1)


def progress(epoch, spent=0.5, scored=True):
    step = round(100 * epoch)
    found = ValidationRecord(epoch, step, 5.0, 5.25, 0.1, 0.1, 0.01, 1000.0)
    return Progress(epoch, step, spent, found if scored else None)


@pytest.fixture
def folder(make_shards, sine_codes):
    quiet = np.full(3000, 128, np.uint8)
    return make_shards({"quiet": quiet, "sine": sine_codes[:6000]}, 64, 256)


class Clock:
    """Time that passes when it is told to."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def studio(folder, monkeypatch):
    """A listener whose clips take `cost` seconds, the first one `compilation` more; its clock; when it made them."""

    def make(every, cost=1.0, compilation=0.0):
        clock, made = Clock(), []

        def pretend(self, progress, model, place):
            spared = 0.0 if made else compilation
            made.append((clock.now, progress.epoch))
            clock.now += cost + spared
            return spared

        monkeypatch.setattr(Listener, "_make", pretend)
        return Listener(folder, Train(listen_every=every), lambda place: None, clock), clock, made

    return make


def run(listener, clock, seconds, epochs, compiled_after=0.0, until=1.0, batches=1000):
    """A training of so many seconds and epochs, clips left out, that ends when a share of its budget is spent."""
    clock.now += compiled_after
    for batch in range(1, round(until * batches) + 1):
        clock.now += seconds / batches
        listener(progress(epochs * batch / batches, batch / batches, scored=False), lambda: nullcontext("a model"))


def test_a_first_clip_comes_at_once_and_others_after_every_so_many_epochs(studio):
    listener, clock, made = studio(every=2)
    run(listener, clock, 1e6, 9)
    assert [epoch for _, epoch in made] == pytest.approx([0.018, 2, 4, 6, 8], abs=0.01)


@pytest.mark.parametrize("every", [0.1, 0.2, 0.3, 0.7])
def test_no_clip_comes_twice_however_epochs_are_rounded(studio, every):
    listener, clock, made = studio(every)
    run(listener, clock, 1e6, 3)
    assert [epoch for _, epoch in made[1:]] == pytest.approx(np.arange(1, 3 / every + 1e-6) * every, abs=0.004)


@pytest.mark.parametrize("seconds", [320, 1000, 36_000])
@pytest.mark.parametrize("epochs", [0.5, 10])
def test_the_first_clip_comes_within_a_minute_of_compiling_where_the_whole_training_pays_for_it(
    studio, seconds, epochs
):
    listener, clock, made = studio(every=1, compilation=8.0)
    run(listener, clock, seconds, epochs, compiled_after=40.0, batches=10_000)
    assert made[0][0] < 40 + 60
    assert made[0][1] < 0.2 * epochs


@pytest.mark.parametrize("seconds", [30, 290, 400, 3600, 36_000])
@pytest.mark.parametrize(("cost", "compilation"), [(0.5, 0.0), (2.0, 10.0), (1.0, 14.0), (15.0, 0.0)])
@pytest.mark.parametrize("every", [0.05, 1])
def test_clips_never_take_more_than_a_twentieth_of_the_time(studio, seconds, cost, compilation, every):
    listener, clock, made = studio(every, cost, compilation)
    run(listener, clock, seconds, 10)
    assert listener.seconds == pytest.approx(cost * len(made) + (compilation if made else 0))
    assert (listener.count, listener.share) == (len(made), listener.seconds / clock.now)
    assert listener.share <= training_clips.SHARE
    payable = max(0, (training_clips.SHARE * seconds - compilation) // cost)
    if seconds * training_clips.SHARE >= training_clips.FIRST:
        assert len(made) >= 0.8 * min(10 / every, payable) - 1, "what may be used is used"
    else:
        assert made == []


def test_at_every_time_the_clips_but_the_first_are_paid_already(studio):
    listener, clock, made = studio(every=0.01, cost=2.0, compilation=10.0)
    run(listener, clock, 3600, 10)
    later = [when for when, _ in made[1:]]
    allowed = training_clips.SHARE * 3600 - 12
    for number, when in enumerate(later, 1):
        assert 2.0 * number <= 1.02 * allowed * when / clock.now
    assert later[-1] > 0.95 * clock.now, "and the last is near the end"


def test_a_training_too_short_for_any_clip_says_so_once(studio, capsys):
    """However long compiling takes: that it is over soon is known after some seconds."""
    listener, clock, made = studio(every=1)
    run(listener, clock, 100, 10, compiled_after=150.0)
    assert made == []
    assert capsys.readouterr().out == (
        "no clips to listen to: the first takes about 15 s, more than 5% of the 250 s that the training is expected to "
        "take\n"
    )
    listener, clock, made = studio(every=1)
    run(listener, clock, 5, 10)  # over before anything could be expected
    assert made == []
    assert "the 5 s that" in capsys.readouterr().out


def test_a_training_that_goes_on_lets_one_hear_it_soon_and_pays_from_what_is_left(studio):
    listener, clock, made = studio(every=1)
    clock.now = 30.0
    for batch in range(501, 1001):
        clock.now += 1.0
        listener(progress(batch / 100, batch / 1000), lambda: nullcontext("a model"))
    assert made[0][0] < 60
    assert [epoch for _, epoch in made[1:]] == [6, 7, 8, 9, 10]
    assert listener.share <= training_clips.SHARE


def test_a_model_whose_weights_are_not_finite_is_not_heard(studio):
    listener, clock, made = studio(every=1)
    for batch in range(1, 1001):
        clock.now += 1.0
        listener(progress(batch / 100, batch / 1000), lambda: nullcontext(None))
    assert (made, listener.count) == ([], 0)


def test_without_listening_there_are_no_clips(studio, capsys):
    listener, clock, made = studio(every=None)
    run(listener, clock, 1e6, 10)
    assert (made, listener.share, capsys.readouterr().out) == ([], 0, "")


def test_a_clip_comes_with_its_spectrogram_from_the_same_prompt_and_seed(folder, tmp_path):
    model = storage.build(TINY.name, **TINY.sizes)
    model.settings = SETTINGS
    found = {}
    clock = Clock()
    listener = Listener(
        folder, Train(), lambda place: found.update({f.name: f.read_bytes() for f in place.iterdir()}), clock
    )
    for number in (0.5, 1, 2):
        clock.now += 1e6
        listener(progress(number, number / 4), lambda: nullcontext(model))
    assert sorted(found) == ["step-0000100.png", "step-0000100.wav", "step-0000200.png", "step-0000200.wav"]
    assert found["step-0000100.wav"] == found["step-0000200.wav"], "the same weights say the same"
    (tmp_path / "a.wav").write_bytes(found["step-0000100.wav"])
    (tmp_path / "a.png").write_bytes(found["step-0000100.png"])
    wave, rate = sf.read(tmp_path / "a.wav")
    assert (rate, len(wave)) == (8000, round(training_clips.SECONDS * 8000))
    assert np.ptp(wave) > 0
    assert np.ptp(imread(tmp_path / "a.png")) > 0.5


def test_the_prompt_is_where_there_is_sound(folder, sine_codes):
    found = training_clips.prompt(folder, 8000)
    assert len(found) == 64 + 256  # no more in a window
    assert np.ptp(found) > 50
    assert found.tobytes() in sine_codes[:6000].tobytes()
    assert len(training_clips.prompt(folder, 400)) == 200


class CrashError(Exception):
    """In place of a process that is gone."""


def test_the_weights_are_those_of_a_training_that_nobody_listened_to(folder, tmp_path, monkeypatch):
    """Though it was interrupted right after a clip, and gone on with."""
    monkeypatch.setattr(training_clips, "SECONDS", 0.05)
    params = Train(model=TINY, epochs=3, batch=8, learning_rate=0.01, warmup_steps=2, ema=0.9, checkpoint_steps=1)
    unheard, _ = trainer.train(folder, tmp_path / "unheard", params, SETTINGS, progress=False)

    def train(place, crash_after=None, store=None):
        clock, heard = Clock(), []
        listener = Listener(folder, params, lambda files: heard.extend(sorted(f.name for f in files.iterdir())), clock)

        def on_batch(progress, model):
            clock.now += 1e6
            listener(progress, model)
            if listener.count == crash_after:
                raise CrashError

        model, _ = trainer.train(
            folder, tmp_path / place, params, SETTINGS, on_batch=on_batch, store=store, progress=False
        )
        return model, heard

    store = Store(tmp_path / "store")
    with pytest.raises(CrashError):
        train("heard", crash_after=2, store=store)
    model, heard = train("heard", store=store)
    assert len(heard) >= 2 * 3, "after the epochs, and right after it went on"
    for one, other in zip(unheard.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    weights = [(tmp_path / place / "model.weights.h5").read_bytes() for place in ("unheard", "heard")]
    assert weights[0] == weights[1]


def test_how_often_one_listens_does_not_make_it_another_training(folder):
    manifest = read_manifest(folder)
    keys = {training_fingerprint(Train(listen_every=every).model_dump(), manifest) for every in (None, 1.0, 2.5)}
    assert len(keys) == 1
