"""The weights that a training starts from."""

from collections.abc import Iterator

from audiornn.common.array_types import Tensor
from audiornn.common.digests import check_file
from audiornn.common.errors import AudioRNNError, shown
from audiornn.dataset.manifest import Manifest
from audiornn.models import storage
from audiornn.models.base import AudioModel
from audiornn.models.folder import WEIGHTS
from audiornn.params import Train
from audiornn.training.ancestor import Ancestor

CODEC_PARAMETERS = {
    "sample_rate": "resample.sample_rate",
    "highpass_hz": "resample.highpass_hz",
    "preemphasis": "encode.preemphasis",
}


def start_weights(ancestor: Ancestor, manifest: Manifest, params: Train) -> list[Tensor]:
    """Weights of an ancestor, statistics of batch normalisation included, in the order of `model.variables`.

    Parameters
    ----------
    ancestor
        As `ancestor.find` gives it.
    manifest
        Of the shards.
    params
        The `train` section.

    Raises
    ------
    AudioRNNError
        If it is damaged, or if name, sizes or codec are others than those of this training: a line for each.
    """
    check_file(ancestor.folder / WEIGHTS, ancestor.weights_sha256, "it changed while the pipeline ran: run it again")
    model = storage.load(ancestor.folder)
    lines = [
        f"train.start_from is {ancestor.source!r}, a model with {parameter} {shown(theirs)}, but {parameter} is "
        f"{shown(ours)}: they must be equal"
        for parameter, theirs, ours in _compared(model, manifest, params)
        if theirs != ours
    ]
    if lines:
        raise AudioRNNError("\n".join(lines))
    return [variable.numpy() for variable in model.variables]


def _compared(model: AudioModel, manifest: Manifest, params: Train) -> Iterator[tuple[str, object, object]]:
    """Parameters, their values for a model, and those of this training."""
    for name, parameter in CODEC_PARAMETERS.items():
        yield parameter, getattr(model.codec, name), getattr(manifest.codec, name)
    yield "train.model.name", model.name, params.model.name
    if model.name == params.model.name:
        rate = manifest.codec.sample_rate
        for name, ours in storage.complete(params.model.name, params.model.sizes, sample_rate=rate).items():
            yield f"train.model.{name}", model.sizes[name], ours
