"""The player in C is the network, its draws and its sound; whatever it is given, it never crashes."""

import copy
import io
import json
import shutil
import subprocess

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from audiornn import params
from audiornn.audio import resampling
from audiornn.codec import SILENCE, CodecSettings
from audiornn.common.serialization import read_json
from audiornn.exporting import folder
from audiornn.generation import engines, sampling, streaming
from audiornn.generation.fused.draws import Limits, sample_code
from tests.conftest import CODEC
from tests.exporting.conftest import compiled, made
from tests.helpers.mutations import damaged_bytes, damaged_trees, many, places

DEFAULT = Limits(params.Generate().top_k, params.Generate().top_p, params.Generate().confidence_threshold)
SETTINGS = [
    (1.0, Limits()),
    (0.0, Limits()),
    (0.7, Limits(top_k=5)),
    (1.3, Limits(top_p=0.6)),
    (0.9, Limits(top_k=40, top_p=0.9, confidence_threshold=0.3)),
]
SIZES = [
    {"frames": [3], "units": 1, "embedding": 1, "lookback": 1, "dense": 3},
    {"frames": [12, 6, 2], "units": 30, "embedding": 5, "lookback": 19, "dense": 33},
]


def options(temperature, limits):
    """How the player is told of settings."""
    return (
        *("--temperature", temperature, "--top-k", limits.top_k, "--top-p", limits.top_p),
        *("--confidence-threshold", limits.confidence_threshold),
    )


def codes_of(result):
    assert (result.code, result.errors) == (0, "")
    return np.frombuffer(result.output, np.uint8)


@pytest.mark.parametrize("engine_name", ["fused", "fused-bf16"])
@pytest.mark.parametrize("sizes", [None, *SIZES])
@pytest.mark.slow
def test_logits_equal_those_of_the_fused_engine(model, tmp_path, request, sizes, engine_name):
    model = made(**sizes) if sizes else model
    folder.export(model, tmp_path / "out")
    play = request.getfixturevalue({"fused": "play", "fused-bf16": "play_rounded"}[engine_name])
    codes = codes_of(play(tmp_path / "out", "--seconds", 0.25, "--codes", "--logits", tmp_path / "logits"))
    logits = np.fromfile(tmp_path / "logits", np.float32).reshape(-1, 256)
    assert len(codes) == len(logits) == 2000
    engine = engines.create_engine(model, engine_name)
    engine.load_state(*sampling.prefill(model, np.full([1, 1], SILENCE, np.uint8)))
    expected = engine.teacher_force(codes[None])[0]
    assert np.ptp(expected) > 1
    # The library's engine takes over behind the first code from exact weights, which the rounded state forgets.
    skipped = 0 if engine_name == "fused" else 500
    np.testing.assert_allclose(logits[1 + skipped :], expected[skipped:-1], rtol=0, atol=1e-4)


@pytest.mark.parametrize(("temperature", "limits"), SETTINGS)
def test_a_seed_draws_the_codes_that_the_library_draws(model, exported, tmp_path, play, temperature, limits):
    result = play(
        exported, "--codes", "--seconds", 0.375, "--seed", 7, "--logits", tmp_path / "l", *options(temperature, limits)
    )
    codes, logits = codes_of(result), np.fromfile(tmp_path / "l", np.float32).reshape(-1, 256)
    assert len(codes) == 3000
    # Each draw from the player's own logits: round-off may move a boundary, at most of one draw in a thousand.
    uniform, weights = sampling.random_stream(7, 0).random(3000, np.float32), np.empty(256, np.float32)
    drawn = [sample_code(row, temperature, limits, u, weights) for row, u in zip(logits, uniform, strict=True)]
    assert np.mean(drawn == codes) > 0.998
    # The whole stream, as far as that.
    expected = sampling.generate(model, 3000, [temperature], seed=7, limits=limits)[0]
    np.testing.assert_array_equal(codes[:300], expected[:300])


