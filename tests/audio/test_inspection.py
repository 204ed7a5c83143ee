"""What `audiornn inspect` promises: each step to listen to, numbers that agree with it, nothing overwritten."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from audiornn import cli, codec, codec_metrics
from audiornn.audio import inspection
from audiornn.common.errors import AudioRNNError
from audiornn.corpus.synthetic.speech import speech

PROJECT = Path(cli.__file__).parents[1]
FILES = {"1-read.wav", "2-resampled.wav", "3-emphasised.wav", "4-decoded.wav"}


def audiornn(*arguments: str | bytes, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the command as a user does."""
    return subprocess.run(
        [sys.executable, "-m", "audiornn.cli", *arguments],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
    )


def record(path: Path, rate: int = 8000, channels: int = 1, seconds: float = 0.5, seed: int = 0) -> Path:
    """A recording of quiet noise that falls off with frequency."""
    path.parent.mkdir(parents=True, exist_ok=True)
    white = np.random.default_rng(seed).normal(size=(round(seconds * rate), channels))
    with path.open("wb") as file:  # soundfile itself would refuse some names
        sf.write(file, 0.3 * white.cumsum(axis=0) / np.abs(white.cumsum(axis=0)).max(), rate, format="WAV")
    return path


def steps(result: dict[str, Any]) -> dict[str, NDArray[np.float64]]:
    return {step: sf.read(path)[0] for step, path in result["steps"].items()}


def snr_db(wave: NDArray[np.float64], decoded: NDArray[np.float64]) -> float:
    return float(10 * np.log10(np.sum(wave**2) / np.sum((wave - decoded) ** 2)))


