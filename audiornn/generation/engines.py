"""Engines: what computes the distribution of the next code and draws it."""

from importlib import import_module
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from audiornn.errors import AudioRNNError
from audiornn.generation.fused.draws import UNLIMITED, Limits
from audiornn.generation.tensorflow_engine import TensorFlowEngine
from audiornn.models.base import AudioModel, State

ENGINES = ("auto", "fused", "fused-bf16", "tensorflow")
# Module and class of the engines made for a model, by its name in `audiornn.models.registry.REGISTRY`.
FUSED = {
    "lpcmix": "audiornn.generation.fused.lpcmix:FusedLPCMix",
    "audiornn": "audiornn.generation.fused.audiornn:FusedAudioRNN",
    "samplernn": "audiornn.generation.fused.samplernn:FusedSampleRNN",
    "linear": "audiornn.generation.fused.linear:FusedLinear",
}


class Engine(Protocol):
    """What generates: streams side by side, each with its state.

    `name` is the engine's; `load_state` takes logits [streams, 256] and state after a prompt; `generate` draws the next
    codes uint8 [streams, n] by uniform numbers in [0, 1) and temperatures, both float32 [streams, n]; `teacher_force`
    takes given codes instead and returns the logits [streams, n, 256] after each.
    """

    name: str

    def load_state(self, logits: NDArray[np.float32], state: State) -> None: ...

    def generate(self, uniform: NDArray[np.float32], temperature: NDArray[np.float32]) -> NDArray[np.uint8]: ...

    def teacher_force(self, codes: NDArray[np.uint8]) -> NDArray[np.float32]: ...


def engine(model: AudioModel, name: str = "auto", limits: Limits = UNLIMITED) -> Engine:
    """The engine of a name, made for a model.

    Raises
    ------
    AudioRNNError
        If there is no such engine, or it has no kernels for the model.
    """
    if name not in ENGINES:
        raise AudioRNNError(f"engine is {name!r}, but must be one of {', '.join(ENGINES)}")
    fits = model.name in FUSED
    if name == "tensorflow" or (name == "auto" and not fits):
        return TensorFlowEngine(model, limits)
    if not fits:
        raise AudioRNNError(f"engine is {name!r}, but {model.name} has no fused kernels: auto or tensorflow would do")
    module, fused = FUSED[model.name].split(":")
    return getattr(import_module(module), fused)(model, limits, bfloat16=name == "fused-bf16")
