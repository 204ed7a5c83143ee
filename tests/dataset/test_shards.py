"""What the windowed data set promises: every target once, with its real past, the same bytes for the same codes."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from audiornn.dataset import shards
from audiornn.dataset.split import PARTS, Range, shuffled
from audiornn.dataset.windows import windows
from audiornn.errors import AudioRNNError
from audiornn.params import Shard

starts = st.integers(0, 1000)
lengths = st.integers(0, 600)
contexts = st.integers(1, 100)
spans = st.integers(1, 150)

Codes = dict[str, NDArray[np.uint8]]
Parts = dict[str, list[Range]]
few_examples = settings(  # files are slow: no shrinking
    max_examples=6,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def target_counts(start: int, stop: int, context: int, span: int, shift: int) -> Counter[int]:
    """How often each code of a range is a target, counted from the first that can be one."""
    return Counter(
        target - start - context
        for first, last in windows(start, stop, context, span, shift)
        for target in range(first + context, last)
    )


# --- Windows -----------------------------------------------------------------------------------------------------


@given(starts, lengths, contexts, spans)
def test_every_code_after_the_first_context_is_a_target_exactly_once(start, length, context, span):
    targets = [
        code
        for first, last in windows(start, start + length, context, span, span)
        for code in range(first + context, last)
    ]
    assert targets == list(range(start + context, start + length))


@given(starts, lengths, contexts, spans, spans)
def test_every_target_sees_at_least_the_context_and_nothing_from_outside_the_range(start, length, context, span, shift):
    for first, last in windows(start, start + length, context, span, shift):
        assert start <= first
        assert last <= start + length
        assert 1 <= last - first - context <= span
        assert last - first - context == span or last == start + length  # only the end of a range cuts a window short


@given(starts, contexts, spans, spans, st.data())
def test_a_range_no_longer_than_the_context_has_no_window(start, context, span, shift, data):
    length = data.draw(st.integers(0, context))
    assert list(windows(start, start + length, context, span, shift)) == []
    assert list(windows(start, start + context + 1, context, span, shift)) == [(start, start + context + 1)]


@given(starts, lengths, contexts, spans, spans)
def test_windows_start_a_shift_apart_until_the_targets_run_out(start, length, context, span, shift):
    first_codes = [first for first, _ in windows(start, start + length, context, span, shift)]
    assert first_codes == [start + i * shift for i in range(-(-max(0, length - context) // shift))]


@given(starts, lengths, contexts, spans, st.data())
def test_a_shift_below_the_span_repeats_targets_and_leaves_none_out(start, length, context, span, data):
    shift = data.draw(st.integers(1, span))
    counts = target_counts(start, start + length, context, span, shift)
    assert sorted(counts) == list(range(length - context))
    assert all(count <= -(-span // shift) for count in counts.values())
    assert all(count >= span // shift for target, count in counts.items() if target >= span - 1)


@given(starts, lengths, contexts, spans, st.integers(1, 100))
def test_a_shift_above_the_span_leaves_gaps_and_repeats_nothing(start, length, context, span, gap):
    counts = target_counts(start, start + length, context, span, span + gap)
    assert counts == {target: 1 for target in range(length - context) if target % (span + gap) < span}


@given(starts, lengths, contexts)
def test_a_span_of_one_gives_every_window_one_target(start, length, context):
    found = list(windows(start, start + length, context, 1, 1))
    assert [last - first for first, last in found] == [context + 1] * max(0, length - context)


# --- On disk -----------------------------------------------------------------------------------------------------


def random_codes(lengths: Mapping[str, int], seed: int = 0) -> Codes:
    """Codes without the zero that fills up short windows."""
    draw = np.random.default_rng(seed)
    return {name: draw.integers(1, 256, n, dtype=np.uint8) for name, n in lengths.items()}


# Whole recordings, one divided by time, and one that is too short for a target at a context of 16
LENGTHS = {"a": 1000, "b": 737, "c": 5, "divided": 500, "d": 300, "e": 211}
PIECES: Parts = {
    "train": [Range("a", 0, 1000), Range("b", 0, 737), Range("c", 0, 5), Range("divided", 0, 300)],
    "validation": [Range("d", 0, 300), Range("divided", 300, 400)],
    "test": [Range("divided", 400, 500), Range("e", 0, 211)],
}
LAYOUT = {"context": 16, "span": 40, "shift": 40}


def written(folder: Path, codes: Codes, **settings: Any) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    return shards.write(folder, codes, PIECES, **{**LAYOUT, **settings})


def read_windows(folder: Path, part: str, batch: int = 4, **settings: Any) -> list[bytes]:
    """The codes of every window, without what fills it up."""
    context = shards.read_manifest(folder)["context"]
    return [
        window[: context + count].tobytes()
        for codes, counts in shards.read(folder, part, batch, **settings).as_numpy_iterator()
        for window, count in zip(codes, counts, strict=True)
        if count
    ]


def expected_windows(codes: Codes, pieces: Sequence[Range], context: int, span: int, shift: int) -> list[bytes]:
    return [
        codes[piece.recording][first:last].tobytes()
        for piece in pieces
        for first, last in windows(piece.start, piece.stop, context, span, shift)
    ]


@pytest.fixture(scope="module")
def codes() -> Codes:
    return random_codes(LENGTHS)


@pytest.fixture(scope="module")
def folder(codes: Codes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of about 400 bytes: several in each part."""
    path = tmp_path_factory.mktemp("shards")
    written(path, codes, megabytes=0.0004)
    return path


