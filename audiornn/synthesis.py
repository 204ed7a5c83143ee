"""A corpus for those who have no recordings: synthesised speech, or melodies on plucked strings.

Nothing is downloaded and nothing is left to chance: the same arguments give the same bits in every run, and a longer
corpus begins with the files of a shorter one.
"""

import cmath
import ctypes
import locale
import math
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing
from itertools import chain, count
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import soundfile as sf
from numpy.typing import NDArray
from scipy import signal

from audiornn.errors import AudioRNNError

T = TypeVar("T")


def speech(folder: Path, minutes: float, seed: int = 0) -> list[Path]:
    """Write a corpus of English sentences spoken by the voices of espeak-ng in turn.

    Every file is one voice saying one or two sentences, about 3 to 8 seconds of 16-bit mono WAV at espeak-ng's own
    rate, 22050 Hz, and is named after its place and its voice, for example `0007-en-gb-f1.wav`.

    Parameters
    ----------
    folder : Path
        Where the files go; created if missing.
    minutes : float
        Total length in minutes; the last file may exceed it.
    seed : int
        Decides what is said and the order of the voices; 0 or more.

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
    _check(minutes, seed)
    rng = np.random.default_rng(seed)
    said = _paragraphs(rng)
    with closing(_Espeak()) as espeak:
        pieces = ((voice.label, espeak.say(next(said), voice)) for voice in _turns(rng))
        return _write(folder, minutes, espeak.sample_rate, pieces)


def music(folder: Path, minutes: float, seed: int = 0, sample_rate: int = 22050) -> list[Path]:
    """Write a corpus of short melodies with a bass line, played on plucked strings.

    Every file is one piece of about 5 to 10 seconds, 16-bit mono WAV with a peak of 0.7 full scale, named after its
    place, key and tempo in beats per minute, for example `0003-g-minor-128.wav`.

    Parameters
    ----------
    folder : Path
        Where the files go; created if missing.
    minutes : float
        Total length in minutes; the last file may exceed it.
    seed : int
        Decides the pieces; 0 or more.
    sample_rate : int
        In Hz, at least 8000.

    Returns
    -------
    list of Path
        The files in order.

    Raises
    ------
    ValueError
        If `minutes` is not a positive number, `seed` is negative or `sample_rate` is below 8000 Hz.
    """
    _check(minutes, seed)
    if sample_rate < 8000:
        raise ValueError(f"sample_rate must be at least 8000 Hz to hold the melodies, not {sample_rate}")
    rng = np.random.default_rng(seed)
    return _write(folder, minutes, sample_rate, (_piece(sample_rate, rng) for _ in count()))


def _check(minutes: float, seed: int) -> None:
    if not 0 < minutes < math.inf:
        raise ValueError(f"minutes must be a positive number, not {minutes}")
    if seed < 0:
        raise ValueError(f"seed must be 0 or more, not {seed}")


def _write(
    folder: Path, minutes: float, sample_rate: int, pieces: Iterator[tuple[str, NDArray[np.int16]]]
) -> list[Path]:
    """Write pieces as WAV files until they last `minutes`."""
    folder.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    missing = minutes * 60 * sample_rate
    while missing > 0:
        label, samples = next(pieces)
        paths.append(folder / f"{len(paths) + 1:04d}-{label}.wav")
        sf.write(paths[-1], samples, sample_rate, subtype="PCM_16")
        missing -= len(samples)
    return paths


def _choose(options: tuple[T, ...], rng: np.random.Generator) -> T:
    # NumPy may change how choice() and integers() draw; the plain stream of doubles is what stays.
    return options[int(rng.random() * len(options))]


# ---------------------------------------------------------------------------------------------------------- voices


class _Voice(NamedTuple):
    label: str
    name: str  # what espeak-ng calls it: accent+variant
    rate: int  # words per minute
    pitch: int  # 0 to 99, 50 is the voice's own


# None of these variants adds breath noise, so espeak-ng makes them in integer arithmetic.
VOICES = (
    _Voice("en-gb-f1", "en+f1", 160, 55),
    _Voice("en-us-m3", "en-us+m3", 170, 45),
    _Voice("en-gb-scotland-m1", "en-gb-scotland+m1", 150, 50),
    _Voice("en-us-f4", "en-us+f4", 185, 60),
    _Voice("en-gb-x-rp-m7", "en-gb-x-rp+m7", 175, 40),
)


def _turns(rng: np.random.Generator) -> Iterator[_Voice]:
    """Voices without end: all of them in every round, shuffled so that no split by position can miss one."""
    while True:
        for place in np.argsort(rng.random(len(VOICES))):
            yield VOICES[place]


class _Espeak:
    """A private espeak-ng that starts afresh, whatever this process did with espeak-ng before.

    The library keeps the phases of its oscillators and of the pitch flutter in static variables that neither
    espeak_Terminate nor espeak_Initialize resets: the same sentence sounds minutely different the second time. A
    copy of the file under a new name is loaded as a library of its own, its variables at their start values.
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
        return 0  # go on

    def say(self, text: str, voice: _Voice) -> NDArray[np.int16]:
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


