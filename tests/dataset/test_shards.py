"""What the windowed data set promises: every target once, with its real past, the same bytes for the same codes."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from audiornn.common import parallel
from audiornn.common.errors import AudioRNNError
from audiornn.common.serialization import write_json
from audiornn.dataset import shards
from audiornn.dataset.manifest import Manifest, read_manifest
from audiornn.dataset.split import SPLITS, CodeRange, shuffled
from audiornn.dataset.windows import WindowLayout
from audiornn.preparation import shard_writer
from tests.conftest import CODEC, CODEC_METRICS, write_encoded

Codes = dict[str, NDArray[np.uint8]]
Pieces = dict[str, list[CodeRange]]
few_examples = settings(  # files are slow: no shrinking
    max_examples=6,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


# --- On disk -----------------------------------------------------------------------------------------------------


def random_codes(lengths: Mapping[str, int], seed: int = 0) -> Codes:
    """Codes without the zero that fills up short windows."""
    draw = np.random.default_rng(seed)
    return {name: draw.integers(1, 256, n, dtype=np.uint8) for name, n in lengths.items()}


# Whole recordings, one divided by time, and one that is too short for a target at a context of 16
LENGTHS = {"a": 1000, "b": 737, "c": 5, "divided": 500, "d": 300, "e": 211}
PIECES: Pieces = {
    "train": [CodeRange("a", 0, 1000), CodeRange("b", 0, 737), CodeRange("c", 0, 5), CodeRange("divided", 0, 300)],
    "validation": [CodeRange("d", 0, 300), CodeRange("divided", 300, 400)],
    "test": [CodeRange("divided", 400, 500), CodeRange("e", 0, 211)],
}
LAYOUT = WindowLayout(context=16, targets_per_window=40, stride=40)


def written(
    folder: Path, codes: Codes, layout: WindowLayout = LAYOUT, pieces: Pieces | None = None, **settings: Any
) -> Manifest:
    folder.mkdir(parents=True, exist_ok=True)
    return shard_writer.write(folder, codes, pieces or PIECES, layout, CODEC, CODEC_METRICS, **settings)


def read_windows(manifest: Manifest, split: str, batch_size: int = 4, **settings: Any) -> list[bytes]:
    """The codes of every window, without the padding."""
    return [
        window[: manifest.layout.context + count].tobytes()
        for codes, counts in shards.read(manifest, split, batch_size, **settings).as_numpy_iterator()
        for window, count in zip(codes, counts, strict=True)
        if count
    ]


def expected_windows(codes: Codes, pieces: Sequence[CodeRange], layout: WindowLayout = LAYOUT) -> list[bytes]:
    return [
        codes[piece.recording][first:last].tobytes()
        for piece in pieces
        for first, last in layout.windows(piece.start, piece.stop)
    ]


@pytest.fixture(scope="module")
def codes() -> Codes:
    return random_codes(LENGTHS)


@pytest.fixture(scope="module")
def manifest(codes: Codes, tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Shards of about 400 bytes: several in each split."""
    return written(tmp_path_factory.mktemp("shards"), codes, megabytes=0.0004)


@few_examples
@given(
    context=st.integers(1, 40),
    targets_per_window=st.integers(1, 60),
    batch=st.integers(1, 9),
    kilobytes=st.sampled_from([0.3, 1, 1000]),
    seed=st.integers(0, 99),
    values=st.integers(0, 99),
)
@pytest.mark.slow
def test_reading_gives_back_every_code_of_the_recordings_as_a_target_in_order(
    tmp_path, context, targets_per_window, batch, kilobytes, seed, values
):
    codes = random_codes(LENGTHS, values)
    layout = WindowLayout(context, targets_per_window, targets_per_window)
    manifest = written(tmp_path, codes, layout, megabytes=kilobytes / 1000, seed=seed)
    for split in SPLITS:
        pieces = shuffled(PIECES[split], seed)
        found = read_windows(manifest, split, batch)
        assert found == expected_windows(codes, pieces, layout)
        targets = b"".join(window[context:] for window in found)
        assert targets == b"".join(codes[p.recording][p.start + context : p.stop].tobytes() for p in pieces)


