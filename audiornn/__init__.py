"""AudioRNN: recurrent networks that predict raw PCM audio sample by sample, and generate new audio with them."""

from typing import TYPE_CHECKING

from audiornn.common.errors import AudioRNNError

__all__ = ["AudioRNNError", "__version__", "generate", "load"]
__version__ = "0.1.0"

if TYPE_CHECKING:
    from audiornn.generation.clips import generate
    from audiornn.models.storage import load


def __getattr__(name: str) -> object:
    # Both import TensorFlow, which takes seconds: only on first use.
    if name == "generate":
        from audiornn.generation.clips import generate

        return generate
    if name == "load":
        from audiornn.models.storage import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
