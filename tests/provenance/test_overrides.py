"""Differences of parameters as options of `dvc exp run`: DVC itself makes the one tree of the other with them."""

import json
import shlex

import yaml
from dvc.utils.hydra import apply_overrides
from hypothesis import given, settings
from hypothesis import strategies as st

from audiornn.provenance.overrides import overrides

VALUES = [
    *(None, True, False, 0, -3, 12, 0.5, 0.001, 123456.789, [], [1, 2], [0.95, "0.7:1.1"], ["a b", None], {}),
    *("plain", "two words", "null", "True", "12", "-0.5", "1e3", "", " ", "ü/ö.wav", "/a/b-c.d", "~/x", "a,b", "a=b"),
    *("it's", '"', "'", "\\", "\\'", "a\\", "[1]", "{a: 1}", "(", "a:b", "#", "%", "@", "0.7:1.1", "inf", "+x", ".5"),
]


def test_dvc_makes_the_parameters_of_a_run_from_those_of_its_commit(tmp_path):
    base = {"set": dict.fromkeys(map(str, range(len(VALUES))), 7), "gone": {"a": 1, "b": 2}, "same": {"a": "x y"}}
    params = {
        "set": {str(i): value for i, value in enumerate(VALUES)},
        "gone": {"b": 2},
        "same": {"a": "x y"},
        "new": {"deep": {str(i): value for i, value in enumerate(VALUES)}},
    }
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(base), encoding="utf-8")
    changes = list(overrides(base, params))
    assert not any("same" in change for change in changes)
    command = shlex.split(" ".join(f"-S {shlex.quote(change)}" for change in changes))
    apply_overrides(tmp_path / "params.yaml", command[1::2])
    assert yaml.safe_load((tmp_path / "params.yaml").read_text(encoding="utf-8")) == params


def section(values):
    return st.dictionaries(st.sampled_from("abcd"), values, max_size=3)


text = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=8).filter(
    lambda t: "${" not in t
)
leaf = st.none() | st.booleans() | st.integers(-99, 99) | st.floats(-1, 1) | text
tree = section(st.recursive(leaf, lambda inner: st.lists(inner, max_size=3) | section(inner), max_leaves=6))


@settings(max_examples=40)
@given(tree, tree)
def test_overrides_turn_any_tree_into_any_other(tmp_path_factory, base, target):
    path = tmp_path_factory.mktemp("hydra") / "params.json"
    path.write_text(json.dumps(base))
    apply_overrides(path, list(overrides(base, target)))
    assert json.loads(path.read_text()) == target
