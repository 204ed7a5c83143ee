"""Tags of a run."""

from audiornn.tracking.tags import ancestor_tags

RUN = "0123456789abcdef" * 2


def test_a_run_names_its_ancestor():
    assert ancestor_tags("models:/audiornn@champion", "ab", RUN) == {
        "ancestor.source": "models:/audiornn@champion",
        "ancestor.weights_sha256": "ab",
        "ancestor.run": RUN,
    }
    assert "ancestor.run" not in ancestor_tags("http://user:secret@host/x", "ab", None)
    assert "secret" not in str(ancestor_tags("http://user:secret@host/x", "ab", None))
