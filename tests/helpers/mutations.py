"""Damaged versions of what a parser reads, bytes and structure, and what is promised of every parser.

`AUDIORNN_SOAK_EXAMPLES` says how many each test tries, 150 by default.
"""

import copy
import os
import time

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from audiornn.common.errors import AudioRNNError

EXAMPLES = int(os.environ.get("AUDIORNN_SOAK_EXAMPLES", "150"))
many = settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))

DEEP: list = []
for _ in range(600):
    DEEP = [DEEP]
STRANGE = (
    *(None, True, -1, 0, 0.5, 10**9, 10**12, -(10**30), 10**400, 1e308, "", "1", "../x", "/etc/passwd", "a\0b"),
    *("\ud800", "x" * 10_000, [], {}, [[]], ["audiornn"], {"a": 1}, {"x" * 5000: None}, [0] * 3000, DEEP),
)


def places(tree, path=()):
    """The place of every value in a tree, as keys from its root."""
    yield path
    if isinstance(tree, dict | list):
        for key in tree if isinstance(tree, dict) else range(len(tree)):
            yield from places(tree[key], (*path, key))


@st.composite
def damaged_trees(draw, tree):
    """A tree in which an entry has a strange value, is missing, or has another name."""
    tree = copy.deepcopy(tree)
    *above, last = draw(st.sampled_from([place for place in places(tree) if place]))
    entry = tree
    for key in above:
        entry = entry[key]
    how = draw(st.sampled_from(["replace", "replace", "remove", "rename"]))
    if how == "replace":
        entry[last] = draw(st.sampled_from(STRANGE))
    else:
        held = entry.pop(last)
        if how == "rename" and isinstance(entry, dict):
            entry[draw(st.sampled_from([f"{last}s", "", "x" * 300, "a\nb", "\ud800"]))] = held
    return tree


@st.composite
def damaged_bytes(draw, content):
    """Bytes of which some are flipped, cut off, inserted or repeated."""
    at = draw(st.integers(0, len(content) - 1))
    how = draw(st.sampled_from(["flip", "cut", "insert", "repeat", "remove", "empty"]))
    if how == "flip":
        return content[:at] + bytes([content[at] ^ (1 << draw(st.integers(0, 7)))]) + content[at + 1 :]
    if how == "insert":
        return content[:at] + draw(st.binary(min_size=1, max_size=8)) + content[at:]
    length = draw(st.integers(1, 60))
    return {
        "cut": content[:at],
        "repeat": content[: at + length] + content[at:],
        "remove": content[:at] + content[at + length :],
        "empty": b"",
    }[how]


def check_answer(parse, seconds=10.0):
    """Run a parser on damaged input: it succeeds, or says what is wrong in short lines, soon."""
    begin = time.perf_counter()
    try:
        parse()
    except AudioRNNError as error:
        lines = str(error).splitlines()
        assert 1 <= len(lines) <= 101
        for line in lines:
            assert line.isprintable(), line
            assert len(line) <= 500, line  # at most 300 beside the path of the file
    assert time.perf_counter() - begin < seconds
