"""What a person with a disappointing clip is promised: the right name for what is wrong, and no false alarms."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

from audiornn import cli, codec
from audiornn.audio import levels
from audiornn.common.errors import AudioRNNError
from audiornn.corpus.synthetic.music import pluck
from audiornn.diagnostics.diagnosis import diagnose
from audiornn.diagnostics.reference import Reference
from tests.helpers.waves import RATE, Wave, again, kinds, noise, sine, time

# Good clips


@pytest.mark.parametrize("seconds", [1, 2, 4])
@pytest.mark.parametrize("kind", ["speech", "music"])
def test_real_speech_and_music_have_no_findings(kind, seconds, real):
    size = seconds * RATE
    pieces = [wave[i : i + size] for wave in real[kind] for i in range(RATE // 4, len(wave) - size, 3 * RATE // 2)]
    assert len(pieces) >= 5
    assert [(i, found) for i, piece in enumerate(pieces) if (found := kinds(piece))] == []


@pytest.mark.parametrize("kind", ["speech", "music"])
def test_real_speech_and_music_have_no_findings_at_other_sample_rates(kind, folders):
    for path in sorted(folders[kind].glob("*.wav"))[:2]:
        wave, rate = sf.read(path)
        assert rate == 22050
        assert kinds(wave, rate) == []


def test_a_sustained_sung_note_is_not_a_defect():
    t, rng = time(3), np.random.default_rng(0)
    wander = np.interp(t, np.arange(0, 4, 0.4), rng.normal(scale=0.8, size=10))  # no singer is a clock
    phase = 2 * np.pi * 140 * t + 1.2 * np.sin(2 * np.pi * 5.3 * t + wander)
    buzz = (1 + 0.2 * wander) * signal.sawtooth(phase) + 0.02 * rng.standard_normal(len(t))
    formants = [r * np.exp(sign * 1j * angle) for r, angle in ((0.97, 0.5), (0.95, 1)) for sign in (1, -1)]
    vowel = signal.lfilter([1], np.poly(formants).real, buzz)
    assert kinds(0.3 * vowel / np.abs(vowel).max()) == []


def test_a_ringing_string_is_music():
    for frequency in (110, 220, 440):
        assert kinds(0.5 * pluck(frequency, 2, RATE, np.random.default_rng(0))) == []


def test_hissing_consonants_are_not_noise(said):
    hiss = signal.lfilter([1, -0.95], [1], noise(4)) * (time(4) % 0.5 < 0.15)
    assert kinds(said + hiss) == []


def test_the_codec_causes_no_finding(said):
    for preemphasis in (0.0, 0.95):
        assert kinds(codec.decode(codec.encode(said, preemphasis), preemphasis)) == []


# Defects, each by its name


def random_codes(seconds: float = 3) -> Wave:
    codes = np.random.default_rng(0).integers(0, 256, round((seconds + 1) * RATE)).astype(np.uint8)
    return levels.make_playable(codec.decode(codes), RATE, skip=RATE)[0]


DEFECTS = {
    "silent": {
        "zeros": lambda s: np.zeros(2 * RATE),
        "codes around silence": lambda s: codec.decode(
            np.random.default_rng(0).integers(127, 130, 2 * RATE).astype(np.uint8), 0
        ),
        "nothing but an offset": lambda s: np.full(2 * RATE, 0.005),
        "speech too faint to hear": lambda s: 0.001 * s,
    },
    "mostly-silent": {"a word and a pause": lambda s: np.concatenate([s[:RATE], np.zeros(3 * RATE)])},
    "clipped": {
        "cut off at full scale": lambda s: np.clip(6 * s, -1, 1),
        "cut off, then turned down": lambda s: 0.4 * np.clip(6 * s, -1, 1),
        "cut off, then stored in 16 bit": lambda s: np.round(3000 * np.clip(6 * s, -1, 1)) / 32768,
        "cut off on one side": lambda s: np.minimum(s, 0.25 * s.max()),
        "beyond full scale": lambda s: 6 * s,
    },
    "dc": {"speech off centre": lambda s: s + 0.05},
    "noise": {
        "white noise": lambda s: noise(),
        "random codes through the decoder": lambda s: random_codes(),
        "noise in waves": lambda s: noise() * (1 + np.sin(2 * np.pi * 0.7 * time(3))),
        "speech far below noise": lambda s: 0.05 * s / s.std() + noise(4),
        "speech, then noise": lambda s: np.concatenate([s[: 2 * RATE], noise(2)]),
        "noise played again and again": lambda s: np.concatenate([noise(1.5), noise(1.5, seed=1)]),
    },
    "tone": {
        "hum": lambda s: sine(50),
        "sine": lambda s: sine(440),
        "whistle": lambda s: sine(3111),
        "buzz": lambda s: 0.3 * signal.sawtooth(2 * np.pi * 110 * time(3)),
        "sine in the codec's noise": lambda s: codec.decode(codec.encode(sine(440))),
        "sine in noise": lambda s: sine(440) + 0.2 * noise(),
        "chord that never ends": lambda s: sum(sine(f) for f in (220, 277.18, 329.63)) / 3,
        "speech, then hum": lambda s: np.concatenate([s[: 2 * RATE], sine(100, 2)]),
    },
    "looping": {
        "a syllable": lambda s: again(s[4000:6400], 3),
        "a syllable in noise": lambda s: (w := again(s[4000:6400], 3)) + w.std() * noise(),
        "a croak": lambda s: again(s[4000:4480], 3),
        "a short phrase": lambda s: again(s[4000:12000], 4),
        "speech, then a syllable": lambda s: np.concatenate([s[: 2 * RATE], again(s[4000:6000], 2)]),
        "noise": lambda s: again(noise(0.3), 3),
    },
    "too-short": {"a blink": lambda s: s[4000:8000]},
}


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, makers in DEFECTS.items() for name in makers])
def test_each_defect_has_its_finding(kind, name, said):
    diagnosis = diagnose(DEFECTS[kind][name](said), RATE)
    assert [finding.kind for finding in diagnosis.findings] == [kind]
    json.dumps(diagnosis.as_dict(), allow_nan=False)


@pytest.mark.parametrize("rate", [1000, 4000, 16000, 44100, 192000])
def test_noise_tone_and_loop_are_distinguished_at_any_sample_rate(rate):
    assert kinds(noise(2, rate), rate) == ["noise"]
    assert kinds(sine(210, 2, rate), rate) == ["tone"]
    swept = 0.3 * signal.chirp(time(0.2, rate), 60, 0.2, 400)
    assert kinds(again(swept, 2, rate), rate) == ["looping"]


def test_a_defect_after_a_good_beginning_is_located_in_the_second_half(said):
    (finding,) = diagnose(np.concatenate([said[: 2 * RATE], noise(2)]), RATE).findings
    assert finding.advice.startswith("Its second half is noise")


@settings(deadline=None, max_examples=25)
@given(st.floats(0.05, 1.0), st.integers(0, 3), st.sampled_from([0.0, 0.1]))
@pytest.mark.slow
def test_the_period_of_a_loop_is_right_within_a_percent(period, seed, hiss):
    rng = np.random.default_rng(seed)
    steps = np.repeat(rng.uniform(100, 900, 20), round(period * RATE / 20) + 1)[: round(period * RATE)]
    piece = np.sin(2 * np.pi * np.cumsum(steps) / RATE)  # a tune of twenty notes
    wave = again(piece, 4) + hiss * rng.standard_normal(4 * RATE)
    found = diagnose(0.3 * wave, RATE)
    assert found.loop_period_seconds == pytest.approx(len(piece) / RATE, rel=0.01)
    assert found.loop_similarity > 0.9


def test_inexact_repetitions_are_a_loop_too(said):
    rng = np.random.default_rng(0)
    rounds = [signal.resample(said[4000:7200], round(3200 * rng.uniform(0.99, 1.01))) for _ in range(10)]
    found = diagnose(np.concatenate([rng.uniform(0.6, 1) * wave for wave in rounds]), RATE)
    assert [finding.kind for finding in found.findings] == ["looping"]
    assert found.loop_period_seconds == pytest.approx(0.4, rel=0.02)


def test_a_phrase_said_twice_is_a_loop_only_if_it_is_a_copy(said):
    phrase = said[2000:14000]
    varied = signal.resample(phrase, 12300) + 0.1 * noise(12300 / RATE)
    assert kinds(np.concatenate([phrase, varied])) == []
    assert kinds(np.concatenate([phrase, phrase])) == ["looping"]


@settings(deadline=None, max_examples=8)
@given(gain_db=st.floats(-30, 0), kind=st.sampled_from(["speech", "noise", "tone", "looping"]))
def test_the_volume_changes_nothing_but_the_level(gain_db, kind, said):
    wave = {"speech": said, "noise": noise(), "tone": sine(440), "looping": again(said[4000:6400], 3)}[kind]
    loud, quiet = diagnose(wave, RATE), diagnose(10 ** (gain_db / 20) * wave, RATE)
    assert [f.kind for f in quiet.findings] == [f.kind for f in loud.findings]
    assert quiet.rms_dbfs == pytest.approx(loud.rms_dbfs + gain_db, abs=1e-6)
    for name in ("flatness", "centroid_hz", "level_variation_db", "loop_similarity"):
        assert getattr(quiet, name) == pytest.approx(getattr(loud, name), rel=1e-3, abs=1e-3)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.floats(-2, 2), min_size=1, max_size=50), st.integers(1, 300), st.integers(1000, 50000))
def test_any_clip_has_numbers_that_json_can_represent(values, repeats, rate):
    diagnosis = diagnose(np.tile(values, repeats), rate)
    json.dumps(diagnosis.as_dict(), allow_nan=False)
    assert 0 <= diagnosis.silent_share <= 1
    assert 0 <= diagnosis.clipped_share <= 1
    assert 0 <= diagnosis.flatness <= 1.001
    assert 0 <= diagnosis.centroid_hz <= rate / 2
    assert diagnosis.loop_similarity <= 1.001
    assert diagnosis.rms_dbfs <= diagnosis.peak_dbfs + 1e-6 or diagnosis.peak_dbfs == -120
    assert diagnosis.describe()


@pytest.mark.parametrize(
    ("wave", "rate", "says"),
    [
        (np.zeros(0), RATE, "the wave has shape (0,), but must be mono and not empty"),
        (np.zeros((100, 2)), RATE, "the wave has shape (100, 2), but must be mono"),
        (np.full(9000, np.nan), RATE, "the wave holds values that are not finite"),
        (np.zeros(9000), 500, "the sample rate is 500 Hz, but must be at least 1000 Hz"),
    ],
)
def test_a_wave_that_cannot_be_judged_is_an_error(wave, rate, says):
    for use in (lambda: diagnose(wave, rate), lambda: Reference.of([wave], rate)):
        with pytest.raises(AudioRNNError, match=re.escape(says)):
            use()


# The command


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int | str | None, str, str]:
    code: int | str | None = 0
    try:
        cli.main(["diagnose", *map(str, arguments)])
    except SystemExit as stop:
        code = stop.code
    return code, *capsys.readouterr()


def test_the_command_prints_numbers_and_advice_per_clip(tmp_path, capsys, said):
    sf.write(tmp_path / "good.wav", said, RATE)
    sf.write(tmp_path / "hum.flac", np.stack([sine(100, 3, 44100)] * 2, axis=1), 44100)
    code, out, err = run(capsys, tmp_path / "good.wav", tmp_path / "hum.flac")
    assert (code, err) == (0, "")
    good, hum = out.split(f"{tmp_path}/hum.flac: 3.00 s, 44100 Hz\n")
    assert good.startswith(f"{tmp_path}/good.wav: 4.00 s, 8000 Hz\n")
    assert "nothing abnormal" in good
    assert re.search(r"tone: It is a steady tone around 100 Hz: raise the temperature", hum)


def test_json_has_one_entry_per_clip(tmp_path, capsys, said):
    sf.write(tmp_path / "loop.wav", again(said[4000:6400], 3), RATE)
    code, out, _ = run(capsys, tmp_path / "loop.wav", tmp_path / "loop.wav", "--json")
    assert code == 0
    first, second = json.loads(out)
    assert first == second
    assert first["file"] == str(tmp_path / "loop.wav")
    assert first["loop_period_seconds"] == pytest.approx(0.3, rel=0.01)
    assert first["distance_db"] is None
    assert [finding["kind"] for finding in first["findings"]] == ["looping"]


@pytest.mark.parametrize("whole", [True, False])
def test_the_reference_is_a_folder_or_a_file_of_any_rate(whole, folders, tmp_path, capsys, real):
    sf.write(tmp_path / "clip.wav", real["speech"][0], RATE)
    sf.write(tmp_path / "noise.wav", noise(), RATE)
    reference = folders["speech"] if whole else sorted(folders["speech"].glob("*.wav"))[0]
    code, out, _ = run(capsys, tmp_path / "clip.wav", tmp_path / "noise.wav", "--reference", reference, "--json")
    assert code == 0
    clip, hiss = json.loads(out)
    assert clip["findings"] == []
    assert clip["distance_db"] < clip["distance_limit_db"] < hiss["distance_db"]


def test_errors_are_one_line_with_exit_code_2(tmp_path, capsys, said):
    good = tmp_path / "good.wav"
    sf.write(good, said, RATE)
    sf.write(tmp_path / "no-samples.wav", np.zeros(0), RATE)
    (tmp_path / "text.wav").write_text("not audio")
    (tmp_path / "folder").mkdir()
    sf.write(tmp_path / "short.wav", said[:1000], RATE)
    for arguments, says in (
        (["missing.wav"], "missing.wav: no such file"),
        ([tmp_path / "no-samples.wav"], "no-samples.wav: empty"),
        ([tmp_path / "text.wav"], "text.wav: not readable as audio"),
        ([tmp_path / "folder"], "folder: not a file"),
        ([good, "--reference", "missing"], "missing: no such file"),
        ([good, "--reference", tmp_path / "folder"], "folder: holds no readable recording"),
        ([good, "--reference", tmp_path / "short.wav"], "short.wav: the reference has less than a second of sound"),
    ):
        code, out, err = run(capsys, *arguments)
        assert (code, out) == (2, "")
        assert err.startswith("error: ")
        assert says in err
        assert err.count("\n") == 1


def test_the_page_explains_every_finding():
    page = (Path(cli.__file__).parents[1] / "docs" / "diagnosis.md").read_text(encoding="utf-8")
    for kind in [*DEFECTS, "far-from-reference"]:
        assert f"| `{kind}` |" in page