@pytest.fixture(scope="module")
def sentence(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return speech(tmp_path_factory.mktemp("speech"), 0.05)[0]


# The steps


@pytest.mark.parametrize(("sample_rate", "preemphasis"), [(8000, 0.95), (16000, 0.5), (22050, 0.95), (8000, 0.0)])
def test_each_step_is_a_wav_and_the_numbers_agree_with_it(sample_rate, preemphasis, sentence, tmp_path):
    result = inspection.inspect(sentence, tmp_path / "out", sample_rate, preemphasis=preemphasis)
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES
    assert list(result["steps"]) == ["read", "resampled", "emphasised", "decoded"]
    rates = [sf.info(path).samplerate for path in result["steps"].values()]
    assert rates == [22050, sample_rate, sample_rate, sample_rate]
    assert {sf.info(path).subtype for path in result["steps"].values()} == {"PCM_24"}

    heard = steps(result)
    assert np.allclose(heard["read"], sf.read(sentence)[0], rtol=0, atol=2**-22)
    assert len(heard["resampled"]) == pytest.approx(len(heard["read"]) * sample_rate / 22050, abs=1)
    assert len(heard["resampled"]) == len(heard["emphasised"]) == len(heard["decoded"])
    before = np.concatenate([[0.0], heard["resampled"][:-1]])
    assert np.allclose(heard["emphasised"], heard["resampled"] - preemphasis * before, rtol=0, atol=2**-21)
    assert result["snr_db"] == pytest.approx(snr_db(heard["resampled"], heard["decoded"]), abs=0.2)

    codes = codec.encode(heard["resampled"], preemphasis)
    assert result["code_entropy_bits"] == pytest.approx(codec_metrics.entropy_bits(np.bincount(codes)), abs=0.01)
    again = codec.decode(codes, preemphasis)  # but for a code here and there, as wavs have 24 bits
    assert snr_db(again, heard["decoded"]) > result["snr_db"] + 12
    loss = codec_metrics.CodecSnr(sample_rate)
    loss.add(heard["resampled"], heard["decoded"])
    assert result["snr_high_db"] == pytest.approx(loss.snr_db()[1], abs=0.2)
    assert result["clipped_share"] == 0
    assert (result["file"], result["rate"], result["channels"]) == (str(sentence), 22050, 1)
    assert result["seconds"] == pytest.approx(sf.info(sentence).duration)


def test_the_first_step_has_all_channels_and_later_steps_have_one(tmp_path):
    result = inspection.inspect(record(tmp_path / "a.wav", 44100, 3), tmp_path / "out")
    assert result["channels"] == 3
    assert result["seconds"] == pytest.approx(0.5)
    assert [sf.info(path).channels for path in result["steps"].values()] == [3, 1, 1, 1]


@pytest.mark.parametrize("highpass_hz", [0, 20])
def test_a_recording_at_the_training_rate_can_be_inspected(highpass_hz, tmp_path):
    heard = steps(inspection.inspect(record(tmp_path / "a.wav", 8000), tmp_path / "out", 8000, highpass_hz))
    assert len(heard["resampled"]) == len(heard["read"])
    if not highpass_hz:
        assert np.array_equal(heard["resampled"], heard["read"])


def test_clipped_samples_are_counted_and_the_numbers_still_agree(tmp_path):
    """Steps of twice full scale leave [-1, 1] after pre-emphasis, a whole cycle of them half of the time."""
    sf.write(tmp_path / "a.wav", np.tile([0.9, 0.9, -0.9, -0.9], 2000), 8000)
    result = inspection.inspect(tmp_path / "a.wav", tmp_path / "out", 8000, 0, preemphasis=0.5)
    heard = steps(result)
    assert np.abs(heard["emphasised"]).max() == pytest.approx(1, abs=1e-6)
    assert result["clipped_share"] == pytest.approx(0.5, abs=0.001)
    assert result["snr_db"] == pytest.approx(snr_db(heard["resampled"], heard["decoded"]), abs=0.2)


def test_a_recording_too_loud_for_wav_is_scaled_as_a_whole_as_in_the_pipeline(tmp_path):
    sf.write(tmp_path / "a.wav", 3 * np.sin(np.arange(8000) / 10), 8000, subtype="FLOAT")
    result = inspection.inspect(tmp_path / "a.wav", tmp_path / "out", 8000, 0)
    heard = steps(result)["resampled"]
    np.testing.assert_allclose(heard, 0.98 * np.sin(np.arange(8000) / 10), atol=1e-3)
    assert result["gain"] == pytest.approx(0.98 / 3, rel=1e-4)
    assert result["code_entropy_bits"] == pytest.approx(
        codec_metrics.entropy_bits(np.bincount(codec.encode(heard))), abs=0.01
    )


def test_silence_cannot_be_inspected(tmp_path):
    sf.write(tmp_path / "a.wav", np.zeros(4000), 8000)
    with pytest.raises(AudioRNNError, match="silent: all samples are 0"):
        inspection.inspect(tmp_path / "a.wav", tmp_path / "out")


# Nothing is lost


def test_an_earlier_inspection_is_replaced_as_a_whole(tmp_path):
    inspection.inspect(record(tmp_path / "a.wav", seconds=0.5), tmp_path / "out")
    inspection.inspect(record(tmp_path / "a.wav", seconds=0.2), tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES
    assert {sf.info(path).frames for path in (tmp_path / "out").iterdir()} == {1600}
    assert {path.name for path in tmp_path.iterdir()} == {"a.wav", "out"}


def test_a_folder_with_other_files_is_not_replaced(tmp_path):
    take = record(tmp_path / "take" / "take.wav")
    with pytest.raises(AudioRNNError, match=r"take: would be replaced, but holds 'take.wav'"):
        inspection.inspect(take, tmp_path / "take")
    assert take.exists()


def test_a_file_is_not_replaced_by_a_folder(tmp_path):
    path = record(tmp_path / "take")
    with pytest.raises(AudioRNNError, match=r"take: is not a folder"):
        inspection.inspect(path, path)
    assert path.is_file()


def not_a_number(path: Path) -> None:
    sf.write(path, np.array([0.1, np.nan, 0.2]), 8000, subtype="FLOAT")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.mkdir(), "not a file"),
        (lambda path: path.write_text("these are words"), "not readable as audio"),
        (lambda path: sf.write(path, np.zeros(0), 8000), "empty"),
        (not_a_number, "holds samples that are not finite"),
    ],
)
def test_a_file_that_cannot_be_inspected_is_named_and_an_earlier_inspection_kept(make, says, tmp_path):
    inspection.inspect(record(tmp_path / "good.wav"), tmp_path / "out")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    bad = tmp_path / "bad.wav"
    make(bad)
    with pytest.raises(AudioRNNError, match=f"^{re.escape(str(bad))}: {says}"):
        inspection.inspect(bad, tmp_path / "out")
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    assert {path.name for path in tmp_path.iterdir()} <= {"good.wav", "bad.wav", "out"}


