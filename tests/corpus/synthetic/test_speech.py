"""Synthesised speech: several voices, neither silent nor clipped, whatever else uses espeak-ng in the process."""

import locale
from collections import Counter
from pathlib import Path

import espeakng_loader
import numpy as np
import pytest
import soundfile as sf

from audiornn.common.errors import AudioRNNError
from audiornn.corpus.synthetic import speech as spoken_corpora
from audiornn.corpus.synthetic.speech import speech
from tests.helpers.corpora import digest, voice_of


def spoken_pitch(path: Path) -> float:
    """Median pitch in Hz of the voiced stretches, by autocorrelation."""
    samples, rate = sf.read(path)
    pitches = []
    for start in range(0, len(samples) - 1024, 1024):
        frame = samples[start : start + 1024]
        correlation = np.correlate(frame, frame, "full")[1023:]
        lag = rate // 400 + int(correlation[rate // 400 : rate // 60].argmax())
        if frame.std() > 0.03 and correlation[lag] > 0.5 * correlation[0]:
            pitches.append(rate / lag)
    return float(np.median(pitches))


def test_other_use_of_espeak_in_the_process_does_not_change_the_corpus(tmp_path):
    before = digest(speech(tmp_path / "before", 0.1))
    other = espeakng_loader.load_library()
    other.espeak_Initialize(2, 0, espeakng_loader.get_data_path().encode(), 0)
    other.espeak_SetParameter(1, 300, 0)
    assert digest(speech(tmp_path / "after", 0.1)) == before


def test_every_voice_is_heard_more_than_once_in_a_minute(spoken):
    heard = Counter(map(voice_of, spoken))
    assert set(heard) == {voice.label for voice in spoken_corpora.VOICES}
    assert len(heard) >= 4
    assert min(heard.values()) >= 2


def test_the_voices_differ(spoken):
    pitch = {voice_of(path): spoken_pitch(path) for path in spoken}
    assert max(pitch.values()) > 1.5 * min(pitch.values())
    espeak = spoken_corpora._Espeak()
    renderings = {espeak.say("The same words every time.", voice).tobytes() for voice in spoken_corpora.VOICES}
    espeak.close()
    assert len(renderings) == len(spoken_corpora.VOICES)


def test_speech_ends_with_a_short_pause_and_is_nowhere_digital_silence(spoken, tmp_path):
    for path in [*spoken[:5], *speech(tmp_path, 0.3)]:
        samples, rate = sf.read(path, dtype="int16")
        quiet = np.abs(samples) <= 55
        assert quiet[-round(0.07 * rate) :].all() and not quiet[-round(0.15 * rate) :].all()
        assert not (np.convolve(samples == 0, np.ones(8), "valid") == 8).any()


def test_speech_is_neither_silent_nor_clipped(spoken, tmp_path):
    for path in [*spoken, *speech(tmp_path, 0.3)]:
        samples, _ = sf.read(path)
        assert 0.2 < np.abs(samples).max() < 0.98
        assert 0.03 < samples.std() < 0.3
        assert abs(samples.mean()) < 0.003


def test_a_missing_library_is_one_clear_error(tmp_path, monkeypatch):
    monkeypatch.setattr(espeakng_loader, "get_library_path", lambda: str(tmp_path / "gone.so"))
    with pytest.raises(AudioRNNError, match=r"espeak-ng .* cannot be loaded: .*gone\.so"):
        speech(tmp_path, 1)


def test_missing_voice_data_is_one_clear_error(tmp_path, monkeypatch):
    monkeypatch.setattr(espeakng_loader, "get_data_path", lambda: str(tmp_path))
    with pytest.raises(AudioRNNError, match="cannot read its voices"):
        speech(tmp_path, 1)


def test_an_unknown_voice_is_one_clear_error(tmp_path, monkeypatch):
    monkeypatch.setattr(spoken_corpora, "CLEAR_VOICE", spoken_corpora.Voice("martian", "mars+m1", 160, 50))
    with pytest.raises(AudioRNNError, match="no voice 'mars"):
        speech(tmp_path, 1)


def test_speaking_leaves_the_locale_of_the_process_alone(tmp_path):
    before = locale.setlocale(locale.LC_CTYPE)
    locale.setlocale(locale.LC_CTYPE, "C")
    try:
        speech(tmp_path, 0.01)
        assert locale.setlocale(locale.LC_CTYPE) == "C"
    finally:
        locale.setlocale(locale.LC_CTYPE, before)
