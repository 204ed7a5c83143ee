"""What the division into training, validation and test promises: nothing leaks, nothing is lost, no split is empty."""

import re
from collections.abc import Mapping

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from audiornn.common.errors import AudioRNNError
from audiornn.dataset.split import SPLITS, CodeRange, divide

names = st.text("abcdefgh-0123456789é ", min_size=1, max_size=6)
shares = st.tuples(st.floats(0.01, 0.9), st.floats(0.01, 0.9)).filter(lambda both: sum(both) < 0.95)
seeds = st.integers(0, 2**31 - 1)
contexts = st.integers(1, 400)
corpora = st.dictionaries(names, st.integers(0, 3000), min_size=1, max_size=12)


def similar(count: int) -> dict[str, int]:
    """Recordings of 90 to 110 thousand codes."""
    return {f"take-{i}": 90_000 + 7919 * i % 20_000 for i in range(count)}


def split_of(splits: Mapping[str, list[CodeRange]]) -> dict[str, str]:
    return {piece.recording: split for split, pieces in splits.items() for piece in pieces}


def shares_of(splits: Mapping[str, list[CodeRange]]) -> dict[str, float]:
    codes = {split: sum(piece.stop - piece.start for piece in pieces) for split, pieces in splits.items()}
    return {split: n / sum(codes.values()) for split, n in codes.items()}


# --- Three recordings or more: whole recordings ------------------------------------------------------------------


@given(corpora, shares, contexts, seeds)
def test_every_recording_that_can_hold_a_target_is_entirely_in_one_split(lengths, both, context, seed):
    long = {name: n for name, n in lengths.items() if n > context}
    assume(len(long) >= 3)
    splits, short = divide(lengths, *both, context, seed)
    pieces = [piece for split in SPLITS for piece in splits[split]]
    assert list(splits) == list(SPLITS)
    assert all(splits.values())
    assert sorted(pieces, key=lambda p: p.recording) == [CodeRange(name, 0, long[name]) for name in sorted(long)]
    assert short == sorted(set(lengths) - set(long))


@given(shares, seeds)
def test_splits_of_many_recordings_have_the_requested_shares(both, seed):
    splits, _ = divide(similar(200), *both, 256, seed)
    found = shares_of(splits)
    assert [found["validation"], found["test"]] == pytest.approx(both, abs=0.02)


@given(st.randoms(use_true_random=True), st.tuples(contexts, contexts), seeds)
@pytest.mark.slow
def test_a_recording_is_in_the_same_split_whatever_the_context(random, both_contexts, seed):
    lengths = {f"take-{i}": random.randint(100, 20_000) for i in range(100)}  # every split has some that are long
    first, second = (split_of(divide(lengths, 0.1, 0.1, 20 * context, seed)[0]) for context in both_contexts)
    both = first.keys() & second.keys()
    assert {name: first[name] for name in both} == {name: second[name] for name in both}


@given(corpora, shares, contexts, seeds, st.randoms(use_true_random=False))
def test_the_order_in_which_recordings_are_found_does_not_matter(lengths, both, context, seed, random):
    assume(sum(n > context for n in lengths.values()) >= 3)
    order = list(lengths)
    random.shuffle(order)
    assert divide({name: lengths[name] for name in order}, *both, context, seed) == divide(
        lengths, *both, context, seed
    )


def test_the_division_is_the_same_on_every_machine():
    splits, _ = divide(similar(12), 0.2, 0.2, 256, 0)
    assert [piece.recording for piece in splits["validation"]] == ["take-9", "take-6", "take-2"]
    assert [piece.recording for piece in splits["test"]] == ["take-4", "take-7"]


def test_each_seed_has_its_own_division():
    divisions = {tuple(sorted(split_of(divide(similar(20), 0.1, 0.1, 256, seed)[0]).items())) for seed in range(50)}
    assert len(divisions) == 50


def test_over_many_seeds_each_recording_is_in_every_split():
    divisions = (split_of(divide(similar(10), 0.2, 0.2, 256, seed)[0]) for seed in range(100))
    been = {place for division in divisions for place in division.items()}
    assert len(been) == 10 * len(SPLITS)


# --- One long recording among short ones -------------------------------------------------------------------------


