"""How codes are distributed, and how far two distributions are apart."""

import math

import numpy as np
import pytest

from audiornn.codec import CODES
from audiornn.evaluation import code_statistics


def test_the_divergence_of_two_distributions_is_from_0_to_1():
    a, b = np.zeros(CODES), np.zeros(CODES)
    a[:128], b[128:] = 3, 5
    assert code_statistics.jensen_shannon_bits(a, 7 * a) == pytest.approx(0, abs=1e-9)
    assert code_statistics.jensen_shannon_bits(a, b) == pytest.approx(1)
    assert code_statistics.jensen_shannon_bits(a + b, a) == code_statistics.jensen_shannon_bits(a, a + b) > 0.1
    few = code_statistics.code_counts(np.random.default_rng(0).integers(0, CODES, 20_000))
    assert few.sum() == 20_000
    by_chance = 255 / (8 * 20_000 * math.log(2))
    assert code_statistics.jensen_shannon_bits(few, np.ones(CODES)) == pytest.approx(by_chance, rel=0.3)
