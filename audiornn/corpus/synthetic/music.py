"""Melodies on plucked strings (Karplus and Strong 1983)."""

import cmath
import math
from itertools import count
from pathlib import Path

import numpy as np
import scipy
from numpy.typing import NDArray

from audiornn.corpus.synthetic.files import check_arguments, choose, write_until


def music(folder: Path, minutes: float, seed: int = 0, sample_rate: int = 22050) -> list[Path]:
    """Write a corpus of short melodies with a bass line, played on plucked strings.

    Every file is one piece of about 5 to 10 seconds, 16-bit mono WAV with a peak of 0.7 full scale, named by number,
    key and tempo in beats per minute, for example `0003-g-minor-128.wav`.

    Parameters
    ----------
    folder : Path
        Where the files go; created if missing.
    minutes : float
        Total length in minutes; the last file may exceed it.
    seed : int
        Random seed of the pieces; 0 or more.
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
    check_arguments(minutes, seed)
    if sample_rate < 8000:
        raise ValueError(f"sample_rate must be at least 8000 Hz to hold the melodies, not {sample_rate}")
    rng = np.random.default_rng(seed)
    return write_until(folder, minutes, sample_rate, (_piece(sample_rate, rng) for _ in count()))


FULL_SCALE = 32767
PEAK = 0.7  # of full scale
RING_SECONDS = 3.0  # decay time of a string's fundamental by 60 dB


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
    sound: NDArray[np.float64] = scipy.signal.lfilter([1, allpass], denominator, excitation)
    sound /= np.abs(sound).max()
    return sound


TONICS = {"g": 55, "a": 57, "b-flat": 58, "c": 60, "d": 62, "e-flat": 63, "f": 65}  # MIDI numbers, 69 is 440 Hz
SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}  # semitones above the tonic
PROGRESSIONS = ((0, 3, 4, 0), (0, 5, 3, 4), (0, 4, 5, 3), (0, 2, 3, 4), (0, 1, 4, 0))  # scale degrees, a bar each
LOWEST, HIGHEST = -3, 11  # scale degrees of the melody


def _piece(sample_rate: int, rng: np.random.Generator) -> tuple[str, NDArray[np.int16]]:
    """Four bars over a chord progression and a closing note; named after its key and tempo."""
    tonic, mode = choose(tuple(TONICS), rng), choose(tuple(SCALES), rng)
    tempo = 112 + 4 * choose(tuple(range(11)), rng)
    beats_per_bar = choose((3, 4), rng)
    chords = choose(PROGRESSIONS, rng)
    seconds_per_beat = 60 / tempo
    mix = np.zeros(int((len(chords) * beats_per_bar * seconds_per_beat + 1.2) * sample_rate))

    def play(degree: int, beat: float, beats: float, gain: float) -> None:
        """Strike a degree of the scale, counted from the tonic; it rings on for half its length."""
        octave, step = divmod(degree, 7)
        midi = TONICS[tonic] + 12 * octave + SCALES[mode][step]
        start = int(beat * seconds_per_beat * sample_rate)
        sound = pluck(440 * 2 ** ((midi - 69) / 12), 1.5 * beats * seconds_per_beat, sample_rate, rng)
        sound *= np.minimum(1, np.linspace(3, 0, len(sound)))  # the finger damps it over the last third
        sound = sound[: len(mix) - start]
        mix[start : start + len(sound)] += gain * sound

    degree = 4
    for bar, chord in enumerate(chords):
        first = bar * beats_per_bar
        play(chord - 7, first, 2, 0.8)
        play(chord - 3, first + 2, beats_per_bar - 2, 0.6)  # the fifth of the chord
        for beat in range(first, first + beats_per_bar):
            if beat == first:  # bars begin on the nearest note of the chord
                tones = (chord + third + octave for third in (0, 2, 4) for octave in (-7, 0, 7))
                degree = min((tone for tone in tones if LOWEST <= tone <= HIGHEST), key=lambda tone: abs(tone - degree))
            elif rng.random() < 0.15:
                continue  # the last note rings on
            parts = choose((1, 1, 2), rng)
            for part in range(parts):
                play(degree, beat + part / parts, 1 / parts, 1.0)
                degree = min(max(degree + choose((-2, -1, -1, 0, 1, 1, 2), rng), LOWEST), HIGHEST)
    for closing_degree in (-7, 0, 2):
        play(closing_degree, len(chords) * beats_per_bar, 3, 0.8)

    for edge, seconds in ((mix, 0.004), (mix[::-1], 0.25)):  # no click where the piece begins, none where it is cut off
        ramp = np.linspace(0, 1, int(seconds * sample_rate))
        edge[: len(ramp)] *= ramp
    mix *= PEAK * FULL_SCALE / np.abs(mix).max()
    return f"{tonic}-{mode}-{tempo}", np.round(mix).astype(np.int16)
