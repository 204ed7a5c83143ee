"""Synthetic speech by espeak-ng.

Nothing is downloaded. The same arguments give the same bits in every run, and a longer corpus begins with the files of
a shorter one.
"""

import ctypes
import locale
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from audiornn.common.errors import AudioRNNError
from audiornn.corpus.synthetic.files import check_arguments, write_until
from audiornn.corpus.synthetic.sentences import paragraphs


def speech(folder: Path, minutes: float, seed: int = 0) -> list[Path]:
    """Write a corpus of English sentences spoken by one clear voice of espeak-ng.

    Every file is one or two sentences, about 3 to 8 seconds of 16-bit mono WAV at espeak-ng's own rate, 22050 Hz, and
    is named by number and voice, for example `0007-en-gb-steph.wav`. The silence before and after is cut, and noise at
    -70 dBFS is added, as recordings have it: a model that learns digital silence hardly leaves it again.

    Parameters
    ----------
    folder : Path
        Where the files go; created if missing.
    minutes : float
        Total length in minutes; the last file may exceed it.
    seed : int
        Random seed of the sentences, of the order of voices and of the noise; 0 or more.

    Returns
    -------
    list of Path
        The files in order.

    Raises
    ------
    ValueError
        If `minutes` is not a positive number or `seed` is negative.
    AudioRNNError
        If espeak-ng cannot be loaded or lacks a voice.
    """
    return _write(folder, minutes, seed, (CLEAR_VOICE,))


def voices(folder: Path, minutes: float, seed: int = 0) -> list[Path]:
    """The same, spoken by five voices in turn: harder to learn. Named for example `0007-en-gb-f1.wav`."""
    return _write(folder, minutes, seed, VOICES)


class Voice(NamedTuple):
    """A voice of espeak-ng, and how it speaks."""

    label: str
    name: str  # its name in espeak-ng: accent+variant
    rate: int  # words per minute
    pitch: int  # 0 to 99, 50 is the voice's own


# None of these variants adds breath noise, so espeak-ng makes them in integer arithmetic.
CLEAR_VOICE = Voice("en-gb-steph", "en+steph", 160, 55)  # neither rough nor fluttering: learned fastest of 15 voices
VOICES = (
    Voice("en-gb-f1", "en+f1", 160, 55),
    Voice("en-us-m3", "en-us+m3", 170, 45),
    Voice("en-gb-scotland-m1", "en-gb-scotland+m1", 150, 50),
    Voice("en-us-f4", "en-us+f4", 185, 60),
    Voice("en-gb-x-rp-m7", "en-gb-x-rp+m7", 175, 40),
)
AUDIBLE, MARGIN_SECONDS = 30, 0.08  # steps of 16 bits that count as sound; silence kept before and after
NOISE_STEPS = 24  # peak of the noise, whose distribution is triangular: an RMS of 9.8 steps, -70 dBFS


def _write(folder: Path, minutes: float, seed: int, chosen: tuple[Voice, ...]) -> list[Path]:
    check_arguments(minutes, seed)
    rng, noise = np.random.default_rng(seed), np.random.default_rng([seed, 1])
    said = paragraphs(rng)
    with closing(_Espeak()) as espeak:
        pieces = (
            (voice.label, _recorded(espeak.say(next(said), voice), espeak.sample_rate, noise))
            for voice in _turns(rng, chosen)
        )
        return write_until(folder, minutes, espeak.sample_rate, pieces)


def _recorded(samples: NDArray[np.int16], rate: int, rng: np.random.Generator) -> NDArray[np.int16]:
    """Speech without the silence around it, and with the noise of a quiet room."""
    audible, margin = np.flatnonzero(np.abs(samples) > AUDIBLE), round(MARGIN_SECONDS * rate)
    cut = samples[max(0, audible[0] - margin) : audible[-1] + margin]
    # Of uniform numbers, whose stream NumPy keeps across versions.
    noise = NOISE_STEPS * (rng.random(len(cut)) - rng.random(len(cut)))
    return np.clip(np.round(cut + noise), -(1 << 15), (1 << 15) - 1).astype(np.int16)


