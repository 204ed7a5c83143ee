"""The predictors look at the past alone, are the same in blocks and in steps, and survive any signal."""

import numpy as np
import pytest
from scipy.linalg import solve_toeplitz

from audiornn import codec
from audiornn.kernels import linear_prediction, normal_equations, predictor
from audiornn.kernels.linear_prediction import AMPLITUDES, DECAYS
from audiornn.kernels.predictor import Predictor

SMALL = ((8, 40, 4), (4, 24, 1), (12, 64, 16))


def speechlike(n, seed=0):
    """Codes of noise through a resonant filter whose loudness changes."""
    random = np.random.default_rng(seed)
    wave, noise = np.zeros(n), random.standard_normal(n) * np.repeat(random.uniform(0, 0.03, -(-n // 500)), 500)[:n]
    for t in range(2, n):
        wave[t] = 1.6 * wave[t - 1] - 0.8 * wave[t - 2] + noise[t]
    return codec.mu_law_encode(np.clip(wave, -1, 1))


SIGNALS = {
    "silence": np.full(3000, codec.SILENCE, np.uint8),
    "square wave": np.where(np.arange(3000) // 20 % 2, 255, 0).astype(np.uint8),
    "full scale up": np.full(3000, 255, np.uint8),
    "full scale down": np.zeros(3000, np.uint8),
    "noise": np.random.default_rng(0).integers(0, 256, 3000).astype(np.uint8),
    "silence, then a click": np.r_[np.full(2000, 128), 255, 0, np.full(998, 128)].astype(np.uint8),
    "sine": codec.mu_law_encode(0.7 * np.sin(np.arange(3000) * 0.35)),
    "speech": speechlike(3000),
}


@pytest.mark.parametrize("predictors", [SMALL, predictor.DEFAULT])
def test_no_prediction_depends_on_the_code_it_is_for_or_on_later_ones(predictors):
    p = Predictor(predictors)
    codes = np.stack([speechlike(1000, seed) for seed in range(2)])
    before, _ = p.process(codes, p.initial_state(2))
    for place in (0, 1, 16, 17, 500, 998):
        changed = codes.copy()
        changed[:, place + 1 :] = np.random.default_rng(place).integers(0, 256, changed[:, place + 1 :].shape)
        after, _ = p.process(changed, p.initial_state(2))
        np.testing.assert_array_equal(before[:, : place + 1], after[:, : place + 1])
    assert np.any(before[:, 999] != after[:, 999])


@pytest.mark.parametrize("name", SIGNALS)
def test_blocks_of_any_length_and_single_steps_give_the_same_bits(name):
    p = Predictor(SMALL)
    codes = np.stack([SIGNALS[name], SIGNALS[name][::-1]])
    whole, end = p.process(codes, p.initial_state(2))
    for lengths in ([1] * 400, [7, 1, 300, 64, 5], [2999]):
        state, made, first = p.initial_state(2), [], 0
        for length in [*lengths, 3000 - sum(lengths)]:
            features, state = p.process(codes[:, first : first + length], state)
            made.append(features)
            first += length
        np.testing.assert_array_equal(np.concatenate(made, axis=1), whole)
        np.testing.assert_array_equal(state, end)


@pytest.mark.parametrize("name", SIGNALS)
def test_predictions_are_stable_for_any_signal(name):
    p = Predictor()
    codes = np.tile(SIGNALS[name], 10)[None]
    features, state = p.process(codes, p.initial_state(1))
    assert np.isfinite(features).all()
    assert np.isfinite(state).all()
    columns = p.columns
    for predictions in (columns.cascade, columns.other_predictions):
        assert np.abs(features[..., predictions]).max() <= 1
    for errors in (columns.cascade_errors, columns.other_errors):
        assert features[..., errors].min() >= 0
        assert features[..., errors].max() <= 2


@pytest.mark.parametrize("name", ["silence", "full scale up", "sine"])
def test_repeating_signals_are_predicted(name):
    p = Predictor()
    features, _ = p.process(SIGNALS[name][None], p.initial_state(1))
    amplitudes = AMPLITUDES[SIGNALS[name]]
    error = amplitudes[2001:] - features[0, 2000:-1, p.columns.cascade]
    # The sine is known to half an interval of its codes only.
    assert np.sqrt(np.mean(error**2)) < 0.02 * max(np.sqrt(np.mean(amplitudes**2)), 0.05)


def test_the_counter_wraps_around_without_effect():
    p = Predictor(SMALL)
    codes = speechlike(2000)[None]
    _, state = p.process(codes[:, :1008], p.initial_state(1))
    late = state.copy()
    late[:, p.layout.sample_count] = linear_prediction.COUNTER_PERIOD - 1024 + 1008 % 1024
    (features, _), (features_late, end) = p.process(codes[:, 1008:], state), p.process(codes[:, 1008:], late)
    np.testing.assert_array_equal(features, features_late)
    assert end[0, p.layout.sample_count] < 2000


def test_streams_do_not_affect_each_other():
    p = Predictor(SMALL)
    codes = np.stack([SIGNALS["noise"], SIGNALS["speech"], SIGNALS["silence"]])
    together, states = p.process(codes, p.initial_state(3))
    for i in range(3):
        alone, state = p.process(codes[i : i + 1], p.initial_state(1))
        np.testing.assert_array_equal(alone[0], together[i])
        np.testing.assert_array_equal(state[0], states[i])


def test_a_single_predictor_solves_the_normal_equations_of_its_window():
    order, window = 10, 80
    p = Predictor([(order, window, 1)])
    codes = speechlike(400)
    features, _ = p.process(codes[None], p.initial_state(1))
    x = AMPLITUDES[codes].astype(np.float64)
    weights = predictor.analysis_window(window)
    for t in (100, 250, 399):
        windowed = x[t - window + 1 : t + 1] * weights
        r = np.array([windowed[: window - lag] @ windowed[lag:] for lag in range(order + 1)])
        column = r[:order].copy()
        column[0] = r[0] * (1 + normal_equations.RIDGE) + 1e-9
        a = solve_toeplitz(column, r[1:])
        assert features[0, t, p.columns.single_predictions] == pytest.approx(a @ x[t : t - order : -1], abs=2e-4)


def test_features_match_their_definitions():
    p = Predictor(SMALL)
    codes = speechlike(600)
    features = p.process(codes[None], p.initial_state(1))[0][0].astype(np.float64)
    assert features.shape == (600, p.n_features)
    x = AMPLITUDES[codes]
    columns = p.columns
    residual = x[1:] - features[:-1, columns.cascade]
    np.testing.assert_allclose(features[1:, columns.residual], residual, atol=1e-6)
    errors = features[:, columns.cascade_errors]
    for i, decay in enumerate(DECAYS):
        np.testing.assert_allclose(errors[1:, i], decay * errors[:-1, i] + (1 - decay) * np.abs(residual), atol=1e-6)
    for i in range(len(SMALL) + 1):
        column = features[:, columns.other_errors][:, i]
        e = np.abs(x[1:] - features[:-1, columns.other_predictions][:, i])
        np.testing.assert_allclose(column[1:], 0.8 * column[:-1] + 0.2 * e, atol=1e-6)


def test_each_stage_improves_on_the_previous_one():
    p = Predictor()
    codes = speechlike(20_000)
    features = p.process(codes[None], p.initial_state(1))[0][0]
    error = np.abs(AMPLITUDES[codes][1:, None] - features[:-1])[1000:].mean(axis=0)
    cascade, mixture, single = (error[c] for c in (p.columns.cascade, p.columns.mixture, p.columns.single_predictions))
    assert mixture < single.min()
    assert cascade < 1.01 * mixture
    assert mixture < 0.7 * np.abs(np.diff(AMPLITUDES[codes])).mean()  # than repeating the last sample


@pytest.mark.parametrize(
    ("predictors", "said"),
    [
        ([], "at least one"),
        ([(8, 40)], r"\[8, 40\] must be"),
        ([(40, 40, 4)], "window must be longer"),
        ([(4, 16, 4)], "window must be longer"),
        ([(8, 40, 3)], "power of two"),
        ([(8, 40, 2048)], "power of two"),
    ],
)
def test_impossible_predictors_are_refused(predictors, said):
    with pytest.raises(ValueError, match=said):
        Predictor(predictors)
