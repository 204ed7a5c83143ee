"""An excerpt has the length that was asked for, and its passages are passages of it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
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


def test_too_little_sound_is_reported_and_nothing_is_written(tmp_path):
    write(tmp_path, "a.wav", 0.5, 8000)
    done = excerpt(tmp_path, "--seconds", 2)
    assert (done.returncode, done.stderr) == (1, f"error: {tmp_path}: has 0.5 s of sound, but --seconds is 2\n")
    assert not (tmp_path / "made").exists()