@few_examples
@given(
    context=st.integers(1, 40),
    span=st.integers(1, 60),
    batch=st.integers(1, 9),
    kilobytes=st.sampled_from([0.3, 1, 1000]),
    seed=st.integers(0, 99),
    values=st.integers(0, 99),
)
def test_reading_gives_back_every_code_of_the_recordings_as_a_target_in_order(
    tmp_path, context, span, batch, kilobytes, seed, values
):
    codes = random_codes(LENGTHS, values)
    layout = {"context": context, "span": span, "shift": span}
    written(tmp_path, codes, **layout, megabytes=kilobytes / 1000, seed=seed)
    for part in PARTS:
        pieces = shuffled(PIECES[part], seed)
        found = read_windows(tmp_path, part, batch)
        assert found == expected_windows(codes, pieces, **layout)
        targets = b"".join(window[context:] for window in found)
        assert targets == b"".join(codes[p.recording][p.start + context : p.stop].tobytes() for p in pieces)


@pytest.mark.parametrize("shift", [7, 40, 55])
def test_windows_of_any_shift_are_read_as_written(tmp_path, codes, shift):
    written(tmp_path, codes, shift=shift)
    expected = expected_windows(codes, shuffled(PIECES["train"], 0), **LAYOUT | {"shift": shift})
    assert read_windows(tmp_path, "train") == expected


def test_batches_are_padded_after_the_targets_and_have_their_number(folder):
    windows = 0
    for codes, targets in shards.read(folder, "train", 8).as_numpy_iterator():
        assert (codes.dtype, targets.dtype) == (np.uint8, np.int32)
        assert codes.shape == (8, 16 + 40)
        behind = np.arange(16 + 40) >= np.where(targets, 16 + targets, 0)[:, None]
        assert ((codes == 0) == behind).all()  # the codes of these recordings hold no zero
        windows += np.count_nonzero(targets)
    assert windows == shards.read_manifest(folder)["parts"]["train"]["windows"]
    assert np.count_nonzero(targets) == windows % 8  # what fills the last batch up has no target


@pytest.mark.parametrize("buffer_megabytes", [64.0, 0.001])
def test_shuffling_loses_and_repeats_no_window(folder, buffer_megabytes):
    shuffled_windows = read_windows(folder, "train", seed=1, buffer_megabytes=buffer_megabytes)
    assert shuffled_windows != read_windows(folder, "train")
    assert sorted(shuffled_windows) == sorted(read_windows(folder, "train"))


