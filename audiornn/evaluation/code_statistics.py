"""How often each code occurs, and how far two distributions are apart."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial import distance

from audiornn.array_types import Counts
from audiornn.codec import CODES


def jensen_shannon_bits(counts: ArrayLike, others: ArrayLike) -> float:
    """Jensen-Shannon divergence in bits between two distributions of codes, given as counts [256].

    0 for the same distribution, 1 for two that have no code in common. A small sample of a distribution is some way off
    it by chance: about `255 / (8 n ln 2)` for `n` samples beside very many.
    """
    return float(distance.jensenshannon(np.asarray(counts, float), np.asarray(others, float), base=2) ** 2)


def code_counts(codes: ArrayLike) -> Counts:
    """How often each code is among codes of any shape: int [256]."""
    return np.bincount(np.ravel(codes), minlength=CODES)
