"""Engines, which compute the distribution of the next code and sample from it."""

from importlib import import_module
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from audiornn.common.errors import AudioRNNError
from audiornn.generation.fused.draws import UNLIMITED, Limits
from audiornn.generation.tensorflow_engine import TensorFlowEngine
from audiornn.models.base import AudioModel, State

ENGINES = ("auto", "fused", "fused-bf16", "tensorflow")
# Module and class of the fused engine of a model, by its name in `audiornn.models.registry.REGISTRY`.
FUSED = {
    "lpcmix": "audiornn.generation.fused.lpcmix:FusedLPCMix",
    "audiornn": "audiornn.generation.fused.audiornn:FusedAudioRNN",
    "samplernn": "audiornn.generation.fused.samplernn:FusedSampleRNN",
    "linear": "audiornn.generation.fused.linear:FusedLinear",
}


class Engine(Protocol):
    """Generator of parallel streams, each with its own state.

    `name` is the engine's; `load_state` takes logits [streams, 256] and state after a prompt; `generate` draws the next
    codes uint8 [streams, n] by uniform numbers in [0, 1) and temperatures, both float32 [streams, n]; `teacher_force`
    takes given codes instead and returns the logits [streams, n, 256] after each.
    """

    name: str

    def load_state(self, logits: NDArray[np.float32], state: State) -> None: ...

    def generate(self, uniform: NDArray[np.float32], temperature: NDArray[np.float32]) -> NDArray[np.uint8]: ...

    def teacher_force(self, codes: NDArray[np.uint8]) -> NDArray[np.float32]: ...


def create_engine(model: AudioModel, name: str = "auto", limits: Limits = UNLIMITED) -> Engine:
    """Create an engine for a model, by name.

    Raises
    ------
    AudioRNNError
        If there is no engine of that name, or it does not support the model.
    """
    if name not in ENGINES:
        raise AudioRNNError(f"engine is {name!r}, but must be one of {', '.join(ENGINES)}")
    fits = model.name in FUSED
    if name == "tensorflow" or (name == "auto" and not fits):
        return TensorFlowEngine(model, limits)
    if not fits:
        raise AudioRNNError(f"engine is {name!r}, but {model.name} has no fused kernels: use auto or tensorflow")
    module, fused = FUSED[model.name].split(":")
    return getattr(import_module(module), fused)(model, limits, bfloat16=name == "fused-bf16")
