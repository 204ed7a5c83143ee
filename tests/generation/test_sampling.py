"""Generation is right: draws follow the softmax, streams are reproducible, clips are safe to play."""

import numpy as np
import pytest
import soundfile as sf
from scipy import stats

from audiornn import codec
from audiornn.audio import resampling
from audiornn.audio.levels import Limiter, peak_safe
from audiornn.backend import keras
from audiornn.corpus.synthetic import speech
from audiornn.dataset import shards
from audiornn.dataset.recordings import Part
from audiornn.errors import AudioRNNError
from audiornn.files import write_json
from audiornn.generation import clips, engines, sampling, streaming, tensorflow_engine
from audiornn.generation.fused import audiornn
from audiornn.generation.fused.draws import Limits, sample_code
from audiornn.generation.prompts import file_prompt
from audiornn.models import storage
from audiornn.params import Generate
from tests.conftest import SETTINGS


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    made = storage.build("audiornn", dense=16, units=16, layers=2)
    for variable in made.trainable_variables:
        variable.assign(variable + 0.3 * np.random.default_rng(0).standard_normal(variable.shape))
    made.settings = SETTINGS
    return made


def drawn_by(how, logits, temperature, uniform, *limits):
    """Codes [n] drawn from logits [256] by uniform numbers [n]."""
    if how == "tensorflow":
        tiled = np.tile(logits, (len(uniform), 1))
        return tensorflow_engine.draw(
            tiled, np.full(len(uniform), temperature, np.float32), uniform, Limits(*limits)
        ).numpy()
    scratch = np.empty(256, np.float32)
    return np.array([sample_code(logits, temperature, Limits(*limits), u, scratch) for u in uniform])


@pytest.mark.parametrize("how", ["tensorflow", "fused"])
def test_where_the_model_is_certain_draws_are_its_own_whatever_the_temperature(how):
    n, uniform = 100_000, sampling.uniforms(3, 0).random(100_000, np.float32)
    for likeliest, left_alone in ((0.6, True), (0.4, False)):
        p = np.full(256, (1 - likeliest) / 255)
        p[128] = likeliest
        logits = np.log(p).astype(np.float32)
        drawn = drawn_by(how, logits, 0.3, uniform, 0, 0.3, 0.5)
        expected = n * likeliest if left_alone else n  # at this temperature, and within 0.3, there is no other code
        assert abs(np.count_nonzero(drawn == 128) - expected) <= 4 * np.sqrt(n * likeliest * (1 - likeliest))
        assert (len(np.unique(drawn)) > 200) == left_alone
    assert np.all(drawn_by(how, logits, 0.0, uniform[:10], 0, 1.0, 0.1) == 128)  # temperature 0 is heeded all the same


@pytest.mark.parametrize("how", ["tensorflow", "fused"])
@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"),
    [(0.5, 0, 1.0), (1.0, 0, 1.0), (1.5, 0, 1.0), (1.0, 20, 1.0), (1.0, 0, 0.8), (1.5, 50, 0.9), (1.0, 1, 1.0)],
)
def test_draws_have_the_frequencies_of_the_softmax(how, temperature, top_k, top_p):
    logits = 2 * np.random.default_rng(0).standard_normal(256).astype(np.float32)
    n = 100_000
    drawn = drawn_by(how, logits, temperature, sampling.uniforms(1, 0).random(n, np.float32), top_k, top_p)
    scaled = logits.astype(np.float64) / temperature
    p = np.exp(scaled - scaled.max())
    order = np.argsort(-p, kind="stable")
    if top_k:
        p[order[top_k:]] = 0
    p /= p.sum()
    if top_p < 1:
        fewest = int(np.searchsorted(np.cumsum(p[order]), top_p)) + 1
        assert p[order[:fewest]].sum() >= top_p > p[order[: fewest - 1]].sum()
        p[order[fewest:]] = 0
        p /= p.sum()
    observed = np.bincount(drawn, minlength=256)
    assert observed[p == 0].sum() == 0  # what is ruled out never comes
    expected = n * p
    common = expected >= 5  # the chi-square test needs some of each
    if common.sum() == 1:
        assert observed[common] == n
        return
    groups = [np.r_[x[common], x[~common].sum()] for x in (observed, expected)]
    if groups[1][-1] < 1e-9:
        groups = [g[:-1] for g in groups]
    assert stats.chisquare(groups[0], groups[1] * groups[0].sum() / groups[1].sum()).pvalue > 0.001


