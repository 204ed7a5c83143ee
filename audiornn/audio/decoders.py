"""Decoders: libsndfile for what it reads exactly, FFmpeg for the rest, all links of a chained Ogg file.

libsndfile takes the end of the first stream for the end of the file: of chained Ogg files (RFC 3533, section 4) and of
MP3 files that were joined it would read a part. It refuses what phones and browsers record (AAC, WMA, WebM).
"""

import io
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
import soundfile as sf
import soxr
from numpy.typing import NDArray

from audiornn.errors import AudioRNNError

MIN_RATE, MAX_RATE = 1000, 768_000  # Hz; what lies beyond is a damaged header, or no audio at all
LIBSNDFILE, FFMPEG = "libsndfile", "FFmpeg"
# FFmpeg's names of formats that are recognised by their content, and G.722, which has no header. Others it would guess
# from a file's name, and read text as sound.
FORMATS = {
    *("aac", "ac3", "aiff", "amr", "ape", "asf", "au", "avi", "caf", "dsf", "eac3", "flac", "flv", "g722", "loas"),
    *("matroska,webm", "mov,mp4,m4a,3gp,3g2,mj2", "mp3", "mpeg", "mpegts", "ogg", "tak", "tta", "w64", "wav", "wv"),
}
LONGER_SECONDS = 0.25  # more than libsndfile reads of an MP3 file, beyond the encoder's padding: there is a second one


class Decoder(Protocol):
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

    def __enter__(self) -> "Decoder": ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def open_audio(path: str | Path, decoder: str | None = None) -> Decoder:
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


