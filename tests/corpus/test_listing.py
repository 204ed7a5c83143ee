"""The list of recordings changes when they do, and costs little when they do not."""

from pathlib import Path

import pytest

from audiornn.common.digests import sha256
from audiornn.common.errors import AudioRNNError
from audiornn.corpus import listing


@pytest.fixture
def folder(tmp_path):
    for name in ("b.wav", "a/c.wav", ".hidden"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


def test_files_are_listed_by_path_with_sizes_and_hashes(folder):
    files, _ = listing.list_files(folder)
    assert [file.path for file in files] == ["a/c.wav", "b.wav"]
    assert files[1] == listing.ListedFile("b.wav", 5, sha256(folder / "b.wav"))


def test_linked_files_and_folders_are_listed_by_their_content(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "d.wav").write_text("first")
    (folder / "linked").symlink_to(elsewhere)
    before, _ = listing.list_files(folder)
    (elsewhere / "d.wav").write_text("other")
    after, _ = listing.list_files(folder)
    assert [file.path for file in after] == ["a/c.wav", "b.wav", "linked/d.wav"]
    assert before[2].sha256 != after[2].sha256


def test_files_that_did_not_change_are_not_hashed_again(folder, monkeypatch):
    files, known = listing.list_files(folder)
    hashed = []
    monkeypatch.setattr(listing, "sha256", lambda path: hashed.append(Path(path).name) or "new")
    assert listing.list_files(folder, known)[0] == files
    assert hashed == []
    (folder / "b.wav").write_text("longer than before")
    changed, _ = listing.list_files(folder, known)
    assert hashed == ["b.wav"]
    assert changed[1].sha256 == "new"


def test_a_missing_or_unreadable_file_is_listed_without_a_hash(folder):
    (folder / "nowhere.wav").symlink_to(folder / "gone")
    assert listing.list_files(folder)[0][2] == listing.ListedFile("nowhere.wav", 0, None)


@pytest.mark.parametrize(("path", "how"), [("b.wav", "changed"), ("new.wav", "was added")])
def test_a_recording_that_changes_between_listing_and_scan_is_named(folder, path, how):
    listed = listing.list_files(folder)[0]
    listing.check_unchanged(listed, {"b.wav": sha256(folder / "b.wav")}, ["a/c.wav"])
    with pytest.raises(AudioRNNError, match=f"{path}: {how} while the pipeline ran; run dvc repro again"):
        listing.check_unchanged(listed, {path: "0"})


def test_a_file_that_goes_between_listing_and_scan_is_named_unless_it_could_not_be_read(folder):
    listed = [*listing.list_files(folder)[0], listing.ListedFile("locked", 0, None)]
    kept = {"b.wav": sha256(folder / "b.wav")}
    listing.check_unchanged(listed, kept, ["a/c.wav"])
    with pytest.raises(AudioRNNError, match="a/c.wav: went while the pipeline ran; run dvc repro again"):
        listing.check_unchanged(listed, kept)