@pytest.mark.parametrize("megabytes", [0.0004, 32])
def test_each_epoch_has_an_order_of_its_own_and_each_run_with_the_same_seed_the_same_orders(tmp_path, codes, megabytes):
    written(tmp_path, codes, megabytes=megabytes)  # many shards; a single one

    def two_epochs(seed: int) -> list[list[bytes]]:
        return [read_windows(tmp_path, "train", seed=seed, epoch=epoch) for epoch in range(2)]

    first, second = two_epochs(5)
    assert first != second
    assert two_epochs(5) == [first, second]
    assert two_epochs(6)[0] != first


@pytest.mark.parametrize("buffer_megabytes", [64.0, 0.001])
@pytest.mark.parametrize("settings", [{}, {"seed": 2, "epoch": 3, "crop": 10}])
def test_reading_resumes_at_any_batch(folder, buffer_megabytes, settings):
    def batches(skip: int) -> list[tuple[bytes, bytes]]:
        data = shards.read(folder, "train", 5, **settings, skip=skip, buffer_megabytes=buffer_megabytes)
        return [(codes.tobytes(), targets.tobytes()) for codes, targets in data.as_numpy_iterator()]

    whole = batches(0)
    for skip in (1, 4, 7, len(whole) - 1, len(whole)):
        assert batches(skip) == whole[skip:]


def test_a_crop_is_a_piece_of_its_window_from_a_new_place_in_each_epoch(folder):
    whole = read_windows(folder, "train")
    places: list[set[int]] = [set() for _ in whole]
    for epoch in range(8):
        cropped = read_windows(folder, "train", seed=0, epoch=epoch, crop=10)
        assert len(cropped) == len(whole)
        for piece in cropped:
            number = next(i for i, window in enumerate(whole) if piece in window)
            assert len(piece) == min(16 + 10, len(whole[number]))
            places[number].add(whole[number].index(piece))
    assert max(map(len, places)) >= 5  # of eight epochs
    assert {0, 30} <= set().union(*places)  # from the first target to the last


def test_without_shuffling_each_epoch_has_the_order_of_the_disk(folder, codes):
    on_disk = expected_windows(codes, shuffled(PIECES["train"], 0), **LAYOUT)
    assert len(shards.read_manifest(folder)["parts"]["train"]["shards"]) > 4
    data = shards.read(folder, "train", 1)
    for _ in range(2):
        assert [row[0, : 16 + count[0]].tobytes() for row, count in data.as_numpy_iterator()] == on_disk


# --- The manifest ------------------------------------------------------------------------------------------------


