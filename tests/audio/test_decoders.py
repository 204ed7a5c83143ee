"""All of a recording is decoded, whatever its format, or it is said what is missing."""

import base64
import struct

import numpy as np
import pytest
import soundfile as sf

from audiornn.audio.decoders import FFMPEG, LIBSNDFILE, open_audio
from audiornn.common.errors import AudioRNNError

av = pytest.importorskip("av")

RATE = 16_000
# A fifth of a second of a 440 Hz sine at 8 kHz, as speexenc 1.2.1 writes it: FFmpeg can only read Speex.
SPEEX = base64.b64decode(
    "T2dnUwACAAAAAAAAAADUKYVtAAAAAFzZKXUBUFNwZWV4ICAgMS4yLjEAAAAAAAAAAAAAAAAAAAABAAAAUAAAAEAfAAAAAAAABAAAAAEAAAD///"
    "//oAAAAAAAAAABAAAAAAAAAAAAAAAAAAAAT2dnUwAAAAAAAAAAAADUKYVtAQAAAHZzJ4UBIBgAAABFbmNvZGVkIHdpdGggU3BlZXggMS4yLjEA"
    "AAAAT2dnUwAEQAYAAAAAAADUKYVtAgAAAFOPT4ULFBQUFBQUFBQUFBQYVIlQADnOcBBT9BwMkToSB2tjKBhUiSS9/rh8HhR7ZA7L2A8HhL7BGF"
    "SJKnw0l3gTDqyinxaz80+HOdkYVIkqfDrjdT4y52KfApudT4c4WRhUiUp8Oc51PiTnOy8PzB2XhzsuGFSJKnw9zx0+IDcOnw7I3U+LGG4YVIkq"
    "fGXOdT4yN+afDsuzl4k5wxhUiSp8Sfl1PjLsup8ZG4dPh2puGFSJKnxBzhU+NOy6nw8LoU+HucMYVIlKfDnBdT4k5zsvDnOdT44GThhEiZldOc"
    "50buI3O1yRG7OuRThu"
)


def tone(seconds=1.0, rate=RATE, hz=440.0, amplitude=0.5):
    return amplitude * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)


def encode(path, codec, wave, rate=RATE, container=None, layout="mono", sample_format=None):
    """Write a wave as FFmpeg would."""
    with av.open(str(path), "w", format=container) as file:
        stream = file.add_stream(codec, rate=rate)
        stream.layout = layout
        if sample_format:
            stream.format = sample_format
        if codec == "wmav2":
            stream.bit_rate = 64_000
        size = stream.codec_context.open() or stream.codec_context.frame_size
        convert = av.AudioResampler(stream.format.name, layout, rate, size or None)
        frame = av.AudioFrame.from_ndarray(np.float32(wave)[None], "fltp", "mono")
        frame.sample_rate = rate
        for part in (*convert.resample(frame), *convert.resample(None)):
            file.mux(stream.encode(part))
        file.mux(stream.encode(None))


def decoded(path, decoder=None, frames=5000):
    with open_audio(path, decoder) as file:
        return np.concatenate(list(file.blocks(frames)), dtype=np.float64), file


