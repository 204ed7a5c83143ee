"""How models sound is measured on the same task for all, and summed up so that silence does not look good."""

import numpy as np
import pytest

from audiornn.diagnostics.diagnosis import diagnose
from audiornn.diagnostics.reference import Reference
from audiornn.generation import sound_quality
from audiornn.generation.sound_quality import Measured
from audiornn.models import storage
from audiornn.params import Generate
from tests.conftest import CODEC


@pytest.fixture(scope="module")
def reference():
    random = np.random.default_rng(0)
    swing = 1 + np.sin(2 * np.pi * 3 * np.arange(160_000) / 8000)
    return Reference.of([0.1 * swing * np.cumsum(random.normal(0, 0.1, 160_000)) % 0.3], 8000)


def test_the_mean_covers_only_audible_clips_and_all_others_have_findings(reference):
    silent = diagnose(np.zeros(32_000), 8000, reference)
    hum = diagnose(0.3 * np.sin(2 * np.pi * 200 * np.arange(32_000) / 8000), 8000, reference)
    good = diagnose(reference.passages[0][:32_000], 8000, reference)
    assert (silent.distance_db, good.findings) == (None, ())
    limit = reference.limit(4.0)
    measured = Measured.of([silent, hum, good, good], limit)
    assert measured.distance_db == pytest.approx((hum.distance_db + 2 * good.distance_db) / 3)
    assert measured.distance_ratio == pytest.approx(measured.distance_db / limit)
    assert measured.clips_with_findings == 0.5
    assert measured.findings == {"silent": 1, "tone": 1, "far-from-reference": 1}
    assert measured.metrics()["findings"] == 3
    assert "50% of clips with findings (far-from-reference 1, silent 1, tone 1)" in measured.describe()


def test_silence_has_no_distance_but_findings(reference):
    silent = diagnose(np.zeros(32_000), 8000, reference)
    metrics = Measured.of([silent] * 8, 5.0).metrics()
    assert metrics == {
        "distance_db": None,
        "distance_limit_db": 5.0,
        "distance_ratio": None,
        "findings": 8,
        "clips_with_findings": 1.0,
    }
    assert Measured.of([silent], 5.0).describe().startswith("silent, real audio stays within 5.0 dB; 100% of clips")


@pytest.mark.slow
def test_sound_is_measured_on_the_same_clips_for_any_requested_clips(make_split, sine_codes, monkeypatch):
    monkeypatch.setattr(sound_quality, "SECONDS", 1.5)
    monkeypatch.setattr(sound_quality, "PROMPT_SECONDS", 3.0)  # longer than the recording
    split, _ = make_split({"sine": sine_codes}, 64, 256)
    model = storage.build("audiornn", dense=4, units=4, layers=1)
    model.codec = CODEC
    asked = [
        Generate(),
        Generate(seconds=1, count=3, temperature=(0.5, 2.0), seed=7, peak_mode="normalise", prompt=None),
        Generate(top_k=1),
    ]
    first, same, other = (sound_quality.measure(model, p, split) for p in asked)
    assert first == same
    assert first != other, "but draws are restricted as they are where the model is used"
