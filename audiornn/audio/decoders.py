"""Decoders: libsndfile for what it reads exactly, FFmpeg for the rest, all links of a chained Ogg file.

libsndfile takes the end of the first stream for the end of the file: of chained Ogg files (RFC 3533, section 4) and of
MP3 files that were joined it would read a part. It refuses what phones and browsers record (AAC, WMA, WebM).
"""

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Protocol

import numpy as np
import soundfile as sf
from numpy.typing import NDArray

from audiornn.audio.ffmpeg_decoder import FFmpegDecoder, packet_seconds
from audiornn.audio.sndfile_decoders import ChainedDecoder, SndfileDecoder, ogg_links
from audiornn.common.errors import AudioRNNError

MIN_RATE, MAX_RATE = 1000, 768_000  # Hz; what lies beyond is a damaged header, or no audio at all
LIBSNDFILE, FFMPEG = "libsndfile", "FFmpeg"
LONGER_SECONDS = 0.25  # more than libsndfile reads of an MP3 file, beyond the encoder's padding: there is a second one


class AudioDecoder(Protocol):
    """An open recording.

    Attributes
    ----------
    name
        `libsndfile` or `FFmpeg`.
    samplerate, channels
        Of all blocks.
    frames
        Samples per channel that the header promises; 0 where it does not say.
    damage
        What could not be decoded so far, in words; empty where all could.
    """

    name: str
    samplerate: int
    channels: int
    frames: int
    damage: str

    def blocks(self, frames: int) -> Iterator[NDArray[np.float32]]:
        """Blocks [n, channels] of up to `frames`, full scale at ±1, to the end."""

    def __enter__(self) -> "AudioDecoder": ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def open_audio(path: str | Path, decoder: str | None = None) -> AudioDecoder:
    """Open a recording of any kind for reading.

    Parameters
    ----------
    path
        The file.
    decoder
        `libsndfile` or `FFmpeg`; by default the one that reads all of it.

    Raises
    ------
    AudioRNNError
        If it does not exist, is text, no decoder knows its format, or its rate is not plausible.
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise AudioRNNError(f"{path}: {'not a file' if path.exists() else 'no such file'}")
        opened = _open(path, decoder)
    except OSError as error:
        raise AudioRNNError(f"{path}: not readable as audio: {error.strerror or error}") from None
    if not MIN_RATE <= opened.samplerate <= MAX_RATE:
        with opened:
            raise AudioRNNError(
                f"{path}: not readable as audio: its header says {opened.samplerate} Hz, but recordings have "
                f"{MIN_RATE} to {MAX_RATE} Hz"
            )
    return opened


def _open(path: Path, decoder: str | None) -> AudioDecoder:
    with open(path, "rb") as file:
        start = file.read(4096)
    if not start:
        raise AudioRNNError(f"{path}: empty")
    if _is_text(start):
        raise AudioRNNError(f"{path}: not readable as audio: it is text")
    if decoder == FFMPEG:
        return FFmpegDecoder(path)
    try:
        links = ogg_links(path) if start.startswith(b"OggS") else []
        opened = ChainedDecoder(path, links) if len(links) > 1 else SndfileDecoder(path)
    except (sf.SoundFileError, TypeError, ValueError) as error:
        if decoder == LIBSNDFILE:
            raise AudioRNNError(f"{path}: not readable as audio: {_reason(error)}") from None
        try:
            return FFmpegDecoder(path)
        except AudioRNNError:
            raise AudioRNNError(
                f"{path}: not readable as audio: {_reason(error)} FFmpeg cannot read it "
                "either. If it is a complete recording in a rare or protected format, convert it to wav or flac"
            ) from None
    if decoder is None and _is_longer(path, opened):
        with opened:
            return FFmpegDecoder(path)
    return opened


def _is_text(start: bytes) -> bool:
    """Whether a file begins with nothing but printable ASCII and white space."""
    return all(32 <= byte < 127 or byte in b"\t\n\r\f" for byte in start)


def _reason(error: Exception) -> str:
    """Why libsndfile refuses a file: soundfile asks for the rate of headerless ones (.raw, .gsm) by a TypeError."""
    return str(getattr(error, "error_string", None) or error)


def _is_longer(path: Path, opened: "SndfileDecoder | ChainedDecoder") -> bool:
    """Whether FFmpeg finds more in a file than libsndfile would read."""
    if opened.format == "MP3":
        return packet_seconds(path) > opened.frames / opened.samplerate + LONGER_SECONDS
    # A recorder that crashes leaves a header that says that there is nothing.
    return opened.format in ("WAV", "WAVEX", "AIFF", "W64") and not opened.frames and path.stat().st_size > 4096