def test_no_tuner_holds_up_the_end_of_an_epoch(manifest):
    assert shards.read(manifest, "train", 8, seed=0).options().autotune.enabled is False


@pytest.mark.parametrize("stride", [7, 40, 55])
def test_windows_of_any_stride_are_read_as_written(tmp_path, codes, stride):
    layout = replace(LAYOUT, stride=stride)
    manifest = written(tmp_path, codes, layout)
    assert read_windows(manifest, "train") == expected_windows(codes, shuffled(PIECES["train"], 0), layout)


def test_batches_are_padded_after_the_targets_and_have_their_number(manifest):
    windows = 0
    for codes, targets in shards.read(manifest, "train", 8).as_numpy_iterator():
        assert (codes.dtype, targets.dtype) == (np.uint8, np.int32)
        assert codes.shape == (8, 16 + 40)
        behind = np.arange(16 + 40) >= np.where(targets, 16 + targets, 0)[:, None]
        assert ((codes == 0) == behind).all()  # the codes of these recordings hold no zero
        windows += np.count_nonzero(targets)
    assert windows == manifest.splits["train"].windows
    assert np.count_nonzero(targets) == windows % 8  # what fills the last batch up has no target


@pytest.mark.parametrize("buffer_megabytes", [64.0, 0.001])
def test_shuffling_loses_and_repeats_no_window(manifest, buffer_megabytes):
    shuffled_windows = read_windows(manifest, "train", seed=1, buffer_megabytes=buffer_megabytes)
    assert shuffled_windows != read_windows(manifest, "train")
    assert sorted(shuffled_windows) == sorted(read_windows(manifest, "train"))


@pytest.mark.parametrize("megabytes", [0.0004, 32])
def test_each_epoch_has_its_own_order_and_the_same_seed_gives_the_same_orders(tmp_path, codes, megabytes):
    manifest = written(tmp_path, codes, megabytes=megabytes)  # many shards; a single one

    def two_epochs(seed: int) -> list[list[bytes]]:
        return [read_windows(manifest, "train", seed=seed, epoch=epoch) for epoch in range(2)]

    first, second = two_epochs(5)
    assert first != second
    assert two_epochs(5) == [first, second]
    assert two_epochs(6)[0] != first


@pytest.mark.parametrize("buffer_megabytes", [64.0, 0.001])
@pytest.mark.parametrize("settings", [{}, {"seed": 2, "epoch": 3, "crop_targets": 10}])
@pytest.mark.slow
def test_reading_resumes_at_any_batch(manifest, buffer_megabytes, settings):
    def batches(skip: int) -> list[tuple[bytes, bytes]]:
        data = shards.read(manifest, "train", 5, **settings, skip=skip, buffer_megabytes=buffer_megabytes)
        return [(codes.tobytes(), targets.tobytes()) for codes, targets in data.as_numpy_iterator()]

    whole = batches(0)
    for skip in (1, 4, 7, len(whole) - 1, len(whole)):
        assert batches(skip) == whole[skip:]


@pytest.mark.slow
def test_a_crop_comes_from_a_new_place_in_its_window_in_each_epoch(manifest):
    whole = read_windows(manifest, "train")
    places: list[set[int]] = [set() for _ in whole]
    for epoch in range(8):
        cropped = read_windows(manifest, "train", seed=0, epoch=epoch, crop_targets=10)
        assert len(cropped) == len(whole)
        for piece in cropped:
            number = next(i for i, window in enumerate(whole) if piece in window)
            assert len(piece) == min(16 + 10, len(whole[number]))
            places[number].add(whole[number].index(piece))
    assert max(map(len, places)) >= 5  # of eight epochs
    assert {0, 30} <= set().union(*places)  # from the first target to the last


def test_without_shuffling_each_epoch_has_the_order_of_the_disk(manifest, codes):
    on_disk = expected_windows(codes, shuffled(PIECES["train"], 0))
    assert len(manifest.splits["train"].shards) > 4
    data = shards.read(manifest, "train", 1)
    for _ in range(2):
        assert [row[0, : 16 + count[0]].tobytes() for row, count in data.as_numpy_iterator()] == on_disk


