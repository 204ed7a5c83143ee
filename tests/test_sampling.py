"""Generation is right: draws follow the softmax, streams are reproducible, clips are safe to play."""

import numpy as np
import pytest
import soundfile as sf
from scipy import stats

from audiornn import clips, codec, models, sampling, shards, synthesis
from audiornn.backend import keras
from audiornn.errors import AudioRNNError
from audiornn.files import write_json
from audiornn.params import Generate
from tests.conftest import SETTINGS


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    made = models.build("audiornn", dense=16, units=16, layers=2)
    for variable in made.trainable_variables:
        variable.assign(variable + 0.3 * np.random.default_rng(0).standard_normal(variable.shape))
    made.settings = SETTINGS
    return made


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.5])
def test_draws_have_the_frequencies_of_the_softmax(temperature):
    logits = 2 * np.random.default_rng(0).standard_normal(256).astype(np.float32)
    n = 100_000
    uniform = sampling.uniforms(1, 0).random(n, np.float32)
    drawn = sampling.draw(np.tile(logits, (n, 1)), np.full(n, temperature, np.float32), uniform).numpy()
    scaled = logits.astype(np.float64) / temperature
    p = np.exp(scaled - scaled.max())
    expected = n * p / p.sum()
    common = expected >= 5  # the chi-square test needs some of each
    observed = np.bincount(drawn, minlength=256)
    groups = [np.r_[x[common], x[~common].sum()] for x in (observed, expected)]
    if groups[1][-1] == 0:
        groups = [g[:-1] for g in groups]
    assert stats.chisquare(groups[0], groups[1] * groups[0].sum() / groups[1].sum()).pvalue > 0.001


def test_temperature_0_takes_the_likeliest_code_and_extreme_numbers_stay_in_range():
    logits = np.random.default_rng(0).standard_normal((4, 256)).astype(np.float32)
    np.testing.assert_array_equal(sampling.draw(logits, np.zeros(4, np.float32), np.full(4, 0.7)), logits.argmax(-1))
    wide = np.array([[-1e4] * 255 + [1e4], [1e4] + [-1e4] * 255], np.float32)
    for uniform in (0.0, np.nextafter(np.float32(1), np.float32(0))):
        drawn = sampling.draw(wide, np.ones(2, np.float32), np.full(2, uniform, np.float32))
        np.testing.assert_array_equal(drawn, [255, 0])


def test_the_loop_draws_what_the_parallel_form_predicts(model):
    prompt = np.random.default_rng(0).integers(0, 256, (3, 40)).astype(np.uint8)
    codes = sampling.generate(model, 50, [0.0, 0.0, 0.0], prompt=prompt)
    logits = model(np.concatenate([prompt, codes], axis=1)).numpy()[:, 39:-1]
    chosen = np.take_along_axis(logits, codes[..., None].astype(int), -1)[..., 0]
    np.testing.assert_allclose(chosen, logits.max(-1), atol=1e-4)


def test_same_seed_same_codes_whatever_the_length_and_other_seeds_differ(model):
    heat = [1.0, 1.0]
    first = sampling.generate(model, 2500, heat, seed=5)
    np.testing.assert_array_equal(first, sampling.generate(model, 2500, heat, seed=5))
    np.testing.assert_array_equal(first[:, :1200], sampling.generate(model, 1200, heat, seed=5))
    assert (first != sampling.generate(model, 2500, heat, seed=6)).mean() > 0.3
    assert (first[0] != first[1]).mean() > 0.3  # streams have numbers of their own


def test_progress_is_told(model):
    told = []
    sampling.generate(model, 2300, [1.0], on_progress=lambda done, seconds: told.append((done, seconds)))
    assert [done for done, _ in told] == [1000, 2000, 2300]
    assert all(seconds > 0 for _, seconds in told)


def test_a_model_trained_on_a_sine_continues_it(make_shards, tmp_path, sine_codes):
    from audiornn import training
    from audiornn.params import ModelParams, Train

    folder = make_shards({"a": sine_codes}, 128, 512)
    params = Train(
        model=ModelParams(dense=32, units=48, layers=1),
        epochs=30,
        batch=4,
        learning_rate=0.01,
        warmup_steps=5,
        patience=30,
    )
    trained, result = training.train(folder, tmp_path / "m", params, SETTINGS, progress=False)
    prompt = sine_codes[None, :800]
    codes = sampling.generate(trained, 8000, [0.0], prompt=prompt)[0]
    wave = codec.decode(codes, 0.95)[200:]
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave)), 1 << 17))
    frequency = np.argmax(spectrum) * 8000 / (1 << 17)
    assert frequency == pytest.approx(440, abs=2), f"after {result.best_validation:.2f} bits"
    level = [np.sqrt(np.mean(part**2)) for part in np.array_split(wave, 4)]
    assert min(level) > 0.5 * 0.5 / np.sqrt(2)  # it holds to the end
    assert max(level) < 2.0 * 0.5 / np.sqrt(2)


