"""What scanning a folder of recordings promises: every file is used or named with the reason, whatever it is called."""

import dataclasses
import os
import re
import shutil
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
from hypothesis import given
from hypothesis import strategies as st

from audiornn.audio import resampling
from audiornn.audio.waves import Reading
from audiornn.common.digests import sha256
from audiornn.common.errors import AudioRNNError
from audiornn.common.serialization import read_json, write_json
from audiornn.common.validation import parse
from audiornn.corpus import scan
from audiornn.corpus.scan import LeftOutFile, Recording

seeds = count()
SNDFILE = Reading("libsndfile")

ODD_NAMES = [
    "two words.wav",
    " edge .wav",
    "Übung-für-Käthe.wav",
    "🎻.wav",
    "録音.flac",
    "two\nlines.wav",
    "carriage\rreturn.wav",
    "line\u2028separator.wav",
    "-leading-dash.wav",
    "a|b.wav",
    "many.dots.in.a.name.wav",
    "no-ending",
    "CAPITALS.WAV",
    "*?[x].wav",
    "$(echo) `quoted` 'name'.wav",
    "l" * 240 + ".wav",
]
NOT_UTF8 = os.fsdecode(b"caf\xe9-\xff.wav")


def record(path: Path, frames: int = 400, rate: int = 8000, channels: int = 1) -> Path:
    """A recording of noise like no other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.random.default_rng(next(seeds)).uniform(-0.5, 0.5, (frames, channels))
    with path.open("wb") as file:  # soundfile itself would refuse some names
        sf.write(file, samples, rate, format="FLAC" if path.suffix == ".flac" else "WAV")
    return path


def broken(path: Path) -> Path:
    path.write_text("these are words")
    return path


def paths(found: list[Any]) -> list[str]:
    return [item.path for item in found]


def names_that_exist(folder: Path) -> list[str]:
    """The odd names that this file system allows."""
    allowed = []
    for name in [*ODD_NAMES, NOT_UTF8]:
        try:
            (folder / name).touch()
        except OSError:
            continue
        (folder / name).unlink()
        allowed.append(name)
    return allowed


def tables(markdown: str) -> Iterator[list[list[str]]]:
    """The tables of a Markdown text, as rows of cells."""
    for block in re.findall(r"(?:^\|.*\|\n)+", markdown, re.M):
        yield [re.split(r"(?<!\\)\|", line)[1:-1] for line in block.splitlines()]


# What is found


def test_recordings_are_found_in_nested_folders_with_their_properties(tmp_path):
    record(tmp_path / "b.wav", 800, 8000, 1)
    record(tmp_path / "a" / "deep" / "er" / "c.flac", 44100, 44100, 2)
    recordings, left_out = scan.scan(tmp_path)
    assert not left_out
    assert recordings == [
        Recording("a/deep/er/c.flac", 44100, 2, 44100, 1.0, sha256(tmp_path / "a/deep/er/c.flac"), SNDFILE),
        Recording("b.wav", 8000, 1, 800, 0.1, sha256(tmp_path / "b.wav"), SNDFILE),
    ]


@pytest.mark.parametrize("name", [*ODD_NAMES, NOT_UTF8], ids=ascii)
def test_a_recording_may_have_any_name(name, tmp_path):
    try:
        record(tmp_path / "folder" / name)
    except OSError:
        pytest.skip("this file system does not allow the name")
    (recording,), left_out = scan.scan(tmp_path / "folder")
    assert not left_out
    assert recording.path == name
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]*-[0-9a-f]{8}", recording.name)
    resampling.resample_file(tmp_path / "folder" / name, tmp_path / f"{recording.name}.wav", 8000)
    assert sf.info(tmp_path / f"{recording.name}.wav").frames == 400


def test_hidden_files_and_folders_are_silently_skipped(tmp_path):
    record(tmp_path / "a.wav")
    record(tmp_path / ".hidden.wav")
    record(tmp_path / ".git" / "b.wav")
    broken(tmp_path / ".DS_Store")
    recordings, left_out = scan.scan(tmp_path)
    assert (paths(recordings), left_out) == (["a.wav"], [])


def test_the_search_ends_at_circular_links(tmp_path):
    record(tmp_path / "a" / "x.wav")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "a" / "self").symlink_to(tmp_path / "a")
    (tmp_path / "round.wav").symlink_to(tmp_path / "round.wav")
    recordings, left_out = scan.scan(tmp_path)
    assert paths(recordings) == ["a/x.wav"]
    assert paths(left_out) == ["round.wav"]


def test_linked_recordings_and_folders_are_used(tmp_path):
    elsewhere = record(tmp_path / "elsewhere" / "x.wav").parent
    record(tmp_path / "single.wav")
    root = tmp_path / "root"
    root.mkdir()
    (root / "folder").symlink_to(elsewhere)
    (root / "file.wav").symlink_to(tmp_path / "single.wav")
    recordings, left_out = scan.scan(root)
    assert (paths(recordings), left_out) == (["file.wav", "folder/x.wav"], [])


def test_the_order_of_the_directory_makes_no_difference(tmp_path, monkeypatch):
    for name in ("b/x.wav", "a/y.wav", "c.wav", "B.wav", "ä.wav"):
        record(tmp_path / name)
    shutil.copy(tmp_path / "c.wav", tmp_path / "d.wav")
    (tmp_path / "a-link").symlink_to(tmp_path / "b")
    broken(tmp_path / "e.wav")
    walk, order = os.walk, []

    def walk_in_order(*args: Any, **options: Any) -> Iterator[Any]:
        for folder, folders, files in walk(*args, **options):
            for names in (folders, files):
                names.sort(reverse=order[-1])
            yield folder, folders, files

    monkeypatch.setattr(os, "walk", walk_in_order)
    found = []
    for backwards in (False, True):
        order.append(backwards)
        found.append(scan.scan(tmp_path))
    assert found[0] == found[1]
    assert [os.fsencode(path) for path in paths(found[0][0])] == sorted(map(os.fsencode, paths(found[0][0])))


def test_the_working_folder_can_be_scanned(tmp_path, monkeypatch):
    record(tmp_path / "a.wav")
    sf.write(tmp_path / "b.wav", np.zeros(100), 8000)
    monkeypatch.chdir(tmp_path)
    assert scan.scan(".") == scan.scan(tmp_path)
    assert scan.scan(".")[1] == [LeftOutFile("b.wav", "silent: all samples are 0")]


@pytest.mark.parametrize(("name", "says"), [("missing", "no such folder"), ("file", "not a folder")])
def test_a_missing_folder_is_an_error_that_names_it(name, says, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(AudioRNNError, match=f"^{re.escape(str(tmp_path / name))}: {says}$"):
        scan.scan(tmp_path / name)


def test_an_empty_folder_has_no_recordings(tmp_path):
    assert scan.scan(tmp_path) == ([], [])


# What is left out, and why


@pytest.mark.parametrize(
    ("name", "make", "says"),
    [
        ("nothing.wav", lambda path: path.touch(), "empty"),
        ("header.wav", lambda path: record(path, 0), "empty"),
        ("silence.wav", lambda path: sf.write(path, np.zeros((100, 2)), 8000), "silent: all samples are 0"),
        ("offset.wav", lambda path: sf.write(path, np.full(100, 0.5), 8000), "silent: all samples are 0.5"),
        (
            "nan.wav",
            lambda path: sf.write(path, np.array([0, np.nan]), 8000, "FLOAT"),
            "holds samples that are not fin",
        ),
        (
            "inf.wav",
            lambda path: sf.write(path, np.array([0, np.inf]), 8000, "FLOAT"),
            "holds samples that are not fin",
        ),
        ("text.wav", broken, "not readable as audio"),
        ("notes.txt", broken, "not readable as audio"),
        ("headerless.raw", lambda path: path.write_bytes(bytes(range(200))), "not readable as audio"),
        ("nowhere.wav", lambda path: path.symlink_to("gone"), "no such file"),
        pytest.param(
            "pipe.wav",
            lambda path: os.mkfifo(path),
            "not a file",
            marks=pytest.mark.skipif(os.name != "posix", reason="no pipes"),
        ),
    ],
)
def test_an_unusable_file_is_left_out_with_the_reason(name, make: Callable[[Path], None], says, tmp_path):
    record(tmp_path / "good.wav")
    make(tmp_path / name)
    recordings, (left,) = scan.scan(tmp_path)
    assert paths(recordings) == ["good.wav"]
    assert left.path == name
    assert left.reason.startswith(says)
    assert "\n" not in left.reason
    assert str(tmp_path) not in left.reason


def test_a_copy_is_left_out_and_names_the_first(tmp_path):
    record(tmp_path / "b" / "first.wav")
    shutil.copy(tmp_path / "b" / "first.wav", tmp_path / "c.wav")
    shutil.copy(tmp_path / "b" / "first.wav", tmp_path / "d.wav")
    recordings, left_out = scan.scan(tmp_path)
    assert paths(recordings) == ["b/first.wav"]
    assert left_out == [LeftOutFile(name, "the same as b/first.wav") for name in ("c.wav", "d.wav")]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_unreadable_files_are_left_out(tmp_path):
    record(tmp_path / "good.wav")
    record(tmp_path / "private.wav").chmod(0)
    folder = record(tmp_path / "private" / "x.wav").parent
    folder.chmod(0)
    try:
        recordings, left_out = scan.scan(tmp_path)
    finally:
        folder.chmod(0o700)
    assert paths(recordings) == ["good.wav"]
    assert paths(left_out) == ["private.wav", "private"]
    assert left_out[1].reason == "folder cannot be read: Permission denied"


def test_an_unreadable_folder_is_left_out_with_the_reason(tmp_path, monkeypatch):
    record(tmp_path / "good.wav")
    record(tmp_path / "private" / "x.wav")
    scandir = os.scandir

    def refusing(path: Any) -> Any:
        if Path(path).name == "private":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    recordings, left_out = scan.scan(tmp_path)
    assert paths(recordings) == ["good.wav"]
    assert left_out == [LeftOutFile("private", "folder cannot be read: Permission denied")]


# What is said about it


def test_the_report_sums_up_the_recordings_by_kind():
    recordings = [
        Recording("a.wav", 44100, 2, 44100 * 60, 60.0, "a" * 64),
        Recording("b.wav", 8000, 1, 8000 * 90, 90.0, "b" * 64),
        Recording("c.wav", 8000, 1, 8000 * 30, 30.0, "c" * 64),
    ]
    report = scan.report(recordings, [], "recordings")
    assert report.startswith("# Recordings in recordings\n")
    assert "3 recordings, 3.0 minutes; 0 files left out." in report
    (table,) = tables(report)
    assert [[cell.strip() for cell in row] for row in table[2:]] == [
        ["8000", "1", "2", "2.00"],
        ["44100", "2", "1", "1.00"],
    ]


def test_the_report_names_every_file_that_was_left_out_and_the_reason():
    left_out = [LeftOutFile("a.wav", "empty"), LeftOutFile("b/c.wav", "the same as d.wav")]
    report = scan.report([], left_out, "recordings")
    assert "2 files left out" in report
    assert "| a.wav | empty |\n| b/c.wav | the same as d.wav |\n" in report


def test_the_report_stays_a_table_whatever_the_file_names(tmp_path):
    names = names_that_exist(tmp_path)
    for name in names:
        broken(tmp_path / name)
    recordings, left_out = scan.scan(tmp_path)
    report = scan.report(recordings, left_out, "recordings")
    assert not recordings
    assert sorted(paths(left_out)) == sorted(names)
    report.encode("utf-8")
    kinds, reasons = tables(report)
    assert [len(row) for row in kinds] == [4, 4]
    assert [len(row) for row in reasons] == [2] * (2 + len(names))
    assert len(report.splitlines()) == 4 + len(kinds) + 1 + len(reasons)


troublesome = st.text(st.sampled_from("|\n\r\v\x1c\x85\u2028 -a") | st.characters(), min_size=1)


@given(troublesome, troublesome)
def test_names_and_reasons_never_break_the_table(path, reason):
    report = scan.report([], [LeftOutFile(path, reason), LeftOutFile("next", "reason")], "recordings")
    report.encode("utf-8")
    _, reasons = tables(report)
    assert [len(row) for row in reasons] == [2, 2, 2, 2]
    assert report.endswith("| next | reason |\n")


def test_the_manifest_survives_json(tmp_path):
    folder = tmp_path / "recordings"
    folder.mkdir()
    for name in names_that_exist(folder):
        record(folder / name)
        broken(folder / ("x" + name if len(name) < 240 else "x"))
    recordings, left_out = scan.scan(folder)
    assert len(recordings) == len(left_out) > 10
    manifest = scan.CorpusManifest(str(folder), sum(r.seconds for r in recordings), recordings, left_out)
    write_json(tmp_path / "manifest.json", dataclasses.asdict(manifest))
    read = parse(scan.CorpusManifest, read_json(tmp_path / "manifest.json"), "manifest.json")
    assert read == manifest
    assert read.seconds == pytest.approx(0.05 * len(recordings))
    assert all(Path(read.root, recording.path).is_file() for recording in read.recordings)


# Names for what is made of a recording


@given(st.text(min_size=1).filter(lambda text: "\0" not in text), st.binary(min_size=32, max_size=32))
def test_the_name_of_a_recording_is_short_and_plain(path, digest):
    name = Recording(path, 8000, 1, 1, 1.0, digest.hex()).name
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]*-[0-9a-f]{8}", name)
    assert len(name) <= 49


def test_recordings_with_the_same_file_name_get_different_names(tmp_path):
    for name in ("a/take.wav", "b/take.wav", "take.flac", "täke.wav", "TAKE.wav", "🎻.wav", "録音.wav"):
        record(tmp_path / name)
    recordings, _ = scan.scan(tmp_path)
    assert len({recording.name.lower() for recording in recordings}) == len(recordings) == 7


def test_a_recording_keeps_its_name_when_it_is_moved(tmp_path):
    record(tmp_path / "old" / "place" / "take.wav")
    (before,), _ = scan.scan(tmp_path)
    (tmp_path / "old" / "place" / "take.wav").rename(tmp_path / "take.wav")
    (after,), _ = scan.scan(tmp_path)
    assert before.path != after.path
    assert before.name == after.name


def test_the_readable_part_of_a_damaged_recording_is_used_and_noted(tmp_path):
    record(tmp_path / "whole.wav")
    cut = record(tmp_path / "cut.flac", 50_000)
    cut.write_bytes(cut.read_bytes()[:60_000])
    recordings, left_out = scan.scan(tmp_path)
    assert (paths(recordings), left_out) == (["cut.flac", "whole.wav"], [])
    assert 20_000 < recordings[0].frames < 45_000
    assert recordings[0].notes[0].startswith("damaged")
    assert recordings[0].reading.decoder == "FFmpeg"
    (_, noted) = tables(scan.report(recordings, left_out, "here"))
    assert noted[2][0].strip() == "cut.flac"
    resampled = resampling.resample_file(cut, tmp_path / "out.wav", 8000, reading=recordings[0].reading)
    assert resampled.samples == recordings[0].frames