# ------------------------------------------------------------------------------------------------------- sentences

OPENING = (
    "This is a small corpus of speech, and nobody had to sit in front of a microphone for it.",
    "A handful of machine voices take turns to read whatever comes next.",
    "They are fond of boats, bad weather and other people's furniture.",
    "Listen to the vowels first, then to the short silences between the words.",
    "If you train a network on these sounds, it will soon learn to mumble along.",
)

# Rules of a grammar: a name in angle brackets stands for one of the alternatives under that name.
GRAMMAR: dict[str, tuple[str, ...]] = {
    "sentence": (
        "<when> <who> <did> <number> <quality> <things> <where>.",
        "the <quality> <thing> <where> reminded <who> of <likeness> <when>.",
        "a <gusty> wind came from the <compass> <when>, and the <water> grew <state> <where>.",
        "can <who> <do> the <quality> <thing> before <clock>, or must we <wait> <where>?",
        "the <vehicle> from <port> to <town> leaves at <clock> and takes <number> minutes.",
        "whenever the <weather> comes, <who> would rather <do> <number> <things> than <do> the <thing>.",
        "it was too <state> to <do> the <quality> <thing>, so <who> <did> the <things> instead.",
        "there were <number> <things> <where>, but only the <quality> ones belonged to <who>.",
        "please <do> the <quality> <thing> <where> and leave the <things> to <who>.",
        "nobody <where> could hear <who> <do> the <quality> <thing> <when>.",
        "<remark>, said <who>, and <did> the <quality> <thing> <where>.",
        "from <port> you can walk to <town> in <number> minutes, or take the <vehicle> at <clock>.",
        "how did <who> <do> <number> <quality> <things> <when>?",
        "<when> we heard <likeness> <where>, followed by the <vehicle> from <port>.",
    ),
    "when": (
        "last Thursday", "on Monday morning", "in the middle of June", "just after sunrise", "at the end of July",
        "late in the evening", "early this year", "one foggy afternoon", "during the long winter", "the week before",
        "two days ago", "on Wednesday at lunch", "before anyone woke up", "in the third hour", "that very night",
        "every other Sunday", "while it rained", "around Easter", "on a cold Tuesday", "as usual",
    ),
    "who": (
        "my brother", "the old sailor", "our neighbour", "a young doctor", "the baker", "her cousin Joy", "George",
        "Thelma", "the two sisters", "everyone", "the piano teacher", "uncle Hugh", "the judge", "a quiet stranger",
        "Charlotte", "the night porter", "Zoe", "a curious child", "the lighthouse keeper", "Victor",
    ),
    "did": (
        "carried", "found", "painted", "measured", "hid", "moved", "chose", "showed us", "fetched", "mended",
        "washed", "weighed", "drew", "photographed", "counted", "bought", "polished", "dropped",
    ),
    "do": (
        "carry", "find", "paint", "measure", "hide", "move", "choose", "fetch", "mend", "wash", "weigh", "draw",
        "photograph", "unwrap", "buy", "polish", "push", "shake",
    ),
    "number": (
        "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen",
        "fourteen", "fifteen", "sixteen", "eighteen", "nineteen", "twenty", "twenty-seven", "thirty-one",
        "thirty-eight", "forty-three", "fifty-six", "sixty", "seventy-two", "eighty-five", "ninety-nine",
        "a hundred and four",
    ),
    "quality": (
        "rusty", "yellow", "heavy", "smooth", "broken", "tiny", "wooden", "bright red", "rather ugly", "cheap",
        "foreign", "enormous", "noisy", "beige", "thick", "polished", "half-empty", "purple", "fragile", "square",
        "warm", "sharp", "well-known", "dusty", "soft blue",
    ),
    "thing": (
        "bucket", "door", "trumpet", "kitchen chair", "fishing net", "clock", "violin", "ladder", "garage key",
        "treasure chest", "bell", "lantern", "oyster shell", "engine", "umbrella", "jar of honey", "weather map",
        "toothbrush", "television", "wheelbarrow", "sofa cushion", "bridge model", "loudspeaker", "cardboard box",
        "quilt",
    ),
    "things": (
        "buckets", "feathers", "oranges", "coins", "fishing hooks", "letters", "candles", "drums", "onions", "boots",
        "jigsaw puzzles", "windows", "shells", "matches", "cushions", "wheels", "glass bottles", "pictures", "toys",
        "thimbles", "magazines", "pears", "gloves", "radios", "spoons",
    ),
    "where": (
        "under the bridge", "beside the harbour", "in the kitchen", "across the valley", "behind the church",
        "along the beach", "at the station", "near the waterfall", "on the third floor", "outside the theatre",
        "in the long garage", "below the cliffs", "by the village pond", "above the workshop", "in the back garden",
        "between two hedges", "on board the ferry", "inside the tower", "at the edge of the forest",
        "in front of the museum",
    ),
    "likeness": (
        "a sleepy trombone", "the sound of distant thunder", "an old song about fish", "a choir in a cave",
        "boiling water", "a very large bee", "the noise of a busy street", "a train in a tunnel", "slow footsteps",
        "a goose with a cough", "rain on a tin roof", "a whispered joke", "church music", "the hiss of the sea",
        "a barking dog", "someone else's childhood", "a humming fridge", "gravel in a drum",
    ),
    "gusty": ("cold", "gentle", "bitter", "warm", "salty", "sudden", "dry", "fresh", "furious", "playful", "humid"),
    "compass": ("north", "south", "east", "west", "north-east", "south-west", "sea", "mountains", "other shore"),
    "water": ("sea", "river", "lake", "channel", "estuary", "harbour basin", "pond", "stream", "canal", "bay"),
    "state": (
        "rough", "calm", "dark", "cold", "quiet", "strange", "shallow", "wild", "hot", "noisy", "gloomy", "peaceful",
        "dangerous", "dull", "choppy",
    ),
    "weather": (
        "fog", "first snow", "thunder", "drought", "hail", "autumn rain", "heat", "sea mist", "frost", "thaw",
        "spring tide", "north wind", "drizzle", "storm", "equinox",
    ),
    "clock": (
        "ten past six", "half past nine", "a quarter to three", "noon", "midnight", "five to eight", "twenty past four",
        "two o'clock", "a quarter past seven", "eleven thirty", "one fifteen", "twenty-five to five",
    ),
    "wait": (
        "wait until March", "ask again", "stand here", "sleep", "cook", "sing", "sit and watch", "argue", "begin",
        "go on searching", "play chess", "shout",
    ),
    "vehicle": (
        "ferry", "slow train", "bus", "tram", "night boat", "post van", "cable car", "coach", "express", "hovercraft",
    ),
    "port": (
        "Oyster Bay", "Port Jasper", "Whitcombe", "Yarrow Quay", "Great Shelling", "Fenmouth", "Eastwharf", "Durleigh",
        "Saint Hazel", "Gulls Point",
    ),
    "town": (
        "Thornwick", "Upper Dale", "Merrow", "Kingsley Heath", "Little Vaughan", "Cheswell", "Bridgeford", "Moyle",
        "Rathbone", "Zelby", "Nether Poole", "Quarrington",
    ),
    "remark": (
        "what a pleasure", "never mind the noise", "I should have known", "there is no hurry", "that makes five",
        "it was cheaper yesterday", "we shall see", "listen to that", "not on my watch", "thank you, that will do",
        "enough about the weather", "you go first", "oh boy", "this is the usual confusion", "try it the other way",
    ),
}  # fmt: skip


