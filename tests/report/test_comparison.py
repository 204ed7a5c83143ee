"""Clips of all settings on one page: whole without a network, safe whatever is in it, of bounded size."""

import io

import numpy as np
import pytest
import soundfile as sf

from audiornn.report import comparison
from audiornn.report.comparison import ComparedClip, ComparedSetting, Comparison
from tests.helpers.html_page import NASTY, Parsed


def wav(seconds=0.1, rate=8000):
    held = io.BytesIO()
    sf.write(held, 0.3 * np.sin(np.arange(round(seconds * rate)) / 5), rate, format="WAV")
    return held.getvalue()


@pytest.fixture
def page():
    settings = [
        ComparedSetting(
            f"{NASTY}{i}", [NASTY], [ComparedClip("01", wav(), "same", NASTY), ComparedClip("02", wav(), f"{i}")]
        )
        for i in range(2)
    ]
    settings.append(ComparedSetting("c", [], [], f"gone {NASTY}"))
    table = [{"setting": NASTY, "bits": 4.123456, "none": None}]
    return Comparison(NASTY, NASTY, NASTY, settings, 3, ComparedClip("real", wav()), {NASTY: b"\x89PNG"}, table)


def test_clips_of_all_settings_are_side_by_side_and_all_text_is_escaped(page):
    text = comparison.render(page)
    found = Parsed(text)
    assert not found.all("script") and "<script" not in text
    players = found.all("audio")
    assert len(players) == 2 * 2 + 1
    assert all(player["src"].startswith("data:audio/wav;base64,") for player in players)
    assert all(image["src"].startswith("data:image/png;base64,") for image in found.all("img"))
    assert not found.all("link") and "http" not in text.replace("http-equiv", "")
    assert found.text.count("Same prompt, same random numbers.") == 1
    assert found.text.count("The prompts or random numbers differ.") == 1
    assert f"gone {NASTY}" in found.text and "3 more settings are in MLflow alone" in found.text
    assert "4.1235" in found.text


@pytest.mark.slow
def test_long_clips_are_cut_and_the_size_of_a_page_is_bounded(page, monkeypatch):
    monkeypatch.setattr(comparison, "MAX_SECONDS", 0.05)
    cut = Parsed(comparison.render(page)).all("audio")[0]["src"]
    whole = 4 / 3 * len(wav())
    assert len(cut) < 0.6 * whole
    monkeypatch.setattr(comparison, "MAX_BYTES", 100_000)
    text = comparison.render(page)
    assert len(text) < 120_000 and "clips had no room on this page" in text
