"""The rule for the champion: bits and sound, the same whichever of the two came first."""

import itertools

import pytest

from audiornn.ranking import Standing, replaces

GOOD = Standing(4.0, 0.8, 0.0)
EVERY = [
    Standing(bits, ratio, flawed)
    for bits in (3.5, 4.0)
    for ratio, flawed in ((0.5, 0.0), (0.7, 0.25), (1.0, 0.0), (0.6, 0.5), (1.3, 0.0), (None, 1.0), (None, None))
]


@pytest.mark.parametrize(
    ("standing", "acceptable"),
    [
        (Standing(4.0, 1.0, 0.25), True),
        (Standing(4.0, 1.01, 0.0), False),
        (Standing(4.0, 0.5, 0.375), False),
        (Standing(4.0, None, 1.0), False),
        (Standing(4.0), False),
    ],
)
def test_a_sound_is_acceptable_within_the_limit_and_with_few_flawed_clips(standing, acceptable):
    assert standing.acceptable is acceptable


@pytest.mark.parametrize(
    ("challenger", "wins", "by"),
    [
        (Standing(3.0, 1.1, 0.0), False, "sound"),  # the best predictor of all, but not by ear
        (Standing(3.0, 0.7, 0.5), False, "sound"),
        (Standing(3.9, 0.79, 0.125), True, "bits"),  # a flawed clip of eight is chance
        (Standing(3.0), False, "sound"),
        (Standing(3.9, 0.94, 0.25), True, "bits"),
        (Standing(4.0, 0.7, 0.0), False, "bits"),  # a tie
        (Standing(3.9, 0.96, 0.0), False, "distance"),
        (Standing(4.5, 0.6, 0.0), True, "distance"),
    ],
)
def test_only_a_better_model_with_acceptable_sound_replaces_a_champion_with_acceptable_sound(challenger, wins, by):
    better, reason = replaces(challenger, GOOD)
    assert better is wins
    assert reason.startswith(by)


@pytest.mark.parametrize(
    ("challenger", "champion", "wins"),
    [
        (Standing(5.0, 1.1, 0.0), Standing(3.0, 1.2, 0.0), False),  # chance: bits decide
        (Standing(5.0, 1.1, 0.0), Standing(3.0, 1.3, 0.0), True),
        (Standing(3.0, 1.3, 0.0), Standing(5.0, 1.1, 0.0), False),
        (Standing(3.0, 1.2, 0.0), Standing(3.5, 1.2, 0.0), True),
        (Standing(5.0, 1.5, 0.5), Standing(3.0, 1.1, 1.0), True),  # one good clip among silent ones is no good sound
        (Standing(5.0, 1.9, 1.0), Standing(3.0, None, 1.0), True),  # noise is nearer than silence
        (Standing(3.0, None, 1.0), Standing(5.0, None, 1.0), True),
        (Standing(3.0, 1.2, 0.0), Standing(5.0), False),
        (Standing(3.0), Standing(5.0, 1.2, 0.0), False),
        (Standing(3.0), Standing(5.0), True),
    ],
)
def test_without_acceptable_sound_clear_differences_of_sound_decide_before_bits(challenger, champion, wins):
    assert replaces(challenger, champion)[0] is wins


def test_differences_within_noise_do_not_decide_around_the_limit():
    inside, outside = Standing(4.0, 0.98, 0.25), Standing(3.9, 1.04, 0.375)
    assert replaces(outside, inside) == (True, "bits, as both sound alike")
    assert replaces(inside, outside) == (False, "bits, as both sound alike")


def test_at_most_one_of_two_models_is_better_in_either_order():
    for a, b in itertools.product(EVERY, EVERY):
        (one, reason), (other, same) = replaces(a, b), replaces(b, a)
        assert not (one and other)
        assert reason == same
        if a.heard and b.heard and a.bits != b.bits and a.ratio != b.ratio:
            assert one != other, "and one of them is, unless they tie"
