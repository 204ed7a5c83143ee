"""The cascade of linear predictors as an object: its parameters, tables, states; see `linear_prediction`."""

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiornn.kernels.arrays import Float32, Float64
from audiornn.kernels.jit import f32
from audiornn.kernels.linear_prediction import (
    AMPLITUDES,
    LMS_ORDER,
    PredictorScratch,
    PredictorState,
    PredictorTables,
    feature_columns,
    step_codes,
)
from audiornn.kernels.normal_equations import STRIDE

TAPER = 16  # samples at the newest end of a window over which it falls to zero
SCALE_START = 0.01
DEFAULT_RATE = 8000  # Hz
DEFAULT = ((64, 256, 8), (32, 200, 4), (16, 128, 4), (96, 400, 16), (48, 160, 8))  # at that rate


class Predictor:
    """A cascade of linear predictors that follow a stream of codes.

    Parameters
    ----------
    predictors
        Of each of the first stage's predictors: its order, the window in codes that it is computed from (longer than
        the order and than 16), and after how many codes it is updated (a power of two up to 1024).

    Attributes
    ----------
    columns
        Of what `process` gives for each code.
    n_features
        How many columns.
    n_other_predictions
        Predictions per code, other than the cascade's: the mixture's, and each single predictor's.
    layout
        Where the parts of a stream's state are.
    state_size
        Values in a stream's state.
    tables
        For `step_codes`.
    """

    def __init__(self, predictors: Sequence[Sequence[int]] = DEFAULT) -> None:
        self.predictors = tuple(tuple(int(n) for n in p) for p in predictors)
        if not self.predictors:
            raise ValueError("at least one predictor is needed")
        for p in self.predictors:
            if len(p) != 3:
                raise ValueError(f"predictor {list(p)} must be [order, window, update interval]")
            order, window, update_interval = p
            if not (1 <= order < window and window > TAPER):
                raise ValueError(f"predictor {list(p)}: its window must be longer than its order and than {TAPER}")
            if not (1 <= update_interval <= 1024 and update_interval & (update_interval - 1) == 0):
                raise ValueError(f"predictor {list(p)}: its update interval must be a power of two, 1 to 1024")
        k = len(self.predictors)
        self.columns = feature_columns(k)
        self.n_features = self.columns.residual + 1
        self.n_other_predictions = k + 1
        orders, lengths, update_intervals = np.array(self.predictors, np.int64).T.copy()
        self.longest = int(lengths.max())
        windows = np.zeros((k, self.longest), f32)
        for row, length in zip(windows, lengths, strict=True):
            row[:length] = analysis_window(int(length))
        sizes = PredictorState(
            sample_count=1,
            history_fill=1,
            history=2 * self.longest,
            coefficients=int(orders.sum()),
            moments=k * k,
            products=k,
            mixture_weights=k,
            lms_weights=LMS_ORDER,
            lms_inputs=LMS_ORDER,
            features=self.columns.residual,
        )
        edges = list(accumulate(sizes, initial=0))
        self.layout: PredictorState[slice] = PredictorState(*(slice(a, b) for a, b in pairwise(edges)))
        self.state_size = edges[-1]
        offsets = orders.cumsum() - orders
        self.tables = PredictorTables(
            orders=orders,
            window_lengths=lengths,
            update_intervals=update_intervals,
            coefficient_offsets=offsets,
            windows=windows,
            layout=self.layout,
            columns=self.columns,
            amplitudes=AMPLITUDES,
        )

    def initial_state(self, streams: int) -> Float32:
        """State float32 [streams, state_size] before the first code."""
        state = np.zeros((streams, self.state_size), f32)
        features = state[:, self.layout.features]
        features[:, self.columns.cascade_errors] = SCALE_START
        features[:, self.columns.other_errors] = SCALE_START
        return state

    def scratch(self) -> PredictorScratch:
        """Room for `step_codes` to work in."""
        k, n = len(self.predictors), 2 * self.longest + STRIDE
        return PredictorScratch(
            windowed=np.empty(n, f32),
            correlation=np.empty(n, f32),
            solution=np.empty(n, f32),
            reversed_coefficients=np.empty(n, f32),
            reversed_correlation=np.empty(n, f32),
            deviation=np.empty(k),
            forward_solution=np.empty(k),
            cholesky=np.empty((k, k)),
        )

    def process(self, codes: NDArray[Any], state: Float32) -> tuple[Float32, Float32]:
        """Follow streams of codes.

        Parameters
        ----------
        codes
            Integers [streams, n], 0 to 255.
        state
            float32 [streams, state_size], as `initial_state` or the last call gave it.

        Returns
        -------
        What is known of the next sample after each code, float32 [streams, n, n_features], see `FeatureColumns`; and
        the state after the last code, float32 [streams, state_size].
        """
        codes, after = np.ascontiguousarray(codes, np.uint8), np.array(state, f32, order="C")
        features = np.empty((*codes.shape, self.n_features), f32)
        for stream in range(len(codes)):
            step_codes(codes[stream], after[stream], features[stream], self.tables, self.scratch())
        return features, after


def analysis_window(n: int) -> Float64:
    """Rises as a squared sine over the older codes, falls as a cosine over the newest `TAPER`."""
    rise = np.sin(np.pi / 2 * (np.arange(n - TAPER) + 0.5) / (n - TAPER)) ** 2
    return np.concatenate([rise, np.cos(np.pi / 2 * (np.arange(TAPER) + 0.5) / TAPER)])