@given(
    st.lists(st.integers(300, 1000), min_size=2, max_size=30),
    st.integers(2, 200),
    st.tuples(st.floats(0.01, 1 / 3), st.floats(0.01, 1 / 3)),
    seeds,
)
def test_a_recording_that_outweighs_the_others_is_in_the_training_split(others, times, both, seed):
    lengths = {f"short-{i}": n for i, n in enumerate(others)} | {"giant": times * max(others)}
    assume(lengths["giant"] > min(both) * sum(lengths.values()))
    splits, _ = divide(lengths, *both, 256, seed)
    assert split_of(splits)["giant"] == "train"
    assert all(splits.values())


@pytest.mark.parametrize("seed", range(50))
def test_short_recordings_beside_a_giant_make_up_validation_and_test(seed):
    """Whenever the giant is drawn, the others do not first fill up the training split."""
    lengths = {"giant": 100_000} | {f"short-{i}": 500 for i in range(20)}
    splits, _ = divide(lengths, 0.1, 0.1, 256, seed)
    assert [len(splits[split]) for split in SPLITS] == [1, 10, 10]


# --- One or two recordings: by time ------------------------------------------------------------------------------


@given(st.dictionaries(names, st.integers(50, 5000), min_size=1, max_size=2), shares, st.integers(1, 60), seeds)
def test_one_or_two_recordings_are_divided_by_time_with_their_end_in_the_test_split(lengths, both, context, seed):
    try:
        splits, short = divide(lengths, *both, context, seed)
    except AudioRNNError:
        assume(False)
    goal = dict(zip(SPLITS, (1 - sum(both), *both), strict=True))
    assert all(splits.values())
    assert short == sorted(name for name, n in lengths.items() if n <= context)
    for name, n in lengths.items():
        pieces = {split: piece for split in SPLITS for piece in splits[split] if piece.recording == name}
        ends = [0, *(stop for piece in pieces.values() for stop in (piece.start, piece.stop)), n]
        assert ends == sorted(ends)  # in the order of time, without overlap
        assert all(piece.stop - piece.start > context for piece in pieces.values())
        for split in SPLITS if name not in short else ():
            if split in pieces:
                assert abs(pieces[split].stop - pieces[split].start - goal[split] * n) < 1.001  # both ends are rounded
            else:
                assert goal[split] * n < context + 1.001  # what is left out holds no target
        if len(pieces) == len(SPLITS):
            assert [end for i, end in enumerate(ends) if i % 2 == 0] == [end for i, end in enumerate(ends) if i % 2]


def test_the_start_of_a_single_recording_is_for_training_and_its_end_for_testing():
    splits, short = divide({"only": 1000}, 0.1, 0.2, 50)
    assert splits == {
        "train": [CodeRange("only", 0, 700)],
        "validation": [CodeRange("only", 700, 800)],
        "test": [CodeRange("only", 800, 1000)],
    }
    assert short == []


def test_recordings_without_a_target_do_not_count_towards_the_three_needed_to_keep_them_whole():
    splits, short = divide({"a": 1000, "b": 2000, "short": 50, "empty": 0}, 0.2, 0.2, 50)
    assert splits["train"] == [CodeRange("a", 0, 600), CodeRange("b", 0, 1200)]
    assert short == ["empty", "short"]


# --- Impossible requests -----------------------------------------------------------------------------------------


@given(corpora, shares, seeds)
def test_a_context_longer_than_every_recording_is_an_error_with_both_lengths(lengths, both, seed):
    longest = max(lengths.values())
    with pytest.raises(AudioRNNError) as error:
        divide(lengths, *both, longest + 1, seed)
    (line,) = str(error.value).splitlines()
    assert line.startswith(f"shard.context is {longest + 1} codes, but the longest recording has {longest}: ")


@example({"only": 5}, (0.3786, 0.1037), 1)  # rounding both ends of a split is not rounding its length
@given(st.dictionaries(names, st.integers(1, 300), min_size=1, max_size=2), shares, st.integers(1, 100))
def test_a_split_by_time_that_is_too_short_is_an_error_with_its_length_and_the_context(lengths, both, context):
    assume(max(lengths.values()) > context)
    goal = dict(zip(SPLITS, (1 - sum(both), *both), strict=True))
    try:
        divide(lengths, *both, context)
    except AudioRNNError as error:
        form = (
            r"shard.context is (\d+) codes, but the (\w+) split of the longest recording, (\d+) codes "
            r"divided by time, has (\d+): .+"
        )
        given_context, split, longest, has = re.fullmatch(form, str(error)).groups()
        assert (int(given_context), int(longest)) == (context, max(lengths.values()))
        assert int(has) <= context
        assert abs(int(has) - goal[split] * int(longest)) < 1.001
    else:
        assert min(goal.values()) * max(lengths.values()) > context - 0.001
