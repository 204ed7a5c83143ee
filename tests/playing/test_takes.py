"""Takes are files that say how they were made."""

import json

import numpy as np
import pytest
import soundfile as sf

from audiornn import cli
from audiornn.common.errors import AudioRNNError
from audiornn.playing import takes
from audiornn.playing.choices import Choices
from audiornn.playing.live import Beginning, Change, Controls
from tests.helpers.playing import save_model


def make(changes=(), **settings):
    pcm = (3000 * np.sin(np.arange(800) / 5)).astype(np.int16)
    kept = {"sample_rate": 8000, "start": 100, "stop": 900, "models": {"d": "models"}, "changes": list(changes)}
    return takes.Take(pcm, takes.TakeSettings(**kept | settings))


@pytest.mark.parametrize("form", takes.AUDIO)
@pytest.mark.parametrize("name", ["", "rain, no wind: 雨"])
def test_a_file_holds_the_samples_the_name_and_the_settings(tmp_path, form, name):
    take = make([Change(beginning=Beginning(seed=1), model="d", controls=Controls())]).named(name)
    path = tmp_path / f"take.{form}"
    path.write_bytes(take.encoded(form))
    pcm, rate = sf.read(path, dtype="int16")
    assert rate == 8000
    np.testing.assert_array_equal(pcm, take.pcm)
    assert takes.read_settings(path) == take.settings
    assert sf.SoundFile(path).title == name
    (tmp_path / "take.json").write_bytes(take.encoded("json"))
    assert takes.read_settings(tmp_path / "take.json") == take.settings


@pytest.mark.parametrize("form", takes.AUDIO)
def test_settings_too_long_for_a_comment_are_in_the_json_file_alone(tmp_path, form):
    take = make([Change(at=i, controls=Controls()) for i in range(2000)])
    (tmp_path / f"take.{form}").write_bytes(take.encoded(form))
    assert len(sf.read(tmp_path / f"take.{form}")[0]) == 800
    with pytest.raises(AudioRNNError, match="has no settings in its comment: give the JSON file"):
        takes.read_settings(tmp_path / f"take.{form}")
    assert len(json.loads(take.encoded("json"))["changes"]) == 2000


@pytest.mark.parametrize("engine", ["fused", "fused-bf16"])
def test_a_take_is_rendered_by_the_engine_that_made_it(workspace, tmp_path, engine):
    choices = Choices(workspace, engine_name=engine)
    model = choices.load("models")
    assert model.engine.name == engine
    change = Change(beginning=Beginning(seed=1), model=model.digest, controls=Controls())
    take = takes.render(make([change], models={model.digest: "models"}, engine=engine).settings, {model.digest: model})
    (tmp_path / "take.flac").write_bytes(take.encoded("flac"))
    again = takes.render_file(tmp_path / "take.flac", tmp_path / "again.flac", workspace)
    np.testing.assert_array_equal(again.pcm, take.pcm)
    assert (tmp_path / "again.flac").read_bytes() == (tmp_path / "take.flac").read_bytes()


def test_a_tape_holds_the_last_minute_and_all_of_a_recording():
    tape, block = takes.Tape(1000), np.arange(500, dtype=np.int16)
    for _ in range(1000):
        tape.add(block)
    assert 0 <= 440_000 - tape.start <= 1000
    np.testing.assert_array_equal(tape.cut(499_000, 500_000), np.tile(block, 2))
    tape.recording_from = 499_750
    for _ in range(1000):
        tape.add(block)
    np.testing.assert_array_equal(tape.cut(499_750, 500_250), np.r_[block[250:], block[:250]])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--render", "take.json"], "--render TAKE and --output FILE belong together"),
        (["--output", "again.wav"], "--render TAKE and --output FILE belong together"),
        (["--render", "none.json", "--output", "again.wav"], "none.json: no such file"),
        (["--render", "take.json", "--output", "again.mp3"], "again.mp3: is named .mp3, but must end in .wav or .flac"),
        (["--render", "text.wav", "--output", "again.wav"], "text.wav: cannot be read"),
        (["--render", "early.json", "--output", "again.wav"], "early.json: start is 9, but must be below stop, 5"),
        (["--render", "take.json", "--output", "again.wav"], "models: is not the model of the take"),
        (["--render", "late.json", "--output", "again.wav"], "changes: must begin at 0"),
    ],
)
def test_a_take_that_cannot_be_rendered_is_reported_in_one_line(tmp_path, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(tmp_path)
    save_model(tmp_path / "models")
    (tmp_path / "text.wav").write_text("no sound")
    (tmp_path / "take.json").write_bytes(make().encoded("json"))
    (tmp_path / "late.json").write_bytes(make([Change(at=5)], models={}).encoded("json"))
    (tmp_path / "early.json").write_text(make().encoded("json").decode().replace("100", "9").replace("900", "5"))
    with pytest.raises(SystemExit, match="2"):
        cli.main(["play", *arguments])
    assert said in capsys.readouterr().err
    assert not list(tmp_path.glob("again*"))
