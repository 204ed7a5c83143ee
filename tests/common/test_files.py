"""What is promised of files: what has a final name is whole, and an error names the file."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, settings

from audiornn.common.errors import AudioRNNError
from audiornn.common.files import atomic_file, atomic_folder, unique_file
from audiornn.common.serialization import write_json
from tests.helpers.folders import content

in_one_folder = settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])


# --- Files -------------------------------------------------------------------------------------------------------


def test_a_file_has_its_name_only_when_it_is_whole(tmp_path):
    with atomic_file(tmp_path / "a.txt") as partial:
        partial.write_text("half", encoding="utf-8")
        assert not (tmp_path / "a.txt").exists()
        partial.write_text("whole", encoding="utf-8")
    assert content(tmp_path) == {"a.txt": "whole"}


def test_a_file_is_replaced_at_once(tmp_path):
    (tmp_path / "a.txt").write_text("old", encoding="utf-8")
    with atomic_file(tmp_path / "a.txt") as partial:
        partial.write_text("new", encoding="utf-8")
        assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "old"
    assert content(tmp_path) == {"a.txt": "new"}


@pytest.mark.parametrize("failure", [ValueError, AudioRNNError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("before", [{}, {"a.txt": "old"}])
def test_a_failed_write_of_a_file_keeps_the_old_one_and_leaves_nothing_else(tmp_path, before, failure):
    for name, text in before.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(failure), atomic_file(tmp_path / "a.txt") as partial:
        partial.write_text("half", encoding="utf-8")
        raise failure
    assert content(tmp_path) == before


def test_a_partial_file_keeps_the_suffix_that_writers_choose_the_format_by(tmp_path):
    with atomic_file(tmp_path / "model.weights.h5") as partial:
        assert partial.suffix == ".h5"
        assert partial.name.startswith(".")
        assert ".partial" in partial.name  # what .gitignore and .dvcignore pass over
        partial.touch()


def test_parent_folders_are_created(tmp_path):
    with atomic_file(tmp_path / "metrics" / "more" / "a.txt") as partial:
        partial.write_text("1", encoding="utf-8")
    assert content(tmp_path) == {"metrics/more/a.txt": "1"}


# --- Folders -----------------------------------------------------------------------------------------------------


def test_a_folder_has_its_name_only_when_it_is_whole(tmp_path):
    with atomic_folder(tmp_path / "data" / "out") as partial:
        (partial / "a.txt").write_text("1", encoding="utf-8")
        assert not (tmp_path / "data" / "out").exists()
    assert content(tmp_path) == {"data/out/a.txt": "1"}


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    out = tmp_path / "out"
    (out / "deep").mkdir(parents=True)
    (out / "deep" / "old.txt").write_text("old", encoding="utf-8")
    with atomic_folder(out) as partial:
        assert list(partial.iterdir()) == []
        (partial / "new.txt").write_text("new", encoding="utf-8")
        assert (out / "deep" / "old.txt").read_text(encoding="utf-8") == "old"
    assert content(tmp_path) == {"out/new.txt": "new"}


@pytest.mark.parametrize("failure", [ValueError, AudioRNNError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("before", [{}, {"out/a.txt": "old", "out/b.txt": "old"}])
def test_a_failed_write_of_a_folder_keeps_the_old_one_and_leaves_nothing_else(tmp_path, before, failure):
    for name, text in before.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(failure), atomic_folder(tmp_path / "out") as partial:
        (partial / "a.txt").write_text("half", encoding="utf-8")
        raise failure
    assert content(tmp_path) == before


def test_leftovers_of_a_killed_process_do_not_get_into_the_next_folder(tmp_path):
    with atomic_folder(tmp_path / "out") as partial:
        name = partial.name
    (tmp_path / name).mkdir()
    (tmp_path / name / "half.txt").write_text("half", encoding="utf-8")
    with atomic_folder(tmp_path / "out") as partial:
        assert partial.name == name
        (partial / "whole.txt").write_text("whole", encoding="utf-8")
    assert content(tmp_path) == {"out/whole.txt": "whole"}


def test_a_folder_replaces_a_link_or_file_and_keeps_the_target_of_the_link(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/kept.txt").write_text("kept")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "file").write_text("old")
    for name in ("link", "file"):
        with atomic_folder(tmp_path / name) as folder:
            (folder / "new.txt").write_text("new")
        assert [item.name for item in (tmp_path / name).iterdir()] == ["new.txt"]
    assert (tmp_path / "elsewhere/kept.txt").read_text() == "kept"
    assert not [item for item in tmp_path.iterdir() if item.name.startswith(".")]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of one megabyte."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_is_reported_and_existing_files_are_kept(small_disk):
    write_json(small_disk / "a.json", 1)
    with pytest.raises(AudioRNNError, match=r"a\.json: the disk is full: [\d,]+ bytes are free"):
        write_json(small_disk / "a.json", "x" * 2_000_000)
    with (
        pytest.raises(AudioRNNError, match=r"b\.wav: the disk is full: 99 bytes are needed, [\d,]+ bytes are free"),
        atomic_file(small_disk / "b.wav", size=99) as partial,
    ):
        soundfile.write(partial, np.zeros(2_000_000), 8000)  # libsndfile has an error of its own
    with pytest.raises(AudioRNNError, match=r"b\.npy: the disk is full"), unique_file(small_disk / "b.npy") as partial:
        partial.write_bytes(bytes(2_000_000))
    with pytest.raises(AudioRNNError, match="c: the disk is full"), atomic_folder(small_disk / "c") as partial:
        (partial / "d").write_bytes(bytes(2_000_000))
    assert content(small_disk) == {"a.json": "1\n"}


def test_leftovers_of_killed_processes_are_removed_and_files_being_written_are_kept(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    dead, running = process.pid, os.getppid()
    (tmp_path / f".a.{dead}.partial.json").write_text("half")
    (tmp_path / f".a.{running}.partial.json").write_text("in work")
    (tmp_path / f".b.{dead}.partial").mkdir()
    (tmp_path / f".b.{dead}.partial" / "half").write_text("")
    (tmp_path / f".c.{dead}.old.partial").mkdir()
    (tmp_path / f".c.{dead}.old.partial" / "whole").write_text("before")
    (tmp_path / f".ab.{dead}.partial.json").write_text("of another name")
    write_json(tmp_path / "a.json", 1)
    with atomic_folder(tmp_path / "b"):
        pass
    with pytest.raises(ValueError), atomic_folder(tmp_path / "c"):
        raise ValueError
    assert content(tmp_path) == {
        "a.json": "1\n",
        f".a.{running}.partial.json": "in work",
        f".ab.{dead}.partial.json": "of another name",
        "b": "(folder)",
        "c/whole": "before",  # killed between the two renames: restored
    }
