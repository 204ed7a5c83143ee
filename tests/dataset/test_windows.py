"""Windows cut a range of codes so that every target is there once, with its real past."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from audiornn.dataset.windows import WindowLayout

starts = st.integers(0, 1000)
lengths = st.integers(0, 600)
contexts = st.integers(1, 100)
spans = st.integers(1, 150)


def target_counts(start: int, stop: int, context: int, targets_per_window: int, stride: int) -> Counter[int]:
    """How often each code of a range is a target, counted from the first that can be one."""
    return Counter(
        target - start - context
        for first, last in WindowLayout(context, targets_per_window, stride).windows(start, stop)
        for target in range(first + context, last)
    )


@given(st.integers(1, 10**6))
def test_windows_by_default_hold_four_times_the_context_and_at_least_512_targets_side_by_side(context):
    targets = max(4 * context, 512)
    assert WindowLayout.with_defaults(context) == WindowLayout(context, targets, targets)
    assert WindowLayout.with_defaults(context, 9) == WindowLayout(context, 9, 9)
    assert WindowLayout.with_defaults(context, 9, 3) == WindowLayout(context, 9, 3)
    assert WindowLayout.with_defaults(context, None, 3) == WindowLayout(context, targets, 3)


@given(starts, lengths, contexts, spans)
def test_every_code_after_the_first_context_is_a_target_exactly_once(start, length, context, targets_per_window):
    targets = [
        code
        for first, last in WindowLayout(context, targets_per_window, targets_per_window).windows(start, start + length)
        for code in range(first + context, last)
    ]
    assert targets == list(range(start + context, start + length))


@given(starts, lengths, contexts, spans, spans)
def test_every_target_sees_at_least_the_context_and_nothing_from_outside_the_range(
    start, length, context, targets_per_window, stride
):
    for first, last in WindowLayout(context, targets_per_window, stride).windows(start, start + length):
        assert start <= first
        assert last <= start + length
        assert 1 <= last - first - context <= targets_per_window
        # only the end of a range cuts a window short
        assert last - first - context == targets_per_window or last == start + length


@given(starts, contexts, spans, spans, st.data())
def test_a_range_no_longer_than_the_context_has_no_window(start, context, targets_per_window, stride, data):
    length = data.draw(st.integers(0, context))
    assert list(WindowLayout(context, targets_per_window, stride).windows(start, start + length)) == []
    assert list(WindowLayout(context, targets_per_window, stride).windows(start, start + context + 1)) == [
        (start, start + context + 1)
    ]


@given(starts, lengths, contexts, spans, spans)
def test_windows_start_a_stride_apart_until_the_targets_run_out(start, length, context, targets_per_window, stride):
    first_codes = [
        first for first, _ in WindowLayout(context, targets_per_window, stride).windows(start, start + length)
    ]
    assert first_codes == [start + i * stride for i in range(-(-max(0, length - context) // stride))]


@given(starts, lengths, contexts, spans, st.data())
def test_a_stride_below_the_targets_per_window_repeats_targets_and_leaves_none_out(
    start, length, context, targets_per_window, data
):
    stride = data.draw(st.integers(1, targets_per_window))
    counts = target_counts(start, start + length, context, targets_per_window, stride)
    assert sorted(counts) == list(range(length - context))
    assert all(count <= -(-targets_per_window // stride) for count in counts.values())
    assert all(
        count >= targets_per_window // stride for target, count in counts.items() if target >= targets_per_window - 1
    )


@given(starts, lengths, contexts, spans, st.integers(1, 100))
def test_a_stride_above_the_targets_per_window_leaves_gaps_and_repeats_nothing(
    start, length, context, targets_per_window, gap
):
    counts = target_counts(start, start + length, context, targets_per_window, targets_per_window + gap)
    assert counts == {
        target: 1 for target in range(length - context) if target % (targets_per_window + gap) < targets_per_window
    }


@given(starts, lengths, contexts)
def test_one_target_per_window_gives_a_window_for_every_target(start, length, context):
    found = list(WindowLayout(context, 1, 1).windows(start, start + length))
    assert [last - first for first, last in found] == [context + 1] * max(0, length - context)