def sentences(rng: np.random.Generator) -> Iterator[str]:
    """English sentences without end, in practice never the same one twice."""

    def expand(name: str) -> str:
        return re.sub(r"<(\w+)>", lambda found: expand(found[1]), _choose(GRAMMAR[name], rng))

    while True:
        text = expand("sentence")
        yield text[0].upper() + text[1:]


def _paragraphs(rng: np.random.Generator, words: int = 10) -> Iterator[str]:
    """Sentences joined until there are at least `words` words, about 3.5 seconds of speech."""
    source = chain(OPENING, sentences(rng))
    while True:
        text = next(source)
        while len(text.split()) < words:
            text += " " + next(source)
        yield text


# --------------------------------------------------------------------------------------------------------- strings

FULL_SCALE = 32767
PEAK = 0.7  # of full scale
RING_SECONDS = 3.0  # until the fundamental of a string has faded by 60 dB


def pluck(frequency: float, seconds: float, sample_rate: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Pluck one string.

    The string of Karplus and Strong: a burst runs round a delay line as long as one period and is averaged with its
    neighbour on each round, so that the upper partials die first. From Jaffe and Smith come the first-order all-pass
    filter, which supplies the fraction of a sample that a delay line cannot, and the weight and the gain of the
    averaging, which make low and high strings ring equally long.

    Parameters
    ----------
    frequency : float
        Of the fundamental in Hz, up to a quarter of `sample_rate`.
    seconds : float
        Length of the sound.
    sample_rate : int
        In Hz.
    rng : numpy.random.Generator
        Decides where and how roughly the string is plucked.

    Returns
    -------
    float64 array [samples]
        With a peak of 1, beginning with the stroke itself and still ringing at the end.

    Raises
    ------
    ValueError
        If `frequency` is outside its range or `seconds` is shorter than one period.

    References
    ----------
    K. Karplus and A. Strong, Digital Synthesis of Plucked-String and Drum Timbres, Computer Music Journal 7(2), 1983.
    D. A. Jaffe and J. O. Smith, Extensions of the Karplus-Strong Plucked-String Algorithm, ibid.
    """
    if not 0 < frequency <= sample_rate / 4:
        raise ValueError(f"frequency must be above 0 and at most {sample_rate / 4:g} Hz, not {frequency}")
    if seconds * frequency < 1:
        raise ValueError(f"seconds must be at least one period, {1 / frequency:.4f}, not {seconds}")
    period = sample_rate / frequency
    omega = 2 * math.pi / period
    # The neighbour counts half, or less where that would fade the fundamental too soon; the gain makes up the rest.
    fade = 10 ** (-3 / (RING_SECONDS * frequency))  # of the fundamental in one round
    weight = 0.5 - math.sqrt(max(0.0, 0.25 - (1 - fade**2) / (2 * (1 - math.cos(omega)))))
    average = 1 - weight + weight * cmath.exp(-1j * omega)
    gain = min(1.0, fade / abs(average))
    # What the averaging does not delay is left to whole samples and, between 0.1 and 1.1 samples, to the all-pass.
    remaining = period + cmath.phase(average) / omega
    length = int(remaining - 0.1)
    fraction = remaining - length
    allpass = math.sin((1 - fraction) * omega / 2) / math.sin((1 + fraction) * omega / 2)

    # A string drawn aside at one point and let go starts with a rectangular velocity wave; noise makes it a finger.
    drawn = max(1, int(length * (0.2 + 0.2 * rng.random())))
    noise = 0.5 * (2 * rng.random(length) - 1)
    burst = np.where(np.arange(length) < drawn, 1.0, -drawn / (length - drawn)) + noise - noise.mean()
    excitation = np.zeros(int(seconds * sample_rate))
    excitation[:length] = burst

    # 1 / (1 - z^-length gain (1 - weight + weight z^-1) (allpass + z^-1) / (1 + allpass z^-1)), as one fraction
    denominator = np.zeros(length + 3)
    denominator[:2] = 1, allpass
    denominator[length:] -= gain * np.convolve([1 - weight, weight], [allpass, 1])
    sound: NDArray[np.float64] = signal.lfilter([1, allpass], denominator, excitation)
    sound /= np.abs(sound).max()
    return sound


# --------------------------------------------------------------------------------------------------------- melodies

TONICS = {"g": 55, "a": 57, "b-flat": 58, "c": 60, "d": 62, "e-flat": 63, "f": 65}  # MIDI numbers, 69 is 440 Hz
SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}  # semitones above the tonic
PROGRESSIONS = ((0, 3, 4, 0), (0, 5, 3, 4), (0, 4, 5, 3), (0, 2, 3, 4), (0, 1, 4, 0))  # scale degrees, a bar each
LOWEST, HIGHEST = -3, 11  # scale degrees of the melody


def _piece(sample_rate: int, rng: np.random.Generator) -> tuple[str, NDArray[np.int16]]:
    """Four bars over a chord progression and a closing note; named after its key and tempo."""
    tonic, mode = _choose(tuple(TONICS), rng), _choose(tuple(SCALES), rng)
    tempo = 112 + 4 * _choose(tuple(range(11)), rng)
    beats_a_bar = _choose((3, 4), rng)
    chords = _choose(PROGRESSIONS, rng)
    seconds_a_beat = 60 / tempo
    mix = np.zeros(int((len(chords) * beats_a_bar * seconds_a_beat + 1.2) * sample_rate))

    def play(degree: int, beat: float, beats: float, gain: float) -> None:
        """Strike a degree of the scale, counted from the tonic; it rings on for half its length."""
        octave, step = divmod(degree, 7)
        midi = TONICS[tonic] + 12 * octave + SCALES[mode][step]
        start = int(beat * seconds_a_beat * sample_rate)
        sound = pluck(440 * 2 ** ((midi - 69) / 12), 1.5 * beats * seconds_a_beat, sample_rate, rng)
        sound *= np.minimum(1, np.linspace(3, 0, len(sound)))  # the finger damps it over the last third
        sound = sound[: len(mix) - start]
        mix[start : start + len(sound)] += gain * sound

    degree = 4
    for bar, chord in enumerate(chords):
        first = bar * beats_a_bar
        play(chord - 7, first, 2, 0.8)
        play(chord - 3, first + 2, beats_a_bar - 2, 0.6)  # the fifth of the chord
        for beat in range(first, first + beats_a_bar):
            if beat == first:  # bars begin on the nearest note of the chord
                tones = (chord + third + octave for third in (0, 2, 4) for octave in (-7, 0, 7))
                degree = min((tone for tone in tones if LOWEST <= tone <= HIGHEST), key=lambda tone: abs(tone - degree))
            elif rng.random() < 0.15:
                continue  # the last note rings on
            parts = _choose((1, 1, 2), rng)
            for part in range(parts):
                play(degree, beat + part / parts, 1 / parts, 1.0)
                degree = min(max(degree + _choose((-2, -1, -1, 0, 1, 1, 2), rng), LOWEST), HIGHEST)
    for closing_degree in (-7, 0, 2):
        play(closing_degree, len(chords) * beats_a_bar, 3, 0.8)

    for edge, seconds in ((mix, 0.004), (mix[::-1], 0.25)):  # no click where the piece begins, none where it is cut off
        ramp = np.linspace(0, 1, int(seconds * sample_rate))
        edge[: len(ramp)] *= ramp
    mix *= PEAK * FULL_SCALE / np.abs(mix).max()
    return f"{tonic}-{mode}-{tempo}", np.round(mix).astype(np.int16)