def _turns(rng: np.random.Generator, chosen: tuple[Voice, ...]) -> Iterator[Voice]:
    """Endless sequence of voices: all of them in every round, shuffled so that no split by position can miss one."""
    while True:
        for place in np.argsort(rng.random(len(chosen))):
            yield chosen[place]


class _Espeak:
    """A fresh, private instance of espeak-ng, independent of earlier uses in this process.

    The library keeps the phases of its oscillators and of the pitch flutter in static variables that neither
    espeak_Terminate nor espeak_Initialize resets: the same sentence sounds minutely different the second time. A copy
    of the file under a new name is loaded as a separate library with initialised variables.
    """

    SYNCHRONOUS, DONT_EXIT = 2, 0x8000  # espeak_Initialize: call back, never play; return on errors
    RATE, VOLUME, PITCH = 1, 2, 3  # espeak_SetParameter
    CHARACTERS, UTF8_ENDPAUSE = 1, 0x1001  # espeak_Synth: count positions in characters; pause at the end
    CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)

    def __init__(self) -> None:
        try:
            import espeakng_loader

            data = espeakng_loader.get_data_path()
            # Windows cannot remove a library in use; elsewhere the folder goes as soon as the copy is loaded.
            with tempfile.TemporaryDirectory(prefix="audiornn-", ignore_cleanup_errors=True) as folder:
                library = Path(espeakng_loader.get_library_path())
                copy = shutil.copy(library, Path(folder) / f"{Path(folder).name}{library.suffix}")
                self._library = ctypes.CDLL(str(copy))
        except (ImportError, OSError, RuntimeError) as error:
            raise AudioRNNError(
                f"espeak-ng for the synthesised speech cannot be loaded: {error} (package espeakng-loader; "
                f"the folder for temporary files, {tempfile.gettempdir()}, must allow loading libraries)"
            ) from error
        encoding = locale.setlocale(locale.LC_CTYPE)
        self.sample_rate: int = self._library.espeak_Initialize(self.SYNCHRONOUS, 0, str(data).encode(), self.DONT_EXIT)
        locale.setlocale(locale.LC_CTYPE, encoding)  # espeak-ng set its own for the whole process
        if self.sample_rate <= 0:
            raise AudioRNNError(f"espeak-ng cannot read its voices in {data} (paths above 150 characters are too long)")
        # Initialising seeds the noise of breathy voices from the clock.
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(1))
        self._library.espeak_Synth.argtypes = [
            ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int, ctypes.c_uint, ctypes.c_uint,
            ctypes.c_void_p, ctypes.c_void_p,
        ]  # fmt: skip
        self._heard: list[bytes] = []
        self._callback = self.CALLBACK(self._hear)  # must live as long as the library may call it
        self._library.espeak_SetSynthCallback(self._callback)

    def _hear(self, samples: "ctypes._Pointer[ctypes.c_short]", length: int, events: int) -> int:
        if samples and length > 0:
            self._heard.append(ctypes.string_at(samples, 2 * length))
        return 0  # continue

    def say(self, text: str, voice: Voice) -> NDArray[np.int16]:
        if self._library.espeak_SetVoiceByName(voice.name.encode()) != 0:
            raise AudioRNNError(f"espeak-ng has no voice {voice.name!r}")
        # 80 % volume keeps the loudest vowels clear of full scale, where espeak-ng would turn them down.
        for parameter, value in ((self.RATE, voice.rate), (self.VOLUME, 80), (self.PITCH, voice.pitch)):
            self._library.espeak_SetParameter(parameter, value, 0)
        self._heard.clear()
        utf8 = text.encode()
        status = self._library.espeak_Synth(utf8, len(utf8) + 1, 0, self.CHARACTERS, 0, self.UTF8_ENDPAUSE, None, None)
        if status != 0 or not self._heard:
            raise AudioRNNError(f"espeak-ng could not say {text!r} as {voice.name!r}")
        return np.frombuffer(b"".join(self._heard), dtype=np.int16)

    def close(self) -> None:
        self._library.espeak_Terminate()
