"""Features that clips are judged by."""

import numpy as np
import pytest

from audiornn.diagnostics import features
from audiornn.diagnostics.features import mel_bank


@pytest.mark.parametrize("rate", [1000, 8000, 44100])
def test_mel_bands_cover_the_spectrum_without_a_gap(rate):
    bank = mel_bank(round(0.032 * rate) // 2 + 1, rate)
    frequencies = np.linspace(0, rate / 2, bank.shape[1])
    assert len(bank) <= features.BANDS
    assert bank.any(axis=1).all()
    assert bank.any(axis=0)[(frequencies > 50) & (frequencies < 0.49 * rate)].all()
    assert (np.diff(bank.argmax(axis=1)) >= 0).all()
    if rate >= 8000:
        np.testing.assert_allclose(bank.sum(axis=0)[(frequencies > 150) & (frequencies < 0.4 * rate)], 1)
