"""The model that a training starts from: where it is and what identifies it."""

from audiornn.common.digests import sha256
from audiornn.common.serialization import read_json, write_json
from audiornn.training.ancestor import find
from tests.helpers.tiny_model import RUN


def test_an_ancestor_of_an_earlier_version_has_no_known_number_of_updates(ancestor_folder):
    config = read_json(ancestor_folder / "config.json")
    del config["trained_steps"], config["weights_sha256"]
    write_json(ancestor_folder / "config.json", config)
    found = find(str(ancestor_folder))
    assert (found.steps, found.run_id) == (0, RUN)
    assert found.weights_sha256 == sha256(ancestor_folder / "model.weights.h5")