# --- Each worker its own shards -----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [None, 3])
@pytest.mark.parametrize("workers", [2, 3])
@pytest.mark.slow
def test_workers_that_read_their_own_shards_read_each_window_once_in_the_same_number_of_batches(
    manifest, workers, seed
):
    batches = shards.number_of_batches(manifest, "train", 4, workers)
    found: list[bytes] = []
    for worker in range(workers):
        part = {"seed": seed, "epoch": 1, "worker": worker, "workers": workers}
        found += read_windows(manifest, "train", 4, **part)

        def rows(skip: int, part: dict[str, Any] = part) -> list[bytes]:
            data = shards.read(manifest, "train", 4, skip=skip, **part).as_numpy_iterator()
            return [codes.tobytes() + targets.tobytes() for codes, targets in data]

        whole = rows(0)
        assert len(whole) == batches
        for skip in (1, batches - 1, batches):
            assert rows(skip) == whole[skip:]
    assert sorted(found) == sorted(read_windows(manifest, "train"))


def test_more_workers_than_shards_cannot_each_read_their_own(manifest):
    number = len(manifest.splits["train"].shards)
    with pytest.raises(AudioRNNError, match=f"train has {number} shards, but each of {number + 1} workers"):
        shards.number_of_batches(manifest, "train", 4, number + 1)


# --- Writing on all cores ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("stride", [7, 40, 130])
@pytest.mark.slow
def test_the_bytes_do_not_depend_on_the_number_of_writers(tmp_path, codes, stride, monkeypatch):
    stored = write_encoded(tmp_path / "encode", codes)
    layout = replace(LAYOUT, stride=stride)
    written(tmp_path / "here", codes, layout, megabytes=0.0004)
    monkeypatch.setattr(shard_writer, "PAYS_FROM", 0)
    for writers in (1, 2):
        monkeypatch.setattr(parallel, "cores", lambda writers=writers: writers)
        found = {name: stored.locate(name) for name in stored.recordings}
        written(tmp_path / str(writers), found, layout, megabytes=0.0004)
    here, one, two = (
        {path.name: path.read_bytes() for path in sorted((tmp_path / name).iterdir())} for name in ("here", "1", "2")
    )
    assert here == one == two
    assert len(here) >= 6  # several shards of a split
    pieces = [(codes[piece.recording], piece) for piece in PIECES["train"]]
    counted = sum(np.bincount(held[piece.start : piece.stop], minlength=256) for held, piece in pieces)
    assert read_manifest(tmp_path / "2").splits["train"].code_counts == counted.tolist()


def test_a_writer_names_damaged_codes(tmp_path, codes):
    folder = tmp_path / "encode"
    stored = write_encoded(folder, codes)
    damaged = replace(stored.locate("a"), sha256="0" * 64)
    with pytest.raises(AudioRNNError, match=r"a\.npy: damaged: .*; run dvc repro encode"):
        written(tmp_path / "shards", {name: stored.locate(name) for name in codes} | {"a": damaged})


def test_files_of_a_killed_writer_are_not_among_the_shards(tmp_path, codes, monkeypatch):
    folder = tmp_path / "shards"
    write = shard_writer._write_shard

    def killed_before(job):
        Path(job.path).with_name(".train-00000.abc.partial.tfrecord").write_bytes(b"half a shard")
        return write(job)

    monkeypatch.setattr(shard_writer, "_write_shard", killed_before)
    manifest = written(folder, codes)
    shards_there = {shard.file for split in manifest.splits.values() for shard in split.shards}
    assert {path.name for path in folder.iterdir()} == shards_there | {"manifest.json"}


def test_shards_are_written_without_tensorflow():
    script = "import sys, stages.shard; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[2]).returncode == 0


# --- The manifest ------------------------------------------------------------------------------------------------