def test_settings_come_from_the_folder_and_can_be_edited_there(model, exported, tmp_path, play):
    shutil.copytree(exported, tmp_path / "out")
    description = read_json(exported / "model.json")
    description["sampling"] |= {"temperature": 0.7, "top_k": 5, "top_p": 1, "confidence_threshold": 1, "seed": 3}
    (tmp_path / "out" / "model.json").write_text(json.dumps(description))
    codes = codes_of(play(tmp_path / "out", "--codes", "--seconds", 0.1))
    given = codes_of(play(exported, "--codes", "--seconds", 0.1, "--seed", 3, *options(0.7, Limits(top_k=5))))
    np.testing.assert_array_equal(codes, given)
    default = sampling.generate(model, 300, [1.0], limits=DEFAULT)[0]
    np.testing.assert_array_equal(codes_of(play(exported, "--codes", "--seconds", 0.0375)), default)


def test_a_prompt_is_continued_as_by_the_library(model, exported, tmp_path, play, sine_codes):
    prompt = sine_codes[:1003]
    prompt.tofile(tmp_path / "prompt")
    codes = codes_of(play(exported, "--codes", "--seconds", 0.05, "--prompt-codes", tmp_path / "prompt"))
    expected = sampling.generate(model, 400, [1.0], prompt=prompt[None], limits=DEFAULT)[0]
    np.testing.assert_array_equal(codes, expected)


@pytest.mark.parametrize("settings", [CODEC, CodecSettings(16_000, 0.0, 0.0)])
@pytest.mark.parametrize("prompted", [False, True])
def test_the_sound_is_that_of_a_stream_without_its_limiter(tmp_path, play, sine_codes, settings, prompted):
    model = made(frames=[4], units=4, embedding=4, lookback=4, dense=8)
    model.codec = settings
    folder.export(model, tmp_path / "out")
    sine_codes[:500].tofile(tmp_path / "prompt")
    chosen = ("--prompt-codes", tmp_path / "prompt") if prompted else ()
    codes = codes_of(play(tmp_path / "out", "--seconds", 0.5, "--codes", *chosen))
    heard = np.concatenate([sine_codes[: 500 * prompted], codes])
    highpass = resampling.Resampler(settings.sample_rate, settings.sample_rate, settings.dc_blocker_hz)
    wave = highpass.process(settings.decode(heard))[500 * prompted :]
    expected = streaming.pcm16(np.clip(wave, -1, 1)).astype(int)
    assert np.abs(expected).max() > 1000
    pcm = play(tmp_path / "out", "--seconds", 0.5, *chosen)
    assert (pcm.code, pcm.errors) == (0, "")
    samples = np.frombuffer(pcm.output, "<i2")
    np.testing.assert_allclose(samples, expected, atol=1)  # C libraries differ in the last bit of expm1
    wav = play(tmp_path / "out", "--seconds", 0.5, "--wav", *chosen)
    from_wav, rate = soundfile.read(io.BytesIO(wav.output), dtype="int16")
    assert rate == settings.sample_rate
    np.testing.assert_array_equal(from_wav, samples)


def test_a_stream_of_the_library_is_the_same_pcm_where_nothing_is_limited(tmp_path, play):
    quiet = made(frames=[4], units=4, embedding=4, lookback=4, dense=8)
    quiet.head.bias.assign(-0.02 * np.square(np.arange(256) - 128.0))
    folder.export(quiet, tmp_path / "out")
    settings = params.Generate(seconds=0.5, seed=2, temperature=(1.0,))
    output = io.BytesIO()
    streaming.stream(quiet, settings, output, finite=True)
    expected = np.frombuffer(output.getvalue(), "<i2")
    assert 100 < np.abs(expected).max() < 32000
    played = play(tmp_path / "out", "--seconds", 0.5, "--seed", 2)
    np.testing.assert_allclose(np.frombuffer(played.output, "<i2"), expected, atol=1)