def _open(path: Path, decoder: str | None) -> Decoder:
    with open(path, "rb") as file:
        start = file.read(4096)
    if not start:
        raise AudioRNNError(f"{path}: empty")
    if _is_text(start):
        raise AudioRNNError(f"{path}: not readable as audio: it is text")
    if decoder == FFMPEG:
        return FFmpegDecoder(path)
    try:
        links = _ogg_links(path) if start.startswith(b"OggS") else []
        opened = ChainedDecoder(path, links) if len(links) > 1 else SndfileDecoder(path)
    except (sf.SoundFileError, TypeError, ValueError) as error:
        if decoder == LIBSNDFILE:
            raise AudioRNNError(f"{path}: not readable as audio: {_reason(error)}") from None
        try:
            return FFmpegDecoder(path)
        except AudioRNNError:
            raise AudioRNNError(
                f"{path}: not readable as audio: {_reason(error)} To FFmpeg it is none either: is it a recording, "
                "and whole? One in a rare or protected format can be converted to wav or flac"
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
        return _packet_seconds(path) > opened.frames / opened.samplerate + LONGER_SECONDS
    # A recorder that crashes leaves a header that says that there is nothing.
    return opened.format in ("WAV", "WAVEX", "AIFF", "W64") and not opened.frames and path.stat().st_size > 4096


def native(path: str | Path) -> str | bytes:
    """The file name as the system's bytes: soundfile encodes a str strictly, but POSIX file names may be any bytes."""
    return os.fsencode(path) if os.name == "posix" else str(path)


class _Open:
    """What decoders have in common: a block `with`, at the end of which files are closed."""

    name = LIBSNDFILE
    samplerate: int
    channels: int
    frames: int
    damage = ""

    def close(self) -> None:
        """Close the file."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class SndfileDecoder(_Open):
    """One stream, by libsndfile.

    Parameters
    ----------
    source
        A path, or a binary file.
    """

    def __init__(self, source: Path | io.RawIOBase) -> None:
        self._file = sf.SoundFile(native(source) if isinstance(source, Path) else source)
        self.samplerate, self.channels, self.frames = self._file.samplerate, self._file.channels, self._file.frames
        self.format = self._file.format
        if isinstance(source, Path) and (promised := _promised_bytes(source)):
            held = source.stat().st_size
            self.damage = f"cut off: the header promises {promised:,} bytes, the file has {held:,}" * (held < promised)

    def blocks(self, frames: int) -> Iterator[NDArray[np.float32]]:
        while len(block := self._file.read(frames, dtype="float32", always_2d=True)):
            yield block

    def close(self) -> None:
        self._file.close()


def _promised_bytes(path: Path) -> int:
    """The length of a wav file as its header has it; 0 for other files, and where the header was never completed."""
    with open(path, "rb") as file:
        riff, size, kind = struct.unpack("<4sI4s", file.read(12).ljust(12, b"\0"))
        if (riff, kind) != (b"RIFF", b"WAVE"):
            return 0
        while len(header := file.read(8)) == 8:
            name, size = struct.unpack("<4sI", header)
            if name == b"data":
                return file.tell() + size if size not in (0, 0xFFFFFFFF, 0x7FFFFFFF) else 0
            file.seek(size + size % 2, os.SEEK_CUR)
    return 0


@dataclass(frozen=True)
class _Link:
    """A stretch of a chained Ogg file, in bytes."""

    start: int
    stop: int


def _ogg_links(path: Path) -> list[_Link]:
    """The links of an Ogg file: each begins with pages that begin a stream (RFC 3533)."""
    starts, size, at, begun = [], path.stat().st_size, 0, False
    with open(path, "rb") as file:
        while len(header := file.read(27)) == 27 and header.startswith(b"OggS"):
            begins = bool(header[5] & 2)
            if begins and not begun:
                starts.append(at)
            begun = begins
            at += 27 + header[26] + sum(file.read(header[26]))
            file.seek(at)
    return [_Link(start, stop) for start, stop in zip(starts, [*starts[1:], size], strict=True)]


class _Stretch(io.RawIOBase):
    """Part of a file, as a file."""

    def __init__(self, path: Path, link: _Link) -> None:
        self._file, self._link = open(path, "rb"), link  # noqa: SIM115 (closed by close)
        self._file.seek(link.start)

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - a buffer, which Python 3.11 has no type for
        left = self._link.stop - self._file.tell()
        return self._file.readinto(memoryview(buffer)[: max(0, left)])

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: self._link.start, os.SEEK_CUR: self._file.tell(), os.SEEK_END: self._link.stop}[whence]
        return self._file.seek(base + offset) - self._link.start

    def tell(self) -> int:
        return self._file.tell() - self._link.start

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        self._file.close()
        super().close()


class ChainedDecoder(_Open):
    """All links of a chained Ogg file, by libsndfile; rate and channels are those of the first."""

    def __init__(self, path: Path, links: list[_Link]) -> None:
        self._path, self._links = path, links
        self.format, self.frames = "OGG", 0
        for i, link in enumerate(links):
            with _Stretch(path, link) as stretch, SndfileDecoder(stretch) as opened:
                if i == 0:
                    self.samplerate, self.channels = opened.samplerate, opened.channels
                self.frames += round(opened.frames * self.samplerate / opened.samplerate)

    def blocks(self, frames: int) -> Iterator[NDArray[np.float32]]:
        for link in self._links:
            with _Stretch(self._path, link) as stretch, SndfileDecoder(stretch) as opened:
                convert = _Converter(opened.samplerate, self.samplerate, self.channels)
                for block in opened.blocks(frames):
                    yield from convert(block)
                yield from convert(None)


class _Converter:
    """Blocks of another rate or another number of channels, as those of a recording's first stream."""

    def __init__(self, rate_in: int, rate_out: int, channels: int) -> None:
        self._soxr = soxr.ResampleStream(rate_in, rate_out, channels, "float32", "VHQ") if rate_in != rate_out else None
        self._channels = channels

    def __call__(self, block: NDArray[np.float32] | None) -> Iterator[NDArray[np.float32]]:
        """What the next block [n, any channels] adds; None: the end."""
        if block is not None and block.shape[1] != self._channels:
            block = np.repeat(block.mean(axis=1, keepdims=True, dtype=np.float32), self._channels, axis=1)
        if self._soxr:
            last = block is None
            block = np.zeros((0, self._channels), np.float32) if block is None else block
            block = self._soxr.resample_chunk(np.ascontiguousarray(block), last=last).reshape(-1, self._channels)
        if block is not None and len(block):
            yield block


class FFmpegDecoder(_Open):
    """The first audio stream of a file, by FFmpeg; packets that cannot be decoded are skipped and counted."""

    name = FFMPEG

    def __init__(self, path: Path) -> None:
        import av

        self._path = path
        try:
            self._container = av.open(str(path), metadata_errors="replace")
        except (av.FFmpegError, ValueError) as error:
            raise AudioRNNError(f"{path}: not readable as audio: {error}") from None
        streams = self._container.streams.audio
        known = self._container.format.name in FORMATS
        if not known or not streams or not streams[0].codec_context or not streams[0].rate:
            self._container.close()
            raise AudioRNNError(f"{path}: not readable as audio: {'no audio' if known else 'unknown format'}")
        self._stream = streams[0]
        self.samplerate, self.channels = self._stream.rate, self._stream.codec_context.channels
        duration, unit = self._stream.duration, self._stream.time_base
        self.frames = round(duration * unit * self.samplerate) if duration and unit else 0
        self.format = self._container.format.name

    def _frames(self) -> Iterator[Any]:
        import av

        failed = 0
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except av.FFmpegError:  # the file ends amid a packet
                failed, packet = failed + 1, None
            if packet is None:
                break
            try:
                yield from packet.decode()
            except av.FFmpegError:
                failed += 1
        if failed:
            self.damage = f"damaged: {failed} {'packet' if failed == 1 else 'packets'} could not be decoded"

    def blocks(self, frames: int) -> Iterator[NDArray[np.float32]]:
        import av

        rate = 0
        convert: _Converter | None = None
        resampler = None
        held: list[NDArray[np.float32]] = []
        for frame in self._frames():
            if convert is None or frame.sample_rate != rate:  # the first, or another file that was joined to the first
                if convert:
                    held += convert(None)
                rate, convert = frame.sample_rate, _Converter(frame.sample_rate, self.samplerate, self.channels)
                resampler = None
            resampler = resampler or av.AudioResampler(format="fltp")
            frame.pts = None
            try:
                planar = resampler.resample(frame)
            except ValueError:  # other channels, another sample format: as at another rate
                resampler = av.AudioResampler(format="fltp")
                planar = resampler.resample(frame)
            for part in planar:
                held += convert(np.asarray(part.to_ndarray().T, np.float32))
            while sum(map(len, held)) >= frames:
                whole = np.concatenate(held)
                yield np.ascontiguousarray(whole[:frames])
                held = [whole[frames:]]
        if convert:
            held += convert(None)
        rest = np.concatenate(held) if held else np.zeros((0, self.channels), np.float32)
        for start in range(0, len(rest), frames):
            yield np.ascontiguousarray(rest[start : start + frames])

    def close(self) -> None:
        self._container.close()


def _packet_seconds(path: Path) -> float:
    """How long all packets of a file last together; nothing is decoded."""
    try:
        with FFmpegDecoder(path) as opened:
            packets = opened._container.demux(opened._stream)
            return float(sum(p.duration * p.time_base for p in packets if p.duration and p.time_base))
    except (AudioRNNError, OSError, ValueError):
        return 0.0