def test_the_manifest_describes_the_files_beside_it(manifest, codes):
    assert manifest.layout == LAYOUT
    described = [shard for split in manifest.splits.values() for shard in split.shards]
    names = sorted(path.name for path in manifest.folder.iterdir())
    assert names == sorted([*(shard.file for shard in described), "manifest.json"])
    for shard in described:
        content = (manifest.folder / shard.file).read_bytes()
        assert (shard.bytes, shard.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    for name, split in manifest.splits.items():
        expected = expected_windows(codes, PIECES[name])
        assert split.windows == sum(shard.windows for shard in split.shards) == len(expected)
        targets = sum(len(window) - 16 for window in expected)
        assert split.targets == sum(shard.targets for shard in split.shards) == targets
        assert split.bytes == sum(shard.bytes for shard in split.shards)
        assert split.ranges == PIECES[name]
        there = np.concatenate([codes[piece.recording][piece.start : piece.stop] for piece in PIECES[name]])
        assert split.code_counts == [int((there == code).sum()) for code in range(256)]


def test_the_returned_manifest_is_the_one_that_was_written(tmp_path, codes):
    manifest = written(tmp_path, codes, too_short=["f"])
    assert manifest == read_manifest(tmp_path)
    assert (manifest.codec, manifest.encode_metrics, manifest.too_short) == (CODEC, CODEC_METRICS, ["f"])


def test_the_manifest_file_keeps_its_keys_and_their_order(manifest):
    content = json.loads((manifest.folder / "manifest.json").read_text())
    keys = ["context", "targets_per_window", "stride", "digest", "codec", "encode_metrics", "too_short", "splits"]
    assert list(content) == keys
    assert list(content["codec"]) == ["sample_rate", "highpass_hz", "preemphasis", "codes"]
    assert list(content["splits"]) == list(SPLITS)
    assert list(content["splits"]["test"]) == ["windows", "targets", "bytes", "shards", "ranges", "code_counts"]
    assert list(content["splits"]["test"]["shards"][0]) == ["file", "windows", "targets", "bytes", "sha256"]
    assert content["splits"]["test"]["ranges"][0] == {"recording": "divided", "start": 400, "stop": 500}


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda content: content.pop("codec"), "has no entry codec"),
        (lambda content: content.pop("targets_per_window"), "has no entry targets_per_window"),
        (lambda content: content["codec"].pop("sample_rate"), "has no entry codec.sample_rate"),
        (
            lambda content: content["splits"]["train"]["shards"][0].pop("file"),
            "has no entry splits.train.shards.0.file",
        ),
        (lambda content: content.update(context="long"), "context is 'long', but must be a valid integer"),
        (
            lambda content: content["splits"]["train"].update(windows=10**9),
            "damaged: the windows of train are not the sum over its shards; run dvc repro shard",
        ),
        (
            lambda content: [
                place.update(targets=place["targets"] + 1)
                for place in (content["splits"]["train"], content["splits"]["train"]["shards"][0])
            ],
            "damaged: train-00000.tfrecord cannot have .* windows in .* bytes",
        ),
        (lambda content: content["splits"].pop("test"), "damaged: its splits are not train, validation, test"),
        (lambda content: content["codec"].update(sample_rate=10**12), "codec.sample_rate is 1000000000000, but must"),
        (lambda content: content.update(splits=[]), r"splits is \[\], but must be a valid dictionary"),
    ],
)
def test_a_damaged_manifest_is_named_with_the_defect(manifest, tmp_path, break_it, said):
    content = json.loads((manifest.folder / "manifest.json").read_text())
    break_it(content)
    write_json(tmp_path / "manifest.json", content)
    with pytest.raises(AudioRNNError, match=rf"^\S+/manifest.json: {said}"):
        read_manifest(tmp_path)


def test_a_file_that_is_not_a_manifest_is_named(tmp_path):
    write_json(tmp_path / "manifest.json", [1, 2])
    with pytest.raises(AudioRNNError, match=r"^\S+/manifest.json: is \[1, 2\], but must be a dictionary"):
        read_manifest(tmp_path)


