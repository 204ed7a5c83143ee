"""Clips of several settings side by side, as a self-contained HTML page."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import soundfile as sf
from markupsafe import Markup

from audiornn.report import embedding

TEMPLATE = "comparison.html"
MAX_SETTINGS, MAX_CLIPS, MAX_SECONDS = 12, 3, 10.0  # on the page: settings, clips of each, seconds of each clip
MAX_BYTES = 24_000_000  # of all figures and audio together, as text


@dataclass(frozen=True)
class ComparedClip:
    """A clip of a setting.

    `wav` is the content of its file; `origin` is equal for clips that continue the same prompt with the same random
    numbers; `findings` says what was found about it, empty for nothing.
    """

    name: str
    wav: bytes
    origin: str = ""
    findings: str = ""


@dataclass(frozen=True)
class ComparedSetting:
    """A column of the page. `notes` are lines below its title; `missing` says why there are no clips."""

    title: str
    notes: Sequence[str]
    clips: Sequence[ComparedClip]
    missing: str = ""
    clips_left_out: int = 0


@dataclass(frozen=True)
class Comparison:
    """Content of the page.

    Attributes
    ----------
    title, description, conclusion
        Of the experiment.
    settings
        Best first, at most twelve.
    left_out
        Number of further settings.
    real
        A passage of the recordings, if there is one.
    pictures
        PNG files by caption.
    table
        Rows of the summary.
    """

    title: str
    description: str
    conclusion: str
    settings: Sequence[ComparedSetting]
    left_out: int = 0
    real: ComparedClip | None = None
    pictures: Mapping[str, bytes] = field(default_factory=dict)
    table: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class _Player:
    title: str
    sound: Markup
    picture: Markup
    findings: str


class _Embedded:
    """What is embedded in a page, up to a number of bytes."""

    def __init__(self) -> None:
        self.bytes = self.omitted = 0

    def player(self, clip: ComparedClip, title: str) -> _Player | None:
        """A player with the spectrogram of a clip; None where the page has no room for more."""
        if self.omitted:  # full before
            self.omitted += 1
            return None
        wave, rate = sf.read(io.BytesIO(clip.wav), dtype="float32", always_2d=True)
        start = wave[: round(MAX_SECONDS * rate), 0].astype(np.float64)
        made = _Player(
            title, embedding.sound(start, rate), embedding.spectrogram(start, rate, clip.name), clip.findings
        )
        size = len(made.sound) + len(made.picture)
        if self.bytes + size > MAX_BYTES:
            self.omitted += 1
            return None
        self.bytes += size
        return made


def render(page: Comparison) -> str:
    """The page as HTML. All text is escaped; figures and audio are data URIs, at most 24 MB of them."""
    held = _Embedded()
    pictures = {caption: embedding.data_uri("image/png", picture) for caption, picture in page.pictures.items()}
    held.bytes = sum(map(len, pictures.values()))
    real = held.player(page.real, "Real audio") if page.real else None
    names = list(dict.fromkeys(clip.name for setting in page.settings for clip in setting.clips))[:MAX_CLIPS]
    rows = []
    for name in names:
        clips = [next((clip for clip in setting.clips if clip.name == name), None) for setting in page.settings]
        players = [
            held.player(clip, f"{name}, {setting.title}") if clip else None
            for clip, setting in zip(clips, page.settings, strict=True)
        ]
        rows.append((name, len({clip.origin for clip in clips if clip}) == 1, players))
    return (
        embedding.templates()
        .get_template(TEMPLATE)
        .render(page=page, pictures=pictures, real=real, rows=rows, seconds=MAX_SECONDS, omitted=held.omitted)
        + "\n"
    )
