"""JSON files survive, or are named in one line."""

import json
import math
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audiornn.common.errors import AudioRNNError
from audiornn.common.serialization import parse_yaml, read_json, write_json
from tests.helpers.folders import content

finite = st.floats(allow_nan=False, allow_infinity=False)
documents = st.recursive(
    st.none() | st.booleans() | st.integers() | finite | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
in_one_folder = settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])


def test_numbers_of_yaml_have_no_base_60():
    """PyYAML reads YAML 1.1, where 0:1.2 is 1.2; DVC reads YAML 1.2."""
    text = "{a: 0:1.2, b: [1:0.5, 0.7:1.1, 1:2], c: 190:20:30, d: 1.5, e: -3}"
    wanted = {"a": "0:1.2", "b": ["1:0.5", "0.7:1.1", "1:2"], "c": "190:20:30", "d": 1.5, "e": -3}
    assert parse_yaml(text, "text") == wanted


@in_one_folder
@given(documents)
def test_json_survives_a_round_trip(tmp_path, document):
    write_json(tmp_path / "a.json", document)
    assert read_json(tmp_path / "a.json") == document
    assert list(content(tmp_path)) == ["a.json"]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_json_refuses_values_that_other_readers_cannot_read_and_keeps_the_old_file(tmp_path, value):
    write_json(tmp_path / "a.json", {"loss": 1.0})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"losses": [1.0, value]})
    assert json.loads(content(tmp_path)["a.json"]) == {"loss": 1.0}
    assert list(content(tmp_path)) == ["a.json"]


@pytest.mark.parametrize(
    "damaged", [b"", b"{", b"{'a': 1}", b'{"a": 1,\n}', b"\xff\xfe{}", b'{"a": 1}\n{"b": 2}', b"\x00"]
)
def test_a_damaged_json_file_is_a_one_line_error_with_its_name(tmp_path, damaged):
    path = tmp_path / "manifest.json"
    path.write_bytes(damaged)
    with pytest.raises(AudioRNNError) as error:
        read_json(path)
    (line,) = str(error.value).splitlines()
    assert line.startswith(f"{path}: not readable as JSON: ")


def test_a_json_file_that_is_missing_or_a_folder_is_a_one_line_error_with_its_name(tmp_path):
    with pytest.raises(AudioRNNError) as error:
        read_json(tmp_path / "none.json")
    assert str(error.value) == f"{tmp_path}/none.json: no such file: run dvc repro first"
    with pytest.raises(AudioRNNError, match=f"^{re.escape(str(tmp_path))}: not readable as JSON: .*$"):
        read_json(tmp_path)
