"""What a comparison says: means, errors, and no difference where there is none."""

from dataclasses import replace

import pytest

from audiornn.experiments import summary
from audiornn.experiments.summary import COLUMNS, Case


def case(label, bits, seconds=10.0):
    """A setting whose runs have these bits on validation; None for one that failed."""
    rows = [
        dict.fromkeys(COLUMNS) | {"run": f"{label}{i}"} | ({} if each is None else {"training_seconds": seconds})
        for i, each in enumerate(bits)
    ]
    for row, each in zip(rows, bits, strict=True):
        row["validation_bits_per_sample"] = each
    return Case(label, label, {"setting": label}, rows)


def test_the_standard_error_is_that_of_the_mean_and_needs_two_runs():
    assert case("a", [1.0, 2.0, 3.0]).error("validation_bits_per_sample") == pytest.approx(1 / 3**0.5)
    assert case("a", [1.0, 2.0, 3.0]).bits == 2
    assert case("a", [1.0]).error("validation_bits_per_sample") is None
    assert case("a", [1.0, None]).error("validation_bits_per_sample") is None
    assert case("a", [None]).bits == float("inf") and not case("a", [None]).done


@pytest.mark.parametrize(
    ("other", "differs"),
    [
        ([4.1, 4.2, 4.3], False),
        ([4.29, 4.3, 4.31], True),
        ([4.0, 4.1, 4.2], False),
        ([4.5], False),
        ([4.5, None], False),
    ],
)
def test_settings_differ_if_the_difference_exceeds_twice_its_standard_error(other, differs):
    assert summary.differ(case("a", [4.0, 4.1, 4.2]), case("b", other)) is differs


def test_a_clear_winner_is_named_with_its_lead_and_its_price():
    said = summary.conclusion([case("b", [4.4, 4.5, 4.6], 20), case("a", [4.0, 4.1, 4.2], 30)])
    assert said == (
        "Best: a, with 4.1000 ± 0.0577 bits per sample on validation (mean of 3 seeds ± standard error). "
        "The next, b, needs 0.4000 ± 0.0816 bits more: more than twice the error of that difference. "
        "Training it took 30 s per run, the next 20 s; all 6 finished trainings 150 s."
    )


def test_a_later_setting_whose_seeds_differ_more_may_be_as_good_as_the_best():
    found = [case("a", [4.0, 4.0, 4.0]), case("b", [4.1, 4.1, 4.1]), case("c", [3.0, 4.2, 5.4])]
    said = summary.conclusion(found)
    assert "The next, b, needs 0.1000 ± 0.0000 bits more: more than twice the error of that difference. " in said
    assert "No clear difference from c, of which the seeds differ more." in said


def test_where_errors_overlap_there_is_no_difference_to_any_of_those_settings():
    found = [case("a", [4.0, 4.1, 4.2]), case("b", [4.05, 4.15, 4.25]), case("c", [4.1, 4.2, 4.3]), case("d", [5, 5.1])]
    said = summary.conclusion(found)
    assert "No clear difference from b, c: the next needs 0.0500 ± 0.0816 bits more, at most twice the error" in said
    assert summary.conclusion([case("a", [4.0, 4.0]), case("b", [4.0, 4.0])]).count("No clear difference from b") == 1


@pytest.mark.parametrize(
    ("key", "values", "warned"),
    [("shard.context", [8, 16], True), ("shard.context", [8, 8], False), ("train.batch_size", [8, 16], False)],
)
def test_a_comparison_of_different_targets_is_said_to_be_one(key, values, warned):
    found = [replace(case(f"{i}", [4.0 + i]), varied={key: value}) for i, value in enumerate(values)]
    said = f"Each is scored on its own targets, which depend on {key}: small differences say little."
    assert (said in summary.conclusion(found)) is warned


def test_one_seed_or_one_setting_or_none_is_said_to_be_that():
    assert "may be chance: each has one seed" in summary.conclusion([case("a", [4.0]), case("b", [4.1])])
    assert "the next" not in summary.conclusion([case("a", [4.0, 4.1]), case("b", [None])])
    assert summary.conclusion([case("a", [None])]) == "No setting has a result."


def test_in_the_table_errors_stand_beside_their_means():
    lines = summary.table([case("a|b", [4.0, 4.1, 4.2]).summary()]).splitlines()
    assert "_se |" not in lines[0]
    assert lines[2].startswith("| a\\|b | 3 | 4.1000 ± 0.0577 |  |")
