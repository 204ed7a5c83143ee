"""Code counts, and the divergence of two distributions of codes."""

import numpy as np
import scipy
from numpy.typing import ArrayLike

from audiornn.codec import CODES
from audiornn.common.array_types import Counts


def jensen_shannon_bits(counts: ArrayLike, others: ArrayLike) -> float:
    """Jensen-Shannon divergence in bits between two distributions of codes, given as counts [256].

    0 for equal distributions, 1 for disjoint ones. A sample of `n` codes differs from a much larger one of the same
    distribution by about `255 / (8 n ln 2)`.
    """
    p, q = np.asarray(counts, float), np.asarray(others, float)
    return float(scipy.spatial.distance.jensenshannon(p, q, base=2) ** 2)


def code_counts(codes: ArrayLike) -> Counts:
    """Counts int [256] of the codes in an array of any shape."""
    return np.bincount(np.ravel(codes), minlength=CODES)
