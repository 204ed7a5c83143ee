"""Batches of whole windows, chunks or crops: as large as asked, and every target is learned."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audiornn.common.errors import AudioRNNError
from audiornn.params import Train
from audiornn.training.devices.batch_plan import BatchPlan


def test_short_windows_are_learned_whole_and_long_ones_in_chunks():
    short, long = (
        BatchPlan.for_windows(Train(), context, 4 * context, windows=10_000, hop=16) for context in (128, 8000)
    )
    assert (short.burn_in, short.chunk, short.chunk_targets) == (0, 639, 512)
    assert (long.burn_in, long.chunk, long.chunk_targets) == (8000, 1024, 1024)
    assert 4 * 639 < short.batch_size * short.chunk < 4096 + 640
    assert long.batch_size * long.chunk == pytest.approx(4096, abs=1024)
    assert list(short.chunk_starts(1)) == list(short.chunk_starts(512)) == [0]
    assert list(long.chunk_starts(32_000)) == list(range(8000, 8000 + 32_000, 1024))
    assert list(long.chunk_starts(0)) == list(short.chunk_starts(0)) == []


@given(
    context=st.integers(1, 300),
    targets_per_window=st.integers(1, 3000),
    chunk=st.integers(1, 100),
    hop=st.sampled_from([1, 4, 16]),
    targets=st.integers(1, 3000),
)
def test_chunks_cover_every_target_but_those_before_the_first_whole_hop(
    context, targets_per_window, chunk, hop, targets
):
    plan = BatchPlan.for_windows(Train(chunk=chunk * hop), context, targets_per_window, windows=100, hop=hop)
    targets = min(targets, targets_per_window)
    starts = plan.chunk_starts(targets)
    covered = [at for start in starts for at in range(start + plan.chunk - plan.chunk_targets, start + plan.chunk)]
    wanted = range(context - 1, context - 1 + targets)
    assert covered == list(range(covered[0], covered[0] + len(covered))) if covered else True
    assert len(set(wanted) - set(covered)) <= hop - 1
    assert covered == [] or covered[0] >= context - 1  # no code of the burn-in is a target
    assert all(start % hop == 0 for start in starts)
    assert all(start < context - 1 + targets for start in starts)  # no chunk without a target


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"crop_targets": 513}, "train.crop_targets is 513, but must not exceed the targets of a window, 512"),
        ({"chunk": 100}, "train.chunk is 100, but must be a multiple of the model's hop, 16"),
        ({"batch_size": 7}, "train.batch_size is 7, but must be a multiple of the number of devices, 2"),
    ],
)
def test_settings_that_do_not_fit_are_named(params, said):
    with pytest.raises(AudioRNNError, match=said):
        BatchPlan.for_windows(Train(**params), 128, 512, windows=100, hop=16, replicas=2)


def test_batches_of_chosen_size_are_filled_evenly():
    assert (
        BatchPlan.for_windows(Train(), 128, 512, windows=7).batch_size == 4
    )  # two of 4 at most, not one of 6 and one of a single window
    assert BatchPlan.for_windows(Train(), 128, 512, windows=5).batch_size == 5
    assert BatchPlan.for_windows(Train(batch_size=12), 128, 512, windows=13).batch_size == 12