@pytest.mark.parametrize("how", ["tensorflow", "fused"])
def test_temperature_0_takes_the_likeliest_code_and_extreme_numbers_stay_in_range(how):
    logits = np.random.default_rng(0).standard_normal(256).astype(np.float32)
    ends = np.array([0.0, 0.7, np.nextafter(np.float32(1), np.float32(0))], np.float32)
    assert set(drawn_by(how, logits, 0.0, ends)) == {logits.argmax()}
    for likeliest in (0, 255):
        wide = np.full(256, -1e4, np.float32)
        wide[likeliest] = 1e4
        assert set(drawn_by(how, wide, 1.0, ends)) == {likeliest}
    assert drawn_by(how, np.zeros(256, np.float32), 1.0, ends).tolist() == [0, 179, 255]


ENGINES = ["tensorflow", "fused", "fused-bf16"]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("streams", [1, 7])
@pytest.mark.parametrize("before", [1, 300])
def test_every_engine_computes_the_network_that_was_trained(model, engine, streams, before):
    codes = np.random.default_rng(0).integers(0, 256, (streams, before + 3000)).astype(np.uint8)
    expected = model(codes).numpy()[:, before:]
    runner = engines.engine(model, engine)
    runner.load_state(*sampling.consume(model, codes[:, :before]))
    logits = runner.teacher_force(codes[:, before:])
    assert np.ptp(expected) > 5
    if engine == "fused-bf16":  # weights of 8 bits of mantissa
        assert np.abs(logits - expected).mean() < 0.02 * expected.std()
    else:
        np.testing.assert_allclose(logits, expected, atol=1e-4)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_loop_draws_what_the_parallel_form_predicts(model, engine):
    prompt = np.random.default_rng(0).integers(0, 256, (3, 40)).astype(np.uint8)
    codes = sampling.generate(model, 50, [0.0, 0.0, 0.0], prompt=prompt, engine_name=engine)
    logits = model(np.concatenate([prompt, codes], axis=1)).numpy()[:, 39:-1]
    chosen = np.take_along_axis(logits, codes[..., None].astype(int), -1)[..., 0]
    np.testing.assert_allclose(chosen, logits.max(-1), atol=0.1 if engine == "fused-bf16" else 1e-4)


@pytest.mark.parametrize("engine", ENGINES)
def test_same_seed_same_codes_whatever_the_length_and_other_seeds_differ(model, engine):
    heat = [1.0, 1.0]
    first = sampling.generate(model, 2500, heat, seed=5, engine_name=engine)
    np.testing.assert_array_equal(first, sampling.generate(model, 2500, heat, seed=5, engine_name=engine))
    np.testing.assert_array_equal(first[:, :1200], sampling.generate(model, 1200, heat, seed=5, engine_name=engine))
    assert (first != sampling.generate(model, 2500, heat, seed=6, engine_name=engine)).mean() > 0.3
    assert (first[0] != first[1]).mean() > 0.3  # streams have numbers of their own


@pytest.mark.parametrize("engine", ENGINES)
def test_a_stream_is_the_same_bytes_whatever_runs_beside_it(model, engine):
    random = np.random.default_rng(3)
    prompts = random.integers(0, 256, (9, 50)).astype(np.uint8)
    heat = [1.0, 0.8, (0.7, 1.1), 1.0, 1.0, 0.0, 1.2, 0.9, 1.0]
    options = {"seed": 2, "limits": Limits(top_p=0.95), "engine_name": engine}
    together = sampling.generate(model, 1500, heat, prompt=prompts, **options)
    for n in (1, 2, 3, 6):
        fewer = sampling.generate(model, 1500, heat[:n], prompt=prompts[:n], **options)
        np.testing.assert_array_equal(fewer, together[:n])


