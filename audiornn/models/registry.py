"""Registry of models by name."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from audiornn.models.base import AudioModel


# Module and class. They are imported only when a model is built, as TensorFlow takes seconds to import.
REGISTRY = {
    "samplernn": "audiornn.models.samplernn:SampleRNN",
    "audiornn": "audiornn.models.audiornn:AudioRNN",
    "linear": "audiornn.models.linear:Linear",
    "lpcmix": "audiornn.models.lpcmix:LPCMix",
}


def model_class(name: str) -> type["AudioModel"]:
    """The class of one of the names in `REGISTRY`."""
    module, kind = REGISTRY[name].split(":")
    return getattr(importlib.import_module(module), kind)