@pytest.fixture
def test_part(tmp_path):
    """A tiny encoded corpus whose third recording is the test part."""
    encoded = tmp_path / "encode"
    encoded.mkdir()
    recordings, codes = [], {}
    for i, path in enumerate(synthesis.speech(tmp_path / "wav", 0.3)[:3]):
        wave, rate = sf.read(path)
        codes[f"r{i}"] = codec.encode(np.interp(np.arange(0, len(wave), rate / 8000), np.arange(len(wave)), wave))
        np.save(encoded / f"r{i}.npy", codes[f"r{i}"])
        recordings.append({"name": f"r{i}", "file": f"r{i}.npy"})
    write_json(encoded / "manifest.json", {"recordings": recordings})
    folder = tmp_path / "shard"
    folder.mkdir()
    from audiornn.corpus import Range

    parts = {part: [Range(f"r{i}", 0, len(codes[f"r{i}"]))] for i, part in enumerate(("train", "validation", "test"))}
    shards.write(folder, codes, parts, context=64, span=512, shift=512)
    return clips.TestPart(encoded, folder, SETTINGS["codec"]), codes["r2"]


def test_clips_are_as_many_as_long_and_as_loud_as_they_say(model, test_part, tmp_path):
    source, _ = test_part
    params = Generate(seconds=0.25, count=2, temperature=[0.5, 1.0], prompt_seconds=0.1)
    made, speed = clips.make(model, params, source, None, progress=False)
    assert [clip.temperature for clip in made] == [0.5, 0.5, 1.0, 1.0]
    assert len({clip.name for clip in made}) == 4
    assert speed > 0
    for clip in made:
        path = clip.write(tmp_path)
        wave, rate = sf.read(path)
        assert sf.info(path).subtype == "PCM_16"
        assert (len(wave), rate) == (2000, 8000)
        np.testing.assert_allclose(wave, clip.wave, atol=1 / 32768)
        levels = clip.levels()
        assert 10 ** (levels["peak_dbfs"] / 20) == pytest.approx(np.abs(wave).max(), abs=1e-4)
        assert 10 ** (levels["rms_dbfs"] / 20) == pytest.approx(np.sqrt(np.mean(wave**2)), abs=1e-4)
        assert np.abs(wave).max() <= 0.981
        assert levels["clipped_share"] == 0


def test_codes_that_would_run_away_are_made_safe_to_play():
    loud = np.full(8000, 255, np.uint8)  # de-emphasis would take this to 20 times full scale
    wave, gain = clips.decode(loud, np.zeros(0, np.uint8), SETTINGS["codec"])
    assert np.abs(wave).max() == pytest.approx(0.98)
    assert gain < 0.2
    assert abs(np.mean(wave[4000:])) < 0.01  # and its offset fades


def test_a_clip_goes_on_where_its_prompt_ended(test_part):
    _, codes = test_part
    whole = codec.decode(codes[:6000], 0.95)
    wave, gain = clips.decode(codes[3000:6000], codes[:3000], SETTINGS["codec"])
    assert gain == 1
    # The high-pass shifts phases but adds no step: the difference to the recording is slow and small.
    assert np.abs(np.diff(wave - whole[3000:])).max() < 0.02


def test_prompts_are_pieces_of_the_test_part_where_there_is_sound(test_part):
    source, codes = test_part
    prompts = source.prompts(5, 800, seed=1)
    assert prompts.shape == (5, 800)
    text = codes.tobytes()
    assert all(text.find(prompt.tobytes()) >= 0 for prompt in prompts)
    energy = [np.mean(codec.expand(prompt) ** 2) for prompt in prompts]
    assert min(energy) > 0.5 * np.mean(codec.expand(codes) ** 2)
    np.testing.assert_array_equal(prompts, source.prompts(5, 800, seed=1))
    with pytest.raises(AudioRNNError, match="generate.prompt_seconds is 60"):
        source.prompts(1, 60 * 8000, seed=1)


def test_a_file_of_any_rate_and_channels_is_a_prompt(tmp_path):
    time = np.arange(44_100) / 44_100
    wave = 0.3 * np.sin(2 * np.pi * 300 * time)
    sf.write(tmp_path / "a.flac", np.stack([wave, wave], 1), 44_100)
    codes = clips.file_prompt(tmp_path / "a.flac", 0.5, SETTINGS["codec"])
    assert codes.shape == (4000,)
    decoded = codec.decode(codes)[1000:]
    spectrum = np.abs(np.fft.rfft(decoded * np.hanning(len(decoded))))
    assert np.argmax(spectrum) * 8000 / len(decoded) == pytest.approx(300, abs=3)


@pytest.mark.parametrize(
    ("wave", "said"),
    [(np.zeros(8000), "silent"), (0.1 * np.ones(800), "has 0.10 s, but a prompt of 0.5 s"), (None, "no such file")],
)
def test_a_prompt_that_cannot_prompt_is_named(tmp_path, wave, said):
    path = tmp_path / "p.wav"
    if wave is not None:
        sf.write(path, wave, 8000)
    with pytest.raises(AudioRNNError, match=said) as caught:
        clips.file_prompt(path, 0.5, SETTINGS["codec"])
    assert str(path) in str(caught.value)


def test_without_a_prompt_streams_start_from_silence(model):
    codes = sampling.generate(model, 20, [0.0])
    logits = model(np.concatenate([[[codec.SILENCE]], codes], axis=1).astype(np.uint8)).numpy()[0, :-1]
    np.testing.assert_allclose(logits[np.arange(20), codes[0]], logits.max(-1), atol=1e-4)