def test_both_engines_draw_the_same_codes(model):
    made = [sampling.generate(model, 300, [1.0, 0.7], seed=4, engine_name=name) for name in ("tensorflow", "fused")]
    assert (made[0] == made[1]).mean() > 0.99  # until round-off meets a border between two codes


def test_threads_change_nothing(model):
    codes = np.random.default_rng(0).integers(0, 256, (5, 20)).astype(np.uint8)
    uniform = np.random.default_rng(1).random((5, 400), np.float32)
    results = []
    for threads in (1, 2, 5, 8):
        runner = audiornn.FusedAudioRNN(model, threads=threads)
        runner.load_state(*sampling.consume(model, codes))
        results.append(runner.generate(uniform, np.ones_like(uniform)))
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])


@pytest.mark.parametrize("sizes", [{"dense": 3, "units": 1, "layers": 1}, {"dense": 5, "units": 65, "layers": 3}])
def test_the_fused_engine_takes_any_sizes(sizes):
    keras.utils.set_random_seed(1)
    made = storage.build("audiornn", **sizes)
    codes = np.random.default_rng(0).integers(0, 256, (2, 100)).astype(np.uint8)
    runner = engines.engine(made, "fused")
    runner.load_state(*sampling.consume(made, codes[:, :10]))
    np.testing.assert_allclose(runner.teacher_force(codes[:, 10:]), made(codes).numpy()[:, 10:], atol=1e-4)


def test_a_ramp_changes_the_temperature_from_start_to_end(model):
    cold = sampling.generate(model, 2000, [0.0], engine_name="fused")[0]
    ramp = sampling.generate(model, 2000, [(0.0, 2.0)], engine_name="fused")[0]
    assert ramp[0] == cold[0]
    spread = [len(set(part)) for part in np.array_split(ramp, 4)]
    assert spread[-1] > spread[0]


def test_unknown_engines_are_refused(model):
    with pytest.raises(AudioRNNError, match="engine is 'cuda', but must be one of auto, fused"):
        engines.engine(model, "cuda")


def test_progress_is_told(model):
    told = []
    sampling.generate(model, 2300, [1.0], on_progress=lambda done, seconds: told.append((done, seconds)))
    assert [done for done, _ in told] == [1000, 2000, 2300]
    assert all(seconds > 0 for _, seconds in told)


def test_a_stream_without_end_goes_on(model):
    endless = sampling.blocks(model, [1.0], seed=5)
    made = np.concatenate([next(endless) for _ in range(3)], axis=1)
    np.testing.assert_array_equal(made, sampling.generate(model, 3000, [1.0], seed=5))


def check_engines_on_a_trained_model(trained, codes):
    """Cold and after a prompt, alone and beside others: engines have the logits of the parallel form."""
    for streams in (1, 7):
        expected = trained(codes[:streams]).numpy()
        for name in ("tensorflow", "fused"):
            runner = engines.engine(trained, name)
            for before in (1, 800):
                runner.load_state(*sampling.consume(trained, codes[:streams, :before]))
                logits = runner.teacher_force(codes[:streams, before : before + 3000])
                np.testing.assert_allclose(logits, expected[:, before : before + 3000], atol=1e-4, err_msg=name)