HOST = """
#define AUDIORNN_NO_MAIN
#include "%s"
int main(int argc, char **argv)
{
    char error[300];
    AudioRNN *a = audiornn_open(argc > 1 ? argv[1] : ".", error, sizeof error);
    if (!a) return puts(error), 1;
    audiornn_seed(a, 5);
    for (int i = 0; i < 100; i++) printf("%%.9f\\n", audiornn_next(a));
    a->temperature = 0;
    printf("%%d\\n", audiornn_next_code(a));
    audiornn_close(a);
    return 0;
}
"""


@pytest.mark.slow
def test_another_program_can_open_a_model_and_take_its_samples(exported, tmp_path, play):
    (tmp_path / "host.c").write_text(HOST % (exported / "player.c"))
    program = compiled(tmp_path / "host", tmp_path / "host.c")
    lines = subprocess.run([program, exported], capture_output=True, text=True, check=True).stdout.split()
    pcm = np.frombuffer(play(exported, "--seed", 5, "--seconds", 100 / 8000).output, "<i2")
    np.testing.assert_allclose(np.array(lines[:100], float) * 32767, pcm, atol=1)
    assert 0 <= int(lines[100]) <= 255
    missing = subprocess.run([program, tmp_path], capture_output=True, text=True)
    assert (missing.returncode, missing.stdout) == (1, f"{tmp_path}/model.json: No such file or directory\n")


def refused(result):
    """The player said in one line what is wrong."""
    return result.code == 2 and not result.output and result.errors.count("\n") == 1 and "error: " in result.errors


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        (("--seed", "x"), "--seed is x, but must be an integer from 0 to 2147483647"),
        (("--seed", "1.5"), "--seed is 1.5, but must be an integer"),
        (("--temperature", "nan"), "--temperature is nan, but must be a number from 0 to 10"),
        (("--top-p", "0"), "--top-p is 0, but must be a number"),
        (("--top-k", "257"), "--top-k is 257, but must be an integer from 0 to 256"),
        (("--seconds",), "--seconds needs a value"),
        (("--seed-", "1"), "--seed-: no such option"),
        (("--prompt-codes", "/nowhere"), "/nowhere: cannot be read"),
        (("--prompt-codes", "/dev/null"), "/dev/null: cannot be read, or has no codes"),
        (("--logits", "/nowhere/x"), "/nowhere/x: cannot be written"),
    ],
)
def test_a_wrong_option_is_named_in_one_line(exported, play, wrong, line):
    result = play(exported, "--seconds", 0.01, *wrong)
    assert refused(result)
    assert line in result.errors


@pytest.mark.parametrize("name", ["model.json", "weights.bin"])
def test_a_missing_file_is_named(exported, tmp_path, play, name):
    shutil.copytree(exported, tmp_path / "out")
    (tmp_path / "out" / name).unlink()
    result = play(tmp_path / "out", "--seconds", 0.01)
    assert refused(result)
    assert name in result.errors


def test_another_model_is_refused_with_the_name_of_the_supported_one(exported, tmp_path, play):
    shutil.copytree(exported, tmp_path / "out")
    description = read_json(exported / "model.json")
    for change in ({"name": "linear"}, {"predictor": True}):
        changed = copy.deepcopy(description)
        changed["model"] |= change
        (tmp_path / "out" / "model.json").write_text(json.dumps(changed))
        result = play(tmp_path / "out", "--seconds", 0.01)
        assert refused(result)
        assert "only samplernn without predictor can be played" in result.errors


