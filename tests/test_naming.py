"""Any text gives a plain file name that stays close to it."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audiornn.naming import slug


@given(st.text(), st.integers(1, 60))
def test_any_text_gives_a_plain_file_name(text, length):
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]*", slug(text, length))
    assert len(slug(text, length)) <= max(length, len("recording"))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Aria (live), take 2", "Aria-live-take-2"),
        ("Žluťoučký kůň", "Zlutoucky-kun"),
        ("../../etc/passwd", "etc-passwd"),
        (".hidden", "hidden"),
        ("-rf", "rf"),
        ("v1.2", "v1.2"),
        ("日本語", "recording"),
        ("", "recording"),
        ("x" * 50, "x" * 40),
    ],
)
def test_a_plain_name_stays_close_to_the_text(text, name):
    assert slug(text) == name