def test_a_model_trained_on_a_sine_continues_it(make_shards, tmp_path, sine_codes):
    from audiornn.params import ModelParams, Train
    from audiornn.training import trainer

    folder = make_shards({"a": sine_codes}, 128, 512)
    params = Train(
        model=ModelParams(name="audiornn", dense=32, units=48, layers=1),
        epochs=30,
        batch=4,
        learning_rate=0.01,
        warmup_steps=5,
        patience=30,
    )
    trained, result = trainer.train(folder, tmp_path / "m", params, SETTINGS, progress=False)
    check_engines_on_a_trained_model(trained, np.stack([np.roll(sine_codes[:4000], -7 * i)[:3801] for i in range(7)]))
    codes = sampling.generate(trained, 16_000, [0.0], prompt=sine_codes[None, :800])[0]
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
    for i, path in enumerate(speech.speech(tmp_path / "wav", 0.3)[:3]):
        wave, rate = sf.read(path)
        codes[f"r{i}"] = codec.encode(np.interp(np.arange(0, len(wave), rate / 8000), np.arange(len(wave)), wave))
        np.save(encoded / f"r{i}.npy", codes[f"r{i}"])
        recordings.append({"name": f"r{i}", "file": f"r{i}.npy"})
    write_json(encoded / "manifest.json", {"recordings": recordings})
    folder = tmp_path / "shard"
    folder.mkdir()
    from audiornn.dataset.split import Range

    ranges = {part: [Range(f"r{i}", 0, len(codes[f"r{i}"]))] for i, part in enumerate(("train", "validation", "test"))}
    shards.write(folder, codes, ranges, context=64, span=512, shift=512)
    return Part(encoded, folder, SETTINGS["codec"]), codes["r2"]


def test_clips_are_as_many_as_long_and_as_loud_as_they_say(model, test_part, tmp_path):
    source, _ = test_part
    params = Generate(seconds=0.25, count=2, temperature=[0.5, 1.0])
    made, speed = clips.make(model, params, source.prompts(4, 800, seed=0))
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


def test_what_was_done_to_a_clips_level_is_said():
    codes, wave = np.zeros(800, np.uint8), np.full(800, 0.1)

    def said(gain, level):
        return clips.Clip("a", 1.0, 8000, codes, wave, gain, level).describe()

    assert said(1.0, "safe").endswith("peak -20.0 dBFS")
    assert said(0.5, "safe").endswith("scaled by 0.50")
    assert said(2.0, "normalise").endswith("scaled by 2.00")
    assert said(0.5, "limit").endswith("peaks lowered by up to 6.0 dB")


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


def test_a_file_of_any_rate_and_channels_is_a_prompt(tmp_path):
    time = np.arange(44_100) / 44_100
    wave = 0.3 * np.sin(2 * np.pi * 300 * time)
    sf.write(tmp_path / "a.flac", np.stack([wave, wave], 1), 44_100)
    codes = file_prompt(tmp_path / "a.flac", 0.5, SETTINGS["codec"])
    assert codes.shape == (4000,)
    decoded = codec.decode(codes)[1000:]
    spectrum = np.abs(np.fft.rfft(decoded * np.hanning(len(decoded))))
    assert np.argmax(spectrum) * 8000 / len(decoded) == pytest.approx(300, abs=3)


@pytest.mark.parametrize(
    ("wave", "arguments", "said"),
    [
        (np.zeros(8000), (0.5,), "silent from 0 s for 0.5 s"),
        (0.1 * np.sin(np.arange(800)), (0.5,), "has 0.10 s, but a prompt of 0.5 s"),
        (0.1 * np.sin(np.arange(8000)), (0.5, 0.8), "has 1.00 s, but a prompt of 0.5 s from 0.8 s on"),
        (0.1 * np.sin(np.arange(8000)), (0.5, 3.0), "has 1.00 s, but the prompt was to begin at 3 s"),
        (np.zeros(0), (0.5,), "empty"),
        (None, (0.5,), "no such file"),
    ],
)
def test_a_prompt_that_cannot_prompt_is_named(tmp_path, wave, arguments, said):
    path = tmp_path / "p.wav"
    if wave is not None:
        sf.write(path, wave, 8000)
    with pytest.raises(AudioRNNError, match=said) as caught:
        file_prompt(path, arguments[0], SETTINGS["codec"], *arguments[1:])
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_prompt_can_begin_anywhere(tmp_path):
    time = np.arange(16_000) / 8000
    sf.write(tmp_path / "p.wav", 0.3 * np.sin(2 * np.pi * np.where(time < 1, 300, 700) * time), 8000)
    decoded = codec.decode(file_prompt(tmp_path / "p.wav", 0.5, SETTINGS["codec"], 1.2))[1000:]
    spectrum = np.abs(np.fft.rfft(decoded * np.hanning(len(decoded))))
    assert np.argmax(spectrum) * 8000 / len(decoded) == pytest.approx(700, abs=3)


