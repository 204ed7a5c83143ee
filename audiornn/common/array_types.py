"""Types of arrays in signatures.

Shapes are written in docstrings, with a name for each axis:

| axis | length |
|---|---|
| n, m | samples or codes of one recording, clip or block |
| channels | of a recording |
| clips, streams, batch | sequences side by side |
| frames | spectra of a wave |
| bins, bands | frequencies of a spectrum, linear and mel |
| 256 | codes |
"""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Codes: TypeAlias = NDArray[np.uint8]  # µ-law codes, 0 to 255
Counts: TypeAlias = NDArray[np.int64]  # how often each code occurs, [256]
Floats: TypeAlias = NDArray[np.float64]  # any numbers in double precision
Wave: TypeAlias = NDArray[np.float64]  # amplitudes, full scale at ±1
Logits: TypeAlias = NDArray[np.float32]  # unnormalised log-probabilities of the next code, [..., 256]
Samples: TypeAlias = NDArray[np.floating]  # amplitudes in whatever precision a file or a filter has
Tensor: TypeAlias = Any  # of TensorFlow, which has no types that mypy could read
