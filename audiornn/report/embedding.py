"""Pages that need no other file: templates whose text is escaped, figures and audio as data URIs."""

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soundfile as sf
from markupsafe import Markup

from audiornn import figures
from audiornn.audio.decoders import open_audio
from audiornn.common.array_types import Samples

if TYPE_CHECKING:
    import jinja2


def templates() -> "jinja2.Environment":
    """The templates of this package. Whatever they are given is escaped."""
    import jinja2

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def data_uri(kind: str, content: bytes) -> Markup:
    """Content of a media type as a data URI."""
    return Markup(f"data:{kind};base64,{base64.b64encode(content).decode()}")


def wave(file: str | Path, seconds: float) -> tuple[Samples, int]:
    """The start of a mono recording, float [n], and its sample rate in Hz."""
    with open_audio(file) as opened:
        block = next(opened.blocks(round(seconds * opened.samplerate)), np.zeros((0, 1), np.float32))
        return block[:, 0].astype(np.float64), opened.samplerate


def sound(wave: Samples, rate: int) -> Markup:
    """A wave as wav in a data URI."""
    held = io.BytesIO()
    sf.write(held, wave, rate, subtype="PCM_16", format="WAV")
    return data_uri("audio/wav", held.getvalue())


def spectrogram(wave: Samples, rate: int, title: str) -> Markup:
    """A wave and its spectrogram as PNG in a data URI."""
    held = io.BytesIO()
    figures.write(figures.clip(wave, rate, title), held, dpi=80)
    return data_uri("image/png", held.getvalue())
