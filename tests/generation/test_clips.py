"""Clips are as many, as long and as loud as they say, and safe to play."""

import numpy as np
import pytest
import soundfile as sf

import audiornn
from audiornn import codec
from audiornn.common.errors import AudioRNNError
from audiornn.corpus.synthetic import speech
from audiornn.dataset.split import SPLITS, CodeRange
from audiornn.dataset.windows import WindowLayout
from audiornn.generation import clips
from audiornn.params import Generate
from audiornn.preparation import shard_writer
from audiornn.preparation.recordings import SplitRecordings
from tests.conftest import CODEC, CODEC_METRICS, write_encoded


@pytest.fixture
def corpus(tmp_path):
    """A tiny encoded corpus whose third recording is the test split."""
    codes = {}
    for i, path in enumerate(speech.speech(tmp_path / "wav", 0.3)[:3]):
        wave, rate = sf.read(path)
        codes[f"r{i}"] = codec.encode(np.interp(np.arange(0, len(wave), rate / 8000), np.arange(len(wave)), wave))
    folder = tmp_path / "shard"
    folder.mkdir()
    ranges = {split: [CodeRange(f"r{i}", 0, len(codes[f"r{i}"]))] for i, split in enumerate(SPLITS)}
    manifest = shard_writer.write(folder, codes, ranges, WindowLayout(64, 512, 512), CODEC, CODEC_METRICS)
    return SplitRecordings(write_encoded(tmp_path / "encode", codes), manifest), codes["r2"]


def test_clips_have_the_requested_number_length_and_level(model, corpus, tmp_path):
    source, _ = corpus
    params = Generate(seconds=0.25, count=2, temperature=[0.5, 1.0])
    made, speed = clips.generate_clips(model, params, source.draw_prompts(4, 800, seed=0))
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


def test_a_clip_describes_the_change_of_its_level():
    codes, wave = np.zeros(800, np.uint8), np.full(800, 0.1)

    def said(gain, peak_mode):
        return clips.Clip("a", 1.0, 8000, codes, wave, gain, peak_mode).describe()

    assert said(1.0, "safe").endswith("peak -20.0 dBFS")
    assert said(0.5, "safe").endswith("scaled by 0.50")
    assert said(2.0, "normalise").endswith("scaled by 2.00")
    assert said(0.5, "limit").endswith("peaks lowered by up to 6.0 dB")


def test_a_clip_that_cannot_be_written_leaves_the_one_before(tmp_path, monkeypatch):
    wave = np.full(80, 0.5)
    clip = clips.Clip("a", 1.0, 8000, np.zeros(80, np.uint8), wave, 1.0)
    before = clip.write(tmp_path).read_bytes()

    def full(*_):
        raise sf.LibsndfileError(2)

    monkeypatch.setattr(sf.SoundFile, "write", full)
    with pytest.raises(AudioRNNError, match="cannot be written"):
        clip.write(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a.wav": before}


def test_codes_that_decode_far_above_full_scale_are_made_safe_to_play():
    loud = np.full(8000, 255, np.uint8)  # de-emphasis would take this to 20 times full scale
    wave, gain = clips.decode(loud, np.zeros(0, np.uint8), CODEC)
    assert np.abs(wave).max() == pytest.approx(0.98)
    assert gain < 0.2
    assert abs(np.mean(wave[4000:])) < 0.01  # and its offset fades


def test_a_clip_continues_its_prompt_without_a_step(corpus):
    _, codes = corpus
    whole = codec.decode(codes[:6000], 0.95)
    wave, gain = clips.decode(codes[3000:6000], codes[:3000], CODEC)
    assert gain == 1
    # The high-pass shifts phases but adds no step: the difference to the recording is slow and small.
    assert np.abs(np.diff(wave - whole[3000:])).max() < 0.02


def test_generate_returns_waves_in_one_call(model, tmp_path):
    sf.write(tmp_path / "p.flac", 0.3 * np.sin(np.arange(44_100) / 20), 44_100)
    wave = audiornn.generate(
        model,
        seconds=0.2,
        count=2,
        temperature=["0.7:1.1", 0.5],
        prompt=tmp_path / "p.flac",
        top_k=50,
        peak_mode="limit",
    )
    assert wave.dtype == np.float32
    assert wave.shape == (4, 1600)
    assert 0 < np.abs(wave).max() <= 0.98 + 1e-6
    again = audiornn.generate(
        model, seconds=0.2, temperature="0.7:1.1", prompt=tmp_path / "p.flac", top_k=50, peak_mode="limit"
    )
    np.testing.assert_array_equal(again[0], wave[0])
    with pytest.raises(audiornn.AudioRNNError, match="generate: temperature is 11, but must be from 0"):
        audiornn.generate(model, temperature=11)
