"""One hears a model learn, at little cost, and it learns what it would have learned unheard."""

import numpy as np
import pytest
import soundfile as sf
from matplotlib.image import imread

from audiornn import listening, models, training
from audiornn.checkpoints import Store, identity
from audiornn.listening import Listener
from audiornn.params import ModelParams, Train
from audiornn.shards import read_manifest
from audiornn.training import Epoch
from tests.conftest import SETTINGS

TINY = ModelParams(name="audiornn", dense=12, units=12, layers=1)


def epoch(number, step=None):
    return Epoch(number, step or int(100 * number), 5.0, 5.0, 0.1, 0.1, 0.01, 1000.0)


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
    """A listener whose clips take `cost` seconds, its clock, and the steps at which it made one."""

    def make(every, cost=1.0):
        clock, made = Clock(), []

        def pretend(self, epoch, model, place):
            clock.now += cost
            made.append(epoch.step)

        monkeypatch.setattr(Listener, "_make", pretend)
        return Listener(folder, Train(listen_every=every), lambda place: None, clock), clock, made

    return make


def test_a_clip_is_made_after_every_so_many_epochs(studio):
    listener, clock, made = studio(every=2)
    clock.now = 1e6
    for number in (0.5, 1, 1.5, 2, 2.5, 3, 4, 4.5, 6.5, 8):
        listener(epoch(number), None)
    assert made == [200, 400, 650]


@pytest.mark.parametrize("cost", [0.5, 8.0, listening.FIRST])
def test_clips_never_take_more_than_a_twentieth_of_the_time(studio, cost, capsys):
    listener, clock, made = studio(every=1, cost=cost)
    for number in range(1, 200):
        clock.now += 10
        listener(epoch(number), None)
        assert listener.share <= listening.SHARE
        assert listener.seconds == pytest.approx(cost * len(made))
    assert len(made) > 0.5 * min(199, listening.SHARE * clock.now / cost), "what may be used is used"
    assert (listener.count, listener.share) == (len(made), listener.seconds / clock.now)
    told = capsys.readouterr().out.splitlines()
    assert len(told) == 199 - len(made)
    assert told[0] == (
        "epoch 1: no clip to listen to: with about 15.0 s for it, clips would take more than 5% of the training time "
        "so far"
    )


def test_without_listening_there_are_no_clips(studio):
    listener, clock, made = studio(every=None)
    clock.now = 1e6
    listener(epoch(100), None)
    assert (made, listener.share) == ([], 0)


def test_a_clip_comes_with_its_spectrogram_from_the_same_prompt_and_seed(folder, tmp_path):
    model = models.build(TINY.name, **TINY.sizes)
    model.settings = SETTINGS
    found = {}
    clock = Clock()
    listener = Listener(
        folder, Train(), lambda place: found.update({f.name: f.read_bytes() for f in place.iterdir()}), clock
    )
    for number in (1, 2):
        clock.now += 1e6
        listener(epoch(number), model)
    assert sorted(found) == ["step-0000100.png", "step-0000100.wav", "step-0000200.png", "step-0000200.wav"]
    assert found["step-0000100.wav"] == found["step-0000200.wav"], "the same weights say the same"
    (tmp_path / "a.wav").write_bytes(found["step-0000100.wav"])
    (tmp_path / "a.png").write_bytes(found["step-0000100.png"])
    wave, rate = sf.read(tmp_path / "a.wav")
    assert (rate, len(wave)) == (8000, round(listening.SECONDS * 8000))
    assert np.ptp(wave) > 0
    assert np.ptp(imread(tmp_path / "a.png")) > 0.5


def test_the_prompt_is_where_there_is_sound(folder, sine_codes):
    found = listening.prompt(folder, 8000)
    assert len(found) == 64 + 256  # no more in a window
    assert np.ptp(found) > 50
    assert found.tobytes() in sine_codes[:6000].tobytes()
    assert len(listening.prompt(folder, 400)) == 200


class CrashError(Exception):
    """In place of a process that is gone."""


def test_the_weights_are_those_of_a_training_that_nobody_listened_to(folder, tmp_path, monkeypatch):
    """Though it was interrupted right after a clip, and gone on with."""
    monkeypatch.setattr(listening, "SECONDS", 0.05)
    params = Train(model=TINY, epochs=3, batch=8, learning_rate=0.01, warmup_steps=2, ema=0.9, checkpoint_steps=1)
    unheard, _ = training.train(folder, tmp_path / "unheard", params, SETTINGS, progress=False)

    def train(place, crash_after=None, store=None):
        clock, heard = Clock(), []
        listener = Listener(folder, params, lambda files: heard.extend(sorted(f.name for f in files.iterdir())), clock)

        def on_epoch(epoch, model):
            clock.now += 1e6
            listener(epoch, model)
            if listener.count == crash_after:
                raise CrashError

        model, _ = training.train(
            folder, tmp_path / place, params, SETTINGS, on_epoch=on_epoch, store=store, progress=False
        )
        return model, heard

    store = Store(tmp_path / "store")
    with pytest.raises(CrashError):
        train("heard", crash_after=1, store=store)
    model, heard = train("heard", store=store)
    assert len(heard) == 2 * 3
    for one, other in zip(unheard.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    weights = [(tmp_path / place / "model.weights.h5").read_bytes() for place in ("unheard", "heard")]
    assert weights[0] == weights[1]


def test_how_often_one_listens_does_not_make_it_another_training(folder):
    manifest = read_manifest(folder)
    keys = {identity(Train(listen_every=every).model_dump(), manifest) for every in (None, 1.0, 2.5)}
    assert len(keys) == 1
