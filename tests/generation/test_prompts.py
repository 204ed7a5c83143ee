"""A prompt is a piece of any recording, or an error names the file and what is wrong with it."""

import numpy as np
import pytest
import soundfile as sf

from audiornn import codec
from audiornn.common.errors import AudioRNNError
from audiornn.generation.prompts import file_prompt
from tests.conftest import CODEC


def test_a_file_of_any_rate_and_channels_is_a_prompt(tmp_path):
    time = np.arange(44_100) / 44_100
    wave = 0.3 * np.sin(2 * np.pi * 300 * time)
    sf.write(tmp_path / "a.flac", np.stack([wave, wave], 1), 44_100)
    codes = file_prompt(tmp_path / "a.flac", 0.5, CODEC)
    assert codes.shape == (4000,)
    decoded = codec.decode(codes)[1000:]
    spectrum = np.abs(np.fft.rfft(decoded * np.hanning(len(decoded))))
    assert np.argmax(spectrum) * 8000 / len(decoded) == pytest.approx(300, abs=3)


def test_a_prompt_can_begin_anywhere_in_the_file(tmp_path):
    time = np.arange(16_000) / 8000
    sf.write(tmp_path / "p.wav", 0.3 * np.sin(2 * np.pi * np.where(time < 1, 300, 700) * time), 8000)
    decoded = codec.decode(file_prompt(tmp_path / "p.wav", 0.5, CODEC, 1.2))[1000:]
    spectrum = np.abs(np.fft.rfft(decoded * np.hanning(len(decoded))))
    assert np.argmax(spectrum) * 8000 / len(decoded) == pytest.approx(700, abs=3)


@pytest.mark.parametrize(
    ("wave", "arguments", "said"),
    [
        (np.zeros(8000), (0.5,), "silent: all samples are 0"),
        (np.append(np.zeros(8000), 0.1), (0.5,), "silent from 0 s for 0.5 s"),
        (0.1 * np.sin(np.arange(800)), (0.5,), "has 0.10 s, but the prompt should be 0.5 s"),
        (0.1 * np.sin(np.arange(8000)), (0.5, 0.8), "has 1.00 s, but the prompt should be 0.5 s long, from 0.8 s on"),
        (0.1 * np.sin(np.arange(8000)), (0.5, 3.0), "has 1.00 s, but the prompt should start at 3 s"),
        (np.zeros(0), (0.5,), "empty"),
        (None, (0.5,), "no such file"),
    ],
)
def test_an_unusable_prompt_is_an_error_that_names_the_file(tmp_path, wave, arguments, said):
    path = tmp_path / "p.wav"
    if wave is not None:
        sf.write(path, wave, 8000)
    with pytest.raises(AudioRNNError, match=said) as caught:
        file_prompt(path, arguments[0], CODEC, *arguments[1:])
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
