"""An excerpt has the length that was asked for, and its passages are passages of it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

TOOL = Path(__file__).parents[2] / "tools/excerpt.py"


def excerpt(folder, *options):
    command = [sys.executable, TOOL, folder, "--to", folder / "made", *map(str, options)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def write(folder, name, seconds, rate, level=0.5):
    sf.write(folder / name, level * np.sin(np.arange(round(seconds * rate)) / 3), rate)


def test_an_excerpt_joins_recordings_with_sound_up_to_its_length(tmp_path):
    write(tmp_path, "a.wav", 0.5, 8000)
    write(tmp_path, "b.wav", 1, 8000, 0.001)  # silent
    write(tmp_path, "c.flac", 1, 16_000)
    done = excerpt(tmp_path, "--seconds", 1.25, "--passages", 0.25)
    assert done.stdout == f"{tmp_path / 'made'}: 1.25 s at 8000 Hz, of 2 recordings\n", done.stderr
    whole, rate = sf.read(tmp_path / "made/recording.wav")
    assert (len(whole), rate) == (10_000, 8000)
    assert np.array_equal(sf.read(tmp_path / "made/validation.wav")[0], whole[:2000])
    assert np.array_equal(sf.read(tmp_path / "made/test.wav")[0], whole[5000:7000])
    again = excerpt(tmp_path, "--seconds", 1)
    assert (again.returncode, again.stderr) == (1, f"error: {tmp_path / 'made'}: exists already\n")


def test_an_excerpt_starts_where_it_is_asked_to(tmp_path):
    for name in "abc":
        write(tmp_path, f"{name}.wav", 1, 8000, 0.1 * "abc".index(name) + 0.1)
    done = excerpt(tmp_path, "--skip", 1, "--start", 0.75, "--seconds", 0.5)
    assert done.stdout == f"{tmp_path / 'made'}: 0.5 s at 8000 Hz, of 2 recordings\n", done.stderr
    found, _ = sf.read(tmp_path / "made/recording.wav")
    b, c = (sf.read(tmp_path / f"{name}.wav")[0] for name in "bc")
    assert np.array_equal(found, [*b[6000:], *c[:2000]])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--seconds", 2], "{folder}: has 0.5 s of sound, but --start is 0 and --seconds 2"),
        (["--seconds", 0.3, "--start", 0.3], "{folder}: has 0.5 s of sound, but --start is 0.3 and --seconds 0.3"),
        (["--seconds", 0.3, "--start", -1], "--start is -1, but must be at least 0"),
        (["--seconds", "nan"], "--seconds is nan, but must be above 0"),
        (["--seconds", 0.3, "--passages", 0.2], "--passages is 0.2, but must be from 0 to half of --seconds"),
    ],
)
def test_an_impossible_excerpt_is_reported_and_nothing_is_written(tmp_path, options, said):
    write(tmp_path, "a.wav", 0.5, 8000)
    done = excerpt(tmp_path, *options)
    assert (done.returncode, done.stderr) == (1, f"error: {said.format(folder=tmp_path)}\n")
    assert not (tmp_path / "made").exists()