@pytest.mark.slow
def test_every_entry_that_is_read_is_required(exported, tmp_path, play):
    shutil.copytree(exported, tmp_path / "out")
    description = read_json(exported / "model.json")
    for_people = {("codec", "highpass_hz"), ("weights", "file"), ("weights", "type")}
    missing = [place for place in places(description) if place and place not in for_people]
    assert len(missing) > 100
    for *above, last in missing:
        changed = entry = copy.deepcopy(description)
        for key in above:
            entry = entry[key]
        del entry[last]
        (tmp_path / "out" / "model.json").write_text(json.dumps(changed))
        assert refused(play(tmp_path / "out", "--seconds", 0.01)), (above, last)


@pytest.mark.parametrize("size", [0, -1, 4097, 10**6, 2**31, 2**32, 2**62, 2**64, 10**400, 1.5, 1e308])
@pytest.mark.parametrize("key", ["units", "embedding", "lookback", "dense", "frames", "bytes", "offset", "shape"])
@pytest.mark.slow
def test_an_impossible_size_is_refused_before_memory_is_allocated(exported, tmp_path, play, key, size):
    shutil.copytree(exported, tmp_path / "out")
    description = read_json(exported / "model.json")
    first = description["weights"]["tensors"][0]
    into, at = {"frames": (description["model"]["frames"], 0), "bytes": (description["weights"], "bytes")}.get(
        key, {"offset": (first, "offset"), "shape": (first["shape"], 0)}.get(key, (description["model"], key))
    )
    into[at] = size
    if (key, size) == ("offset", 0):
        return  # where it begins
    (tmp_path / "out" / "model.json").write_text(json.dumps(description))
    assert refused(play(tmp_path / "out", "--seconds", 0.01))


@many
@given(data=st.data())
@pytest.mark.slow
def test_a_damaged_description_is_played_or_refused_in_one_line(exported, tmp_path_factory, play, data):
    content = (exported / "model.json").read_bytes()
    trees = damaged_trees(json.loads(content)).map(lambda tree: json.dumps(tree).encode())
    path = damaged_copy(exported, tmp_path_factory, "model.json", data.draw(st.one_of(trees, damaged_bytes(content))))
    result = play(path, "--seconds", 0.01)
    assert refused(result) or (result.code == 0 and len(result.output) >= 20 and not result.errors)


@many
@given(data=st.data())
@pytest.mark.slow
def test_damaged_weights_are_refused_in_one_line(exported, tmp_path_factory, play, data):
    content = (exported / "weights.bin").read_bytes()
    damaged = data.draw(damaged_bytes(content).filter(lambda other: other != content))
    result = play(damaged_copy(exported, tmp_path_factory, "weights.bin", damaged), "--seconds", 0.01)
    assert refused(result)
    assert "weights.bin" in result.errors


def damaged_copy(exported, tmp_path_factory, name, content):
    """A folder with the exported files, one of them damaged; the next call overwrites it."""
    path = tmp_path_factory.getbasetemp() / "damaged"
    shutil.copytree(exported, path, dirs_exist_ok=True)
    (path / name).write_bytes(content)
    return path


def test_weights_that_are_not_finite_are_refused(exported, tmp_path, play, model):
    broken = made(frames=[4], units=2, embedding=2, lookback=2, dense=2)
    broken.head.bias.assign(np.where(np.arange(256) == 9, np.inf, 0))
    folder.export(broken, tmp_path / "out")
    result = play(tmp_path / "out", "--seconds", 0.01)
    assert refused(result)
    assert "weights.bin: head.bias holds values that are not finite" in result.errors


def test_weights_whose_products_overflow_still_give_codes(tmp_path, play):
    huge = made(frames=[4, 2], units=4, embedding=4, lookback=4, dense=4)
    for variable in huge.variables:
        variable.assign(np.sign(variable.numpy()) * 3e38)
    folder.export(huge, tmp_path / "out")
    for temperature in (0, 1):
        for limits in (Limits(), Limits(5, 0.5, 0.5)):
            codes = codes_of(play(tmp_path / "out", "--codes", "--seconds", 0.01, *options(temperature, limits)))
            assert len(codes) == 80