@pytest.mark.parametrize("level", ["safe", "normalise", "limit"])
def test_no_level_exceeds_the_ceiling_and_only_normalise_lifts_quiet_clips(level):
    time = np.arange(16_000) / 8000
    loud, quiet = 3 * np.sin(2 * np.pi * 200 * time), 0.1 * np.sin(2 * np.pi * 200 * time)
    wave, gain = peak_safe(loud, 8000, level=level)
    assert np.abs(wave).max() <= 0.98 + 1e-9
    assert 0.2 < gain < 0.4
    wave, gain = peak_safe(quiet, 8000, level=level)
    assert np.abs(wave[8000:]).max() == pytest.approx(0.98 if level == "normalise" else 0.1, rel=0.1)
    assert (gain == 1) == (level != "normalise")


def test_a_limiter_lowers_peaks_alone_and_works_block_by_block():
    random = np.random.default_rng(0)
    wave = 0.2 * np.sin(np.arange(20_000) / 5)
    wave[10_000] = 5.0
    whole = Limiter(8000)
    limited = whole(wave, last=True)
    assert len(limited) == len(wave)
    assert np.abs(limited).max() <= 0.98 + 1e-9
    assert whole.lowest_gain == pytest.approx(0.98 / 5)
    np.testing.assert_array_equal(limited[:9900], wave[:9900])
    np.testing.assert_array_equal(limited[10_100:], wave[10_100:])
    blockwise = Limiter(8000)
    cuts = np.sort(random.integers(0, len(wave), 50))
    parts = [blockwise(block) for block in np.split(wave, cuts)]
    np.testing.assert_allclose(np.concatenate([*parts, blockwise(np.zeros(0), last=True)]), limited, atol=1e-12)


def test_a_player_streams_what_a_clip_would_be():
    codes = codec.encode(0.4 * np.sin(np.arange(16_000) / 7))
    player = streaming.Player(SETTINGS["codec"])
    parts = [player(block) for block in np.split(codes, [10, 500, 501, 9000])]
    wave = np.concatenate([*parts, player(codes[:0], last=True)])
    expected = resampling.Resampler(8000, 8000, 20)(codec.decode(codes))
    assert np.abs(expected).max() < 0.98  # nothing to limit
    np.testing.assert_allclose(wave, expected, atol=1e-9)


def test_generate_is_one_call(model, tmp_path):
    import audiornn

    sf.write(tmp_path / "p.flac", 0.3 * np.sin(np.arange(44_100) / 20), 44_100)
    wave = audiornn.generate(
        model, seconds=0.2, count=2, temperature=["0.7:1.1", 0.5], prompt=tmp_path / "p.flac", top_k=50, level="limit"
    )
    assert wave.dtype == np.float32
    assert wave.shape == (4, 1600)
    assert 0 < np.abs(wave).max() <= 0.98 + 1e-6
    again = audiornn.generate(
        model, seconds=0.2, temperature="0.7:1.1", prompt=tmp_path / "p.flac", top_k=50, level="limit"
    )
    np.testing.assert_array_equal(again[0], wave[0])
    with pytest.raises(audiornn.AudioRNNError, match="generate: temperature is 11, but must be from 0"):
        audiornn.generate(model, temperature=11)


def test_without_a_prompt_streams_start_from_silence(model):
    codes = sampling.generate(model, 20, [0.0])
    logits = model(np.concatenate([[[codec.SILENCE]], codes], axis=1).astype(np.uint8)).numpy()[0, :-1]
    np.testing.assert_allclose(logits[np.arange(20), codes[0]], logits.max(-1), atol=1e-4)