@given(
    st.lists(st.sampled_from(["a", "A", "b/a", "a-2", "A-2", "a-2-2", "ä", "🎻", "recording", "", "a b"]), max_size=8)
)
def test_no_two_files_get_the_same_folder_even_on_case_insensitive_file_systems(stems):
    names = inspection.folder_names([f"{stem}.wav" for stem in stems])
    assert len({name.lower() for name in names}) == len(stems)
    assert all(re.fullmatch(r"[A-Za-z0-9.-]+", name) for name in names)


# The command


@pytest.mark.slow
def test_the_command_prints_json_and_keeps_files_of_the_same_name_apart(tmp_path):
    record(tmp_path / "one" / "take.wav", seconds=0.25)
    record(tmp_path / "two" / "take.wav", 44100, 2, seconds=0.5)
    run = audiornn("inspect", "one/take.wav", "two/take.wav", "--output", "out", "--json", cwd=tmp_path)
    assert (run.returncode, run.stderr) == (0, "")
    one, two = json.loads(run.stdout)
    assert (one["file"], two["file"]) == ("one/take.wav", "two/take.wav")
    assert not set(one["steps"].values()) & set(two["steps"].values())
    for result, seconds in ((one, 0.25), (two, 0.5)):
        assert result["seconds"] == pytest.approx(seconds)
        for path in result["steps"].values():
            assert sf.info(tmp_path / path).duration == pytest.approx(seconds, abs=0.001)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["missing.wav"], "missing.wav: no such file"),
        (["good.wav", "--sample-rate", "0"], "sample_rate is 0, but must be"),
        (["good.wav", "--preemphasis", "1.5"], "preemphasis is 1.5, but must be"),
    ],
)
def test_errors_are_one_line_with_exit_code_2(arguments, says, tmp_path):
    record(tmp_path / "good.wav")
    run = audiornn("inspect", *arguments, "--output", "out", cwd=tmp_path)
    assert run.returncode == 2
    assert run.stdout == ""
    assert run.stderr.startswith("error: ")
    assert says in run.stderr
    assert run.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.fixture