def level_at(wave, rate, hz):
    """Amplitude of a tone in a wave, apart from its ends."""
    middle = wave[len(wave) // 4 : -len(wave) // 4]
    turn = np.exp(-2j * np.pi * hz * np.arange(len(middle)) / rate) * np.hanning(len(middle))
    return 4 * abs(np.mean(turn * middle))


@pytest.mark.parametrize(
    ("name", "codec", "container"),
    [
        ("a.m4a", "aac", None),
        ("a.aac", "aac", "adts"),
        ("a.mp4", "aac", None),
        ("a.webm", "libopus", None),
        ("a.wma", "wmav2", "asf"),
        ("a.g722", "g722", None),
        ("a.ac3", "ac3", None),
    ],
)
def test_formats_that_libsndfile_does_not_know_are_read_by_ffmpeg(name, codec, container, tmp_path):
    rate = {"libopus": 48_000, "wmav2": 44_100, "ac3": 44_100}.get(codec, RATE)
    encode(tmp_path / name, codec, tone(rate=rate), rate, container)
    wave, file = decoded(tmp_path / name)
    assert (file.name, file.samplerate, file.channels) == (FFMPEG, rate, 1)
    assert len(wave) == pytest.approx(rate, abs=0.1 * rate)
    assert level_at(wave[:, 0], rate, 440) == pytest.approx(0.5, rel=0.1)
    with pytest.raises(AudioRNNError, match="not readable as audio"):
        open_audio(tmp_path / name, LIBSNDFILE)


def test_speex_is_read_by_ffmpeg(tmp_path):
    (tmp_path / "a.spx").write_bytes(SPEEX)
    wave, file = decoded(tmp_path / "a.spx")
    assert (file.name, file.samplerate, file.channels) == (FFMPEG, 8000, 1)
    assert len(wave) == pytest.approx(1600, abs=200)
    assert level_at(wave[400:1600, 0], 8000, 440) > 0.2


@pytest.mark.parametrize(("name", "codec"), [("a.tta", "tta"), ("a.wv", "wavpack"), ("a.flac", "flac")])
@pytest.mark.parametrize("frames", [333, 100_000])
def test_lossless_formats_are_decoded_exactly_in_blocks_of_any_size(name, codec, frames, tmp_path):
    written = np.round(tone() * 2**15) / 2**15
    encode(tmp_path / name, codec, written, sample_format="s16p" if codec == "wavpack" else "s16")
    wave, _ = decoded(tmp_path / name, FFMPEG, frames)
    np.testing.assert_array_equal(wave[:, 0], written)
    with open_audio(tmp_path / name, FFMPEG) as file:
        sizes = [len(block) for block in file.blocks(frames)]
    assert set(sizes[:-1]) <= {frames}


@pytest.mark.parametrize(("suffix", "options"), [("ogg", {}), ("opus", {"format": "OGG", "subtype": "OPUS"})])
def test_all_links_of_a_chained_ogg_file_are_read(suffix, options, tmp_path):
    parts = []
    for hz in (300, 500, 700):
        sf.write(tmp_path / f"{hz}.{suffix}", tone(1, RATE, hz), RATE, **options)
        parts.append((tmp_path / f"{hz}.{suffix}").read_bytes())
    (tmp_path / f"chain.{suffix}").write_bytes(b"".join(parts))
    wave, file = decoded(tmp_path / f"chain.{suffix}")
    singles = [sf.read(tmp_path / f"{hz}.{suffix}")[0] for hz in (300, 500, 700)]
    assert file.frames == len(wave) == sum(map(len, singles))
    np.testing.assert_allclose(wave[:, 0], np.concatenate(singles), atol=1e-6)


def test_a_link_with_another_rate_and_more_channels_is_converted_to_those_of_the_first(tmp_path):
    sf.write(tmp_path / "a.ogg", tone(1, 16_000, 300), 16_000)
    sf.write(tmp_path / "b.ogg", np.column_stack([tone(1, 8000, 500)] * 2), 8000)
    (tmp_path / "chain.ogg").write_bytes((tmp_path / "a.ogg").read_bytes() + (tmp_path / "b.ogg").read_bytes())
    wave, file = decoded(tmp_path / "chain.ogg")
    assert (file.samplerate, file.channels) == (16_000, 1)
    assert len(wave) == file.frames == pytest.approx(32_000, abs=20)
    assert level_at(wave[16_000:, 0], 16_000, 500) == pytest.approx(0.5, rel=0.05)


@pytest.mark.parametrize("rates", [(22_050, 22_050), (22_050, 44_100)])
def test_joined_mp3_files_are_read_to_the_end(rates, tmp_path):
    for i, rate in enumerate(rates):
        sf.write(tmp_path / f"{i}.mp3", tone(2, rate, 300 + 200 * i), rate)
    (tmp_path / "both.mp3").write_bytes((tmp_path / "0.mp3").read_bytes() + (tmp_path / "1.mp3").read_bytes())
    wave, file = decoded(tmp_path / "both.mp3")
    assert (file.name, file.samplerate) == (FFMPEG, 22_050)
    assert len(wave) / 22_050 == pytest.approx(4, abs=0.2)
    assert level_at(wave[-44_000:, 0], 22_050, 500) == pytest.approx(0.5, rel=0.1)
    assert decoded(tmp_path / "0.mp3")[1].name == LIBSNDFILE


def test_a_wav_file_whose_header_was_never_completed_is_read_to_its_end(tmp_path):
    sf.write(tmp_path / "a.wav", tone(), RATE)
    content = bytearray((tmp_path / "a.wav").read_bytes())
    content[4:8] = content[40:44] = b"\0\0\0\0"
    (tmp_path / "a.wav").write_bytes(content)
    wave, _ = decoded(tmp_path / "a.wav")
    np.testing.assert_allclose(wave[:, 0], tone(), atol=2**-15)


def test_a_truncated_wav_file_is_reported(tmp_path):
    sf.write(tmp_path / "a.wav", tone(), RATE)
    content = (tmp_path / "a.wav").read_bytes()
    (tmp_path / "a.wav").write_bytes(content[: len(content) // 2])
    wave, file = decoded(tmp_path / "a.wav")
    assert len(wave) == pytest.approx(RATE / 2, abs=30)
    assert file.damage == f"cut off: the header promises {len(content):,} bytes, the file has {len(content) // 2:,}"


@pytest.mark.parametrize("rate", [1, 999, 2_147_483_647])
def test_an_impossible_sample_rate_is_refused(rate, tmp_path):
    sf.write(tmp_path / "a.wav", tone(0.1), RATE)
    content = bytearray((tmp_path / "a.wav").read_bytes())
    content[24:28] = struct.pack("<I", rate)
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(AudioRNNError, match=f"a.wav: not readable as audio: its header says {rate} Hz"):
        open_audio(tmp_path / "a.wav")


@pytest.mark.parametrize("name", ["a.snd", "a.au", "a.vox", "a.g722", "a.wav", "a.mp3", "a.txt"])
def test_text_is_not_audio_whatever_the_file_is_called(name, tmp_path):
    (tmp_path / name).write_text("These are words.\n\tMore of them.\n" * 500)
    with pytest.raises(AudioRNNError, match="not readable as audio: it is text"):
        open_audio(tmp_path / name)


@pytest.mark.parametrize("name", ["a.wav", "a.mp3", "a.m4a", "a.ogg", "a.bin"])
def test_a_file_that_no_decoder_can_read_is_refused_with_advice(name, tmp_path):
    (tmp_path / name).write_bytes(bytes(range(1, 256)) * 40)
    with pytest.raises(AudioRNNError, match=r"not readable as audio: .*convert it to wav or flac"):
        open_audio(tmp_path / name)


def test_pictures_and_films_without_sound_are_refused(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as file:
        stream = file.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 32
        for _ in range(3):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8))))
        file.mux(stream.encode(None))
    with pytest.raises(AudioRNNError, match="not readable as audio"):
        open_audio(tmp_path / "a.mp4")


def test_an_empty_file_is_reported_as_empty(tmp_path):
    (tmp_path / "a.wav").touch()
    with pytest.raises(AudioRNNError, match="a.wav: empty"):
        open_audio(tmp_path / "a.wav")
