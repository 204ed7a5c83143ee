"""A decoder by FFmpeg, for what libsndfile does not read, or not to its end."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiornn.audio.sndfile_decoders import Converter, OpenFile
from audiornn.common.errors import AudioRNNError

# FFmpeg's names of formats that are recognised by their content, and G.722, which has no header. Others it would guess
# from a file's name, and read text as sound.
FORMATS = {
    *("aac", "ac3", "aiff", "amr", "ape", "asf", "au", "avi", "caf", "dsf", "eac3", "flac", "flv", "g722", "loas"),
    *("matroska,webm", "mov,mp4,m4a,3gp,3g2,mj2", "mp3", "mpeg", "mpegts", "ogg", "tak", "tta", "w64", "wav", "wv"),
}


class FFmpegDecoder(OpenFile):
    """The first audio stream of a file, by FFmpeg; packets that cannot be decoded are skipped and counted."""

    name = "FFmpeg"

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
        converter: Converter | None = None
        resampler = None
        held: list[NDArray[np.float32]] = []
        for frame in self._frames():
            if converter is None or frame.sample_rate != rate:  # the first, or of another file that was joined
                if converter:
                    held += converter.convert(None)
                rate, converter = frame.sample_rate, Converter(frame.sample_rate, self.samplerate, self.channels)
                resampler = None
            resampler = resampler or av.AudioResampler(format="fltp")
            frame.pts = None
            try:
                planar = resampler.resample(frame)
            except ValueError:  # other channels, another sample format: as at another rate
                resampler = av.AudioResampler(format="fltp")
                planar = resampler.resample(frame)
            for part in planar:
                held += converter.convert(np.asarray(part.to_ndarray().T, np.float32))
            while sum(map(len, held)) >= frames:
                whole = np.concatenate(held)
                yield np.ascontiguousarray(whole[:frames])
                held = [whole[frames:]]
        if converter:
            held += converter.convert(None)
        rest = np.concatenate(held) if held else np.zeros((0, self.channels), np.float32)
        for start in range(0, len(rest), frames):
            yield np.ascontiguousarray(rest[start : start + frames])

    def close(self) -> None:
        self._container.close()


def packet_seconds(path: Path) -> float:
    """How long all packets of a file last together; nothing is decoded."""
    try:
        with FFmpegDecoder(path) as opened:
            packets = opened._container.demux(opened._stream)
            return float(sum(p.duration * p.time_base for p in packets if p.duration and p.time_base))
    except (AudioRNNError, OSError, ValueError):
        return 0.0
