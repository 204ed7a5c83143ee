"""A live stream is steered while it runs, and can be generated again."""

import base64
import io

import numpy as np
import pytest

from audiornn.common.errors import AudioRNNError
from audiornn.generation import streaming
from audiornn.models import storage
from audiornn.params import Generate
from audiornn.playing.live import Beginning, Change, Controls, LiveStream, entropy_bits
from audiornn.playing.takes import TakeSettings, render

PROMPT = base64.b64encode(np.arange(100, 200, dtype=np.uint8)).decode()


def begun(loaded, **controls):
    """A stream of all models that has just begun."""
    stream = LiveStream({model.digest: model for model in loaded.values()})
    stream.apply(Change(beginning=Beginning(seed=3), model=loaded["models"].digest, controls=Controls(**controls)))
    return stream


def played(stream, blocks):
    return np.concatenate([stream.next_block().pcm for _ in range(blocks)])


def test_any_stretch_can_be_generated_again_with_the_same_bytes(loaded):
    stream, models = begun(loaded), {model.digest: model for model in loaded.values()}
    heard = [played(stream, 5)]
    for change in (
        Change(controls=Controls(temperature=0.7, top_k=40, level_db=-6)),
        Change(beginning=Beginning(seed=4, prompt=PROMPT)),
        Change(model=loaded["other"].digest),
        Change(model=loaded["models"].digest, beginning=Beginning(seed=5), controls=Controls(top_p=0.5)),
    ):
        stream.apply(change)
        heard.append(played(stream, 5))
    whole = np.concatenate(heard)
    assert whole.std() > 300
    for start in (0, 700, 1599, 1600, 1638, 1639, 1640, 2500, 3900):
        origin, changes = stream.changes(start)
        settings = TakeSettings(
            sample_rate=8000, start=start - origin, stop=len(whole) - origin, models={}, changes=changes
        )
        np.testing.assert_array_equal(render(settings, models).pcm, whole[start:], err_msg=f"from {start}")


def test_forgotten_changes_do_not_affect_later_takes(loaded):
    stream = begun(loaded)
    played(stream, 5)
    stream.apply(Change(beginning=Beginning(seed=9)))
    played(stream, 5)
    before = stream.changes(1200)
    stream.forget(1200)
    assert stream.changes(1200) == before
    assert len(stream.changes(0)[1]) == 1


def test_after_the_fade_in_a_stream_is_that_of_audiornn_generate(loaded, workspace):
    output = io.BytesIO()
    p = Generate(seed=3, seconds=0.5)
    streaming.stream(storage.load(workspace / "models"), p, output, finite=True)
    expected = np.frombuffer(output.getvalue(), "<i2")[:3000]
    heard = played(begun(loaded), 20)[:3000]
    np.testing.assert_allclose(heard[200:], expected[200:], atol=1)


def test_each_control_takes_effect_with_the_next_block(loaded):
    plain = played(begun(loaded, level_db=-20), 10)  # the limiter has nothing to do
    for control in ({"temperature": 0.2}, {"top_k": 2}, {"top_p": 0.1}, {"level_db": -40}):
        stream = begun(loaded, level_db=-20)
        before = played(stream, 5)
        stream.apply(Change(controls=Controls(**control)))
        after = played(stream, 5)
        np.testing.assert_array_equal(before, plain[: len(before)])
        assert not np.array_equal(after, plain[len(before) :]), control
    np.testing.assert_allclose(after[400:], plain[len(before) + 400 :] / 10, atol=1)


def test_the_uncertainty_is_the_entropy_of_the_predictions(loaded):
    assert entropy_bits(np.zeros((1, 3, 256), np.float32)) == pytest.approx(8)
    assert entropy_bits(np.eye(256, dtype=np.float32)[None] * 1000) == pytest.approx(0)
    stream = begun(loaded)
    assert 0 < stream.next_block().bits < 8


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ([{"model": "models"}], "change at 0: must have a beginning and a known model"),
        ([{"beginning": {}, "model": None}], "must have a beginning and a known model, has None"),
        ([{"beginning": {}, "model": "models"}, {"model": "wide"}], "has a model of another codec"),
    ],
)
def test_invalid_changes_of_a_stream_are_refused(loaded, changes, said):
    stream = LiveStream({model.digest: model for model in loaded.values()})
    with pytest.raises(AudioRNNError, match=said):
        for change in changes:
            digest = loaded[change["model"]].digest if change["model"] else None
            stream.apply(Change(**change | {"model": digest}))