def test_the_manifest_describes_the_files_beside_it(folder, codes):
    manifest = shards.read_manifest(folder)
    assert {key: manifest[key] for key in LAYOUT} == LAYOUT
    described = [shard for part in manifest["parts"].values() for shard in part["shards"]]
    assert sorted(path.name for path in folder.iterdir()) == sorted([*(s["file"] for s in described), "manifest.json"])
    for shard in described:
        content = (folder / shard["file"]).read_bytes()
        assert (shard["bytes"], shard["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    for part, entry in manifest["parts"].items():
        expected = expected_windows(codes, PIECES[part], **LAYOUT)
        assert entry["windows"] == sum(shard["windows"] for shard in entry["shards"]) == len(expected)
        targets = sum(len(window) - 16 for window in expected)
        assert entry["targets"] == sum(shard["targets"] for shard in entry["shards"]) == targets
        assert entry["bytes"] == sum(shard["bytes"] for shard in entry["shards"])
        assert [Range(**piece) for piece in entry["ranges"]] == PIECES[part]
        there = np.concatenate([codes[piece.recording][piece.start : piece.stop] for piece in PIECES[part]])
        assert entry["code_counts"] == [int((there == code).sum()) for code in range(256)]


def test_what_is_written_is_what_is_returned_and_more_entries_are_kept(tmp_path, codes):
    manifest = written(tmp_path, codes, extra={"codec": {"sample_rate": 8000}})
    assert manifest == shards.read_manifest(tmp_path)
    assert manifest["codec"] == {"sample_rate": 8000}


@few_examples
@given(part=st.sampled_from(PARTS), data=st.data())
def test_the_digest_changes_with_any_code(tmp_path_factory, folder, codes, part, data):
    piece = data.draw(st.sampled_from([p for p in PIECES[part] if p.stop - p.start > LAYOUT["context"]]))
    place = data.draw(st.integers(piece.start, piece.stop - 1))
    changed = {**codes, piece.recording: codes[piece.recording].copy()}
    changed[piece.recording][place] ^= data.draw(st.integers(1, 255))
    manifest = written(tmp_path_factory.mktemp("changed"), changed, megabytes=0.0004)
    assert manifest["digest"] != shards.read_manifest(folder)["digest"]


def test_writing_twice_gives_the_same_bytes(folder, codes, tmp_path):
    written(tmp_path, codes, megabytes=0.0004)
    first, second = ({path.name: path.read_bytes() for path in place.iterdir()} for place in (folder, tmp_path))
    assert first == second


def test_another_seed_writes_the_same_windows_in_another_order(tmp_path, codes):
    orders = []
    for seed in range(5):
        written(tmp_path / str(seed), codes, seed=seed)
        orders.append(read_windows(tmp_path / str(seed), "train"))
    assert len({tuple(order) for order in orders}) > 1
    assert len({tuple(sorted(order)) for order in orders}) == 1


def test_the_order_drawn_from_a_seed_is_the_same_on_every_machine():
    assert shuffled("abcdefgh", 0) == list("ebfcadhg")


# --- Size on disk ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("megabytes", [0.0001, 0.0005, 0.002])
def test_shards_are_closed_at_the_size_that_was_asked_for(tmp_path, codes, megabytes):
    manifest = written(tmp_path, codes, megabytes=megabytes)
    record = 16 + 40 + 16  # context, span, and what TFRecord adds
    for part in manifest["parts"].values():
        *full, last = [shard["bytes"] for shard in part["shards"]]
        assert all(megabytes * 1e6 <= size < megabytes * 1e6 + record for size in full)
        assert 0 < last < megabytes * 1e6 + record
    assert [shard["file"] for shard in manifest["parts"]["train"]["shards"][:2]] == [
        "train-00000.tfrecord",
        "train-00001.tfrecord",
    ]


@pytest.mark.parametrize("context", [128, 1000])
def test_a_target_of_a_long_recording_costs_at_most_1_3_bytes_with_the_default_span(tmp_path, context):
    length = 1_200_000
    codes = random_codes({"long": length})
    parts = {"train": [Range("long", 0, length)], "validation": [], "test": []}
    layout = Shard(context=context)
    sizes = {"context": context, "span": layout.targets, "shift": layout.step}
    entry = shards.write(tmp_path, codes, parts, **sizes)["parts"]["train"]
    assert entry["targets"] == length - context
    assert entry["bytes"] == sum(path.stat().st_size for path in tmp_path.glob("*.tfrecord"))
    assert entry["bytes"] / entry["targets"] <= 1.3
    assert entry["code_counts"] == np.bincount(codes["long"], minlength=256).tolist()


def test_a_part_without_ranges_has_no_shard(tmp_path, codes):
    parts = {"train": [Range("a", 0, 1000)], "validation": [], "test": [Range("c", 0, 5)]}  # c is too short
    manifest = shards.write(tmp_path, codes, parts, **LAYOUT)
    for part in ("validation", "test"):
        entry = manifest["parts"][part]
        assert (entry["windows"], entry["targets"], entry["bytes"], entry["shards"]) == (0, 0, 0, [])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["manifest.json", "train-00000.tfrecord"]


def test_a_folder_without_shards_is_named(tmp_path):
    with pytest.raises(AudioRNNError, match=r"^\S+/manifest.json: no such file$"):
        shards.read(tmp_path, "train", 4)
