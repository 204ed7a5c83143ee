"""Decoders by libsndfile: of single streams, and of all links of a chained Ogg file; what all decoders share."""

import io
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import soundfile as sf
import soxr
from numpy.typing import NDArray


def native(path: str | Path) -> str | bytes:
    """The file name as the system's bytes: soundfile encodes a str strictly, but POSIX file names may be any bytes."""
    return os.fsencode(path) if os.name == "posix" else str(path)


class OpenFile:
    """What decoders have in common: a block `with`, at the end of which files are closed."""

    name: str
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


class Converter:
    """Blocks of another rate or another number of channels, as those of a recording's first stream."""

    def __init__(self, rate_in: int, rate_out: int, channels: int) -> None:
        self._soxr = soxr.ResampleStream(rate_in, rate_out, channels, "float32", "VHQ") if rate_in != rate_out else None
        self._channels = channels

    def convert(self, block: NDArray[np.float32] | None) -> Iterator[NDArray[np.float32]]:
        """What the next block [n, any channels] adds; None: the end."""
        if block is not None and block.shape[1] != self._channels:
            block = np.repeat(block.mean(axis=1, keepdims=True, dtype=np.float32), self._channels, axis=1)
        if self._soxr:
            last = block is None
            block = np.zeros((0, self._channels), np.float32) if block is None else block
            block = self._soxr.resample_chunk(np.ascontiguousarray(block), last=last).reshape(-1, self._channels)
        if block is not None and len(block):
            yield block


class SndfileDecoder(OpenFile):
    """One stream, by libsndfile.

    Parameters
    ----------
    source
        A path, or a binary file.
    """

    name = "libsndfile"

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


def ogg_links(path: Path) -> list[_Link]:
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


class ChainedDecoder(OpenFile):
    """All links of a chained Ogg file, by libsndfile; rate and channels are those of the first."""

    name = "libsndfile"

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
                converter = Converter(opened.samplerate, self.samplerate, self.channels)
                for block in opened.blocks(frames):
                    yield from converter.convert(block)
                yield from converter.convert(None)