def inspect(tmp_path, monkeypatch, capsys):
    """Run the command in this process, in a folder with a recording; give exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    sf.write(tmp_path / "take.wav", 0.3 + 0.3 * np.sin(np.arange(22050) / 10), 44100)

    def run(*arguments: str) -> tuple[int | str | None, str, str]:
        code: int | str | None = 0
        try:
            cli.main(["inspect", *arguments])
        except SystemExit as stop:
            code = stop.code
        return code, *capsys.readouterr()

    return run


def test_settings_come_from_params_yaml_unless_they_are_given(inspect, tmp_path):
    (tmp_path / "params.yaml").write_text(
        "resample: {sample_rate: 16000, highpass_hz: 0}\nencode: {preemphasis: 0.5}\n"
    )

    def settings(*options: str) -> tuple[int, bool, float]:
        code, out, _ = inspect("take.wav", "--output", "out", "--json", *options)
        assert code == 0
        (result,) = json.loads(out)
        heard = steps(result)
        kept_offset = bool(abs(heard["resampled"].mean()) > 0.1)
        rows = np.stack([heard["resampled"][:-1]], 1)
        difference = heard["resampled"][1:] - heard["emphasised"][1:]
        return result["sample_rate"], kept_offset, round(float(np.linalg.lstsq(rows, difference)[0][0]), 3)

    assert settings() == (16000, True, 0.5)
    assert settings("--sample-rate", "11025") == (11025, True, 0.5)
    assert settings("--highpass-hz", "20") == (16000, False, 0.5)
    assert settings("--preemphasis", "0.8") == (16000, True, 0.8)
    (tmp_path / "other.yaml").write_text("resample: {sample_rate: 4000}\n")
    assert settings("--params", "other.yaml") == (4000, False, 0.95)
    (tmp_path / "params.yaml").unlink()
    assert settings() == (8000, False, 0.95)


def test_an_invalid_params_yaml_is_named(inspect, tmp_path):
    (tmp_path / "params.yaml").write_text("resample: {sample_rte: 16000}\n")
    code, _, err = inspect("take.wav", "--output", "out")
    assert code == 2
    assert (
        err == "error: params.yaml: unknown key resample.sample_rte (value 16000); did you mean resample.sample_rate?\n"
    )


def test_a_missing_parameter_file_that_was_asked_for_is_an_error(inspect):
    code, _, err = inspect("take.wav", "--output", "out", "--params", "typo.yaml")
    assert (code, err) == (2, "error: typo.yaml: no such file\n")


def test_mutually_exclusive_options_are_an_error(inspect):
    code, _, err = inspect("take.wav", "--output", "out", "--sample-rate", "2000", "--highpass-hz", "1000")
    assert code == 2
    assert "highpass_hz is 1000, but must be below half of sample_rate" in err


def test_an_output_that_cannot_be_written_is_reported_in_one_line(inspect, tmp_path):
    code, _, err = inspect("take.wav", "--output", "take.wav/below-a-file")
    assert code == 2
    assert re.fullmatch(r"error: .*take\.wav/below-a-file.*\n", err)


def test_the_text_shows_the_numbers_and_the_files_to_listen_to(inspect):
    code, out, err = inspect("take.wav", "--output", "out")
    assert (code, err) == (0, "")
    assert re.match(
        r"take\.wav: 0\.50 s, 44100 Hz, 1 channels -> 8000 Hz; SNR \d+\.\d dB, -?\d+\.\d dB above 2000 Hz", out
    )
    listed = re.findall(r"^  \w+ +(\S+)$", out, re.M)
    assert {Path(path).name for path in listed if Path(path).is_file()} == FILES


@pytest.mark.skipif(os.name != "posix", reason="names of any bytes are POSIX")
@pytest.mark.slow
def test_a_file_name_of_any_bytes_can_be_inspected_and_printed(tmp_path):
    name = os.fsdecode(b"caf\xe9.wav")
    try:
        record(tmp_path / name)
    except OSError:
        pytest.skip("this file system does not allow the name")
    run = audiornn("inspect", os.fsencode(name), "--output", os.fsdecode(b"caf\xe9"), cwd=tmp_path)
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.startswith("caf")
    assert {path.name for path in (tmp_path / os.fsdecode(b"caf\xe9") / "caf").iterdir()} == FILES


def test_help_is_printed_without_waiting_for_heavy_imports(tmp_path):
    script = (
        "import runpy, sys\n"
        "sys.argv = ['audiornn', '--help']\n"
        "try:\n    runpy.run_module('audiornn.cli', run_name='__main__')\n"
        "except SystemExit as stop:\n    assert not stop.code\n"
        "print('loaded:', *sorted({'tensorflow', 'keras', 'mlflow', 'scipy', 'pydantic', 'numpy'} & set(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "inspect" in run.stdout
    assert run.stdout.endswith("loaded:\n")