def test_the_validation_digest_depends_on_recordings_and_not_on_windows(manifest):
    other = replace(manifest, digest="0", layout=replace(LAYOUT, context=7))
    assert other.validation_digest == manifest.validation_digest
    counted = replace(manifest.splits["validation"], code_counts=[2, 1])
    assert replace(manifest, splits={"validation": counted}).validation_digest != manifest.validation_digest
    codec = replace(CODEC, preemphasis=0.5)
    assert replace(manifest, codec=codec).validation_digest != manifest.validation_digest


@few_examples
@given(split=st.sampled_from(SPLITS), data=st.data())
def test_the_digest_changes_with_any_code(tmp_path_factory, manifest, codes, split, data):
    piece = data.draw(st.sampled_from([p for p in PIECES[split] if p.stop - p.start > LAYOUT.context]))
    place = data.draw(st.integers(piece.start, piece.stop - 1))
    changed = {**codes, piece.recording: codes[piece.recording].copy()}
    changed[piece.recording][place] ^= data.draw(st.integers(1, 255))
    other = written(tmp_path_factory.mktemp("changed"), changed, megabytes=0.0004)
    assert other.digest != manifest.digest


def test_writing_twice_gives_the_same_bytes(manifest, codes, tmp_path):
    written(tmp_path, codes, megabytes=0.0004)
    first, second = (
        {path.name: path.read_bytes() for path in place.iterdir()} for place in (manifest.folder, tmp_path)
    )
    assert first == second


def test_another_seed_writes_the_same_windows_in_another_order(tmp_path, codes):
    orders = []
    for seed in range(5):
        orders.append(read_windows(written(tmp_path / str(seed), codes, seed=seed), "train"))
    assert len({tuple(order) for order in orders}) > 1
    assert len({tuple(sorted(order)) for order in orders}) == 1


def test_the_order_drawn_from_a_seed_is_the_same_on_every_machine():
    assert shuffled("abcdefgh", 0) == list("ebfcadhg")


# --- Size on disk ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("megabytes", [0.0001, 0.0005, 0.002])
def test_shards_are_closed_at_the_requested_size(tmp_path, codes, megabytes):
    manifest = written(tmp_path, codes, megabytes=megabytes)
    record = 16 + 40 + 16  # context, targets, and what TFRecord adds
    for split in manifest.splits.values():
        *full, last = [shard.bytes for shard in split.shards]
        assert all(megabytes * 1e6 <= size < megabytes * 1e6 + record for size in full)
        assert 0 < last < megabytes * 1e6 + record
    assert [shard.file for shard in manifest.splits["train"].shards[:2]] == [
        "train-00000.tfrecord",
        "train-00001.tfrecord",
    ]


@pytest.mark.parametrize("context", [128, 1000])
def test_a_target_of_a_long_recording_costs_at_most_1_3_bytes_with_the_default_targets_per_window(tmp_path, context):
    length = 1_200_000
    codes = random_codes({"long": length})
    pieces: Pieces = {"train": [CodeRange("long", 0, length)], "validation": [], "test": []}
    layout = WindowLayout.with_defaults(context)
    split = written(tmp_path, codes, layout, pieces).splits["train"]
    assert split.targets == length - context
    assert split.bytes == sum(path.stat().st_size for path in tmp_path.glob("*.tfrecord"))
    assert split.bytes / split.targets <= 1.3
    assert split.code_counts == np.bincount(codes["long"], minlength=256).tolist()


def test_a_split_without_ranges_has_no_shard(tmp_path, codes):
    pieces = {"train": [CodeRange("a", 0, 1000)], "validation": [], "test": [CodeRange("c", 0, 5)]}  # c is too short
    manifest = written(tmp_path, codes, pieces=pieces)
    for name in ("validation", "test"):
        split = manifest.splits[name]
        assert (split.windows, split.targets, split.bytes, split.shards) == (0, 0, 0, [])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["manifest.json", "train-00000.tfrecord"]


def test_a_folder_without_shards_is_named(tmp_path):
    with pytest.raises(AudioRNNError, match=r"^\S+/manifest.json: no such file: run dvc repro first$"):
        read_manifest(tmp_path)
