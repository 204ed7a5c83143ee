"""Digests and stamps of files."""

import hashlib
import json
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audiornn.common.digests import file_stamp, sha256


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200))
def test_the_digest_of_a_file_is_that_of_its_bytes(tmp_path, data):
    (tmp_path / "a").write_bytes(data)
    assert sha256(tmp_path / "a") == hashlib.sha256(data).hexdigest()


def test_a_file_that_is_read_or_linked_keeps_its_stamp(tmp_path):
    file, link = tmp_path / "file", tmp_path / "link"
    file.write_bytes(b"1234")
    before = file_stamp(file)
    file.read_bytes()
    link.symlink_to(file)
    assert file_stamp(file) == file_stamp(str(link)) == before
    assert before.size == 4


def test_a_file_that_is_written_again_has_another_stamp(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"1234")
    os.utime(file, ns=(10**18, 10**18))
    before = file_stamp(file)
    file.write_bytes(b"4321")
    assert file_stamp(file).without_inode != before.without_inode
    os.utime(file, ns=(10**18, 10**18))
    assert file_stamp(file) == before, "size, time and inode are all that is looked at"


def test_a_file_that_is_replaced_by_one_of_the_same_size_and_time_has_another_stamp(tmp_path):
    file, other = tmp_path / "file", tmp_path / "other"
    for path in (file, other):
        path.write_bytes(b"1234")
        os.utime(path, ns=(10**18, 10**18))
    before = file_stamp(file)
    other.replace(file)
    assert file_stamp(file) != before
    assert file_stamp(file).without_inode == before.without_inode


def test_a_stamp_is_a_list_of_numbers_in_json(tmp_path):
    stamp = file_stamp(tmp_path)
    assert json.loads(json.dumps(stamp)) == list(stamp)


def test_a_missing_file_has_no_stamp(tmp_path):
    with pytest.raises(FileNotFoundError):
        file_stamp(tmp_path / "missing")
