"""The digest of sources changes with what they say and with their names, and with nothing else."""

import pytest

from audiornn.common import sources


@pytest.fixture
def package(tmp_path, monkeypatch):
    (tmp_path / "inner").mkdir()
    for name in ("one.py", "inner/two.py", "inner/note.txt", "other.py"):
        (tmp_path / name).write_text(name)
    monkeypatch.setattr(sources, "PACKAGE", tmp_path)
    return tmp_path


def test_modules_and_all_modules_of_packages_are_found_in_order(package):
    assert sources.source_files(["one.py", "inner"]) == [package / "inner/two.py", package / "one.py"]


def test_a_digest_depends_on_contents_and_names_of_the_listed_sources_alone(package):
    before = sources.source_digest(["one.py", "inner"])
    assert len(before) == 64
    (package / "other.py").write_text("changed")
    (package / "inner/note.txt").write_text("changed")
    assert sources.source_digest(["inner", "one.py"]) == before
    (package / "inner/two.py").write_text("changed")
    changed = sources.source_digest(["one.py", "inner"])
    (package / "inner/two.py").write_text("inner/two.py")
    assert sources.source_digest(["one.py", "inner"]) == before != changed
    (package / "inner/two.py").rename(package / "inner/three.py")
    assert sources.source_digest(["one.py", "inner"]) not in (before, changed)
