#!/usr/bin/env python3
"""What the diagnosis measures on real audio and on defects made from it, and how often it is right.

    python benchmarks/diagnosis.py --speech DIR --music DIR [--skip REGEX] [--pieces 100] [--json FILE]

Pieces of 1, 2, 4 and 10 s are drawn at random from the recordings below each folder, at the rate that they have; all
must have the same. Recordings of more than a minute begin and end with fades, so a tenth at both ends is left out, and
so are recordings whose path matches REGEX, such as beeps among speech.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from audiornn import audio, codec, corpus
from audiornn.diagnostics import Diagnosis, Reference, diagnose

Wave = NDArray[np.float64]
Make = Callable[[float], tuple[Wave, float | None]]  # seconds to a wave and the period of its loop

SECONDS = (1, 2, 4, 10)
PERIODS = (0.06, 0.12, 0.3, 0.7)
NUMBERS = ("silent_share", "clipped_share", "flatness", "change_db", "loop_similarity")
PERCENTILES = (0, 1, 50, 99, 100)


class Recordings:
    """The recordings below a folder in memory, and pieces of them."""

    def __init__(self, folder: Path, skip: str, random: np.random.Generator) -> None:
        found = [r for r in corpus.scan(folder)[0] if not (skip and re.search(skip, r.path))]
        if len({r.rate for r in found}) != 1:
            sys.exit(f"{folder}: recordings of one rate are needed, found {sorted({r.rate for r in found})}")
        self.rate, self._random = found[0].rate, random
        self.waves: list[Wave] = []
        for r in found:
            wave = np.concatenate(list(audio.read_blocks(folder / r.path))).mean(axis=1, dtype=np.float64)
            fade = len(wave) // 10 if r.seconds > 60 else 0
            self.waves.append(wave[fade : len(wave) - fade])

    def piece(self, seconds: float, waves: list[Wave] | None = None) -> Wave:
        """A random piece of a recording that is long enough, each second as likely as any other."""
        size = round(seconds * self.rate)
        long = [wave for wave in waves or self.waves if len(wave) >= size]
        weights = np.array([len(wave) - size + 1 for wave in long], np.float64)
        wave = long[self._random.choice(len(long), p=weights / weights.sum())]
        start = self._random.integers(len(wave) - size + 1)
        return wave[start : start + size]

    def loud(self, seconds: float) -> Wave:
        """The loudest of four pieces: defects are made of sound, not of pauses."""
        return max((self.piece(seconds) for _ in range(4)), key=lambda wave: float(np.sum(wave**2)))


def defects(source: Recordings, random: np.random.Generator) -> Iterator[tuple[str, str, Make]]:
    """Name, kind that it should be found as, and maker of each defect."""
    rate = source.rate

    def normal(seconds: float) -> Wave:
        return random.standard_normal(round(seconds * rate))

    def time(seconds: float) -> Wave:
        return np.arange(round(seconds * rate)) / rate

    def codes(seconds: float, spread: float) -> Wave:
        drawn = codec.SILENCE + random.laplace(0, spread, round(seconds * rate))
        return codec.decode(np.clip(drawn, 0, codec.MU).astype(np.uint8))

    def level(wave: Wave, peak: float) -> Wave:
        return peak * wave / np.abs(wave).max()

    def plain(make: Callable[[float], Wave]) -> Make:
        return lambda seconds: (make(seconds), None)

    yield "digital silence", "silent", plain(lambda s: np.zeros(round(s * rate)))
    yield "codes around silence", "silent", plain(lambda s: np.clip(codes(s, 0.4), -1, 1))
    yield "real, at -65 dBFS", "silent", plain(lambda s: (w := source.loud(s)) * 10 ** (-65 / 20) / w.std())
    yield "silence after a quarter", "mostly-silent", plain(lambda s: source.loud(s) * (time(s) < s / 4))
    yield "white noise", "noise", plain(lambda s: 0.1 * normal(s))
    yield "noise through the codec", "noise", plain(lambda s: level(codes(s, random.uniform(5, 40)), 0.9))
    yield (
        "noise from the middle on",
        "noise",
        plain(lambda s: np.where(time(s) < s / 2, w := source.loud(s), w.std() * normal(s))),
    )
    yield (
        "real under noise, SNR -5 dB",
        "noise",
        plain(lambda s: (w := source.loud(s)) + 10 ** (5 / 20) * w.std() * normal(s)),
    )
    yield "sine", "tone", plain(lambda s: 0.3 * np.sin(2 * np.pi * random.uniform(50, 0.45 * rate) * time(s)))
    yield (
        "sine under noise, SNR 20 dB",
        "tone",
        plain(lambda s: 0.3 * np.sin(2 * np.pi * random.uniform(50, 0.4 * rate) * time(s)) + 0.021 * normal(s)),
    )
    yield "sawtooth", "tone", plain(lambda s: 0.3 * signal.sawtooth(2 * np.pi * random.uniform(50, 500) * time(s)))
    yield (
        "clipped at a third of its peak",
        "clipped",
        plain(lambda s: np.round(0.5 * np.clip(3 * level(source.loud(s), 1), -1, 1) * 32768) / 32768),
    )
    yield "clipped at half its peak", "clipped", plain(lambda s: np.clip(2 * level(source.loud(s), 1), -1, 1))
    yield "offset of 0.03", "dc", plain(lambda s: source.loud(s) + 0.03)

    def loop(change: Callable[[list[Wave]], list[Wave]] = list, noise: float = 0.0, whole: bool = True) -> Make:
        def make(seconds: float) -> tuple[Wave, float | None]:
            period = random.choice([p for p in PERIODS if 6 * p <= seconds])
            rounds = change([source.loud(period)] * (round(seconds / period) + 2))
            wave = np.concatenate(rounds)[: round(seconds * rate)]
            wave = wave + noise * wave.std() * normal(seconds)
            return wave if whole else np.where(time(seconds) < seconds / 2, source.loud(seconds), wave), period

        return make

    def sway(rounds: list[Wave]) -> list[Wave]:  # each longer or shorter by up to 1 %
        return [signal.resample(w, round(len(w) * random.uniform(0.99, 1.01))) for w in rounds]

    def breathe(rounds: list[Wave]) -> list[Wave]:
        return [random.uniform(0.5, 1) * w for w in rounds]

    yield "loop", "looping", loop()
    yield "loop under noise, SNR 10 dB", "looping", loop(noise=10 ** (-10 / 20))
    yield "loop, rounds of 50 to 100 % level", "looping", loop(breathe)
    yield "loop, rounds of 99 to 101 % length", "looping", loop(sway)
    yield "loop from the middle on", "looping", loop(whole=False)


def row(found: list[Diagnosis]) -> dict[str, Any]:
    """Percentiles of each number, and the share of clips with each kind of finding."""
    kinds = sorted({finding.kind for d in found for finding in d.findings})
    return {
        "clips": len(found),
        "percentiles": {
            name: [float(v) for v in np.percentile([getattr(d, name) for d in found], PERCENTILES)] for name in NUMBERS
        },
        "findings": {kind: float(np.mean([any(f.kind == kind for f in d.findings) for d in found])) for kind in kinds},
    }


def show(name: str, result: dict[str, Any]) -> None:
    cells = [
        "/".join(f"{v:.{0 if number == 'change_db' and v >= 9.95 else 1 if number == 'change_db' else 2}f}" for v in p)
        for number, p in result["percentiles"].items()
    ]
    kinds = ", ".join(f"{kind} {share:.1%}" for kind, share in result["findings"].items()) or "nothing"
    period = f"; period right {result['period_right']:.1%}" if "period_right" in result else ""
    print(f"| {name} | {result['clips']} | " + " | ".join(cells) + f" | {kinds}{period} |", flush=True)


def distances(speech: Recordings, music: Recordings, count: int, random: np.random.Generator) -> dict[str, Any]:
    """How often a clip is far from a reference: real audio of the same kind, of another, and defects."""
    rate = speech.rate
    halves = {
        # Every other recording of speech; of music, whose recordings are few, the first half of each.
        "speech": (speech.waves[::2], speech.waves[1::2]),
        "music": ([w[: len(w) // 2] for w in music.waves], [w[len(w) // 2 :] for w in music.waves]),
    }
    result: dict[str, Any] = {}
    for name, (known, unknown) in halves.items():
        reference = Reference.of(known, rate)
        other, source = ("music", music) if name == "speech" else ("speech", speech)
        own = speech if name == "speech" else music
        clips: dict[str, Callable[[float], Wave]] = {
            f"other {name}": lambda s, own=own, unknown=unknown: own.piece(s, unknown),
            other: lambda s, source=source: source.piece(s),
            "white noise": lambda s: 0.1 * random.standard_normal(round(s * rate)),
            "sine": lambda s: 0.3 * np.sin(2 * np.pi * random.uniform(50, 2000) * np.arange(round(s * rate)) / rate),
        }
        for kind, make in clips.items():
            for seconds in SECONDS:
                made = [diagnose(make(seconds), rate, reference) for _ in range(count)]
                heard = [d for d in made if d.frechet_distance is not None]
                far = [any(f.kind == "far-from-reference" for f in d.findings) for d in heard]
                result[f"{kind}, {seconds} s, against {name}"] = {
                    "distance": [float(v) for v in np.percentile([d.frechet_distance for d in heard], (1, 50, 99))],
                    "limit": heard[0].frechet_limit,
                    "far": float(np.mean(far)),
                }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", type=Path, required=True, metavar="DIR")
    parser.add_argument("--music", type=Path, required=True, metavar="DIR")
    parser.add_argument("--skip", default="", metavar="REGEX")
    parser.add_argument("--pieces", type=int, default=100, help="of each length and class (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    random = np.random.default_rng(0)
    sources = {
        name: Recordings(folder, arguments.skip, random)
        for name, folder in (("speech", arguments.speech), ("music", arguments.music))
    }
    results: dict[str, Any] = {}
    print(f"Percentiles {', '.join(map(str, PERCENTILES))} of each number.\n")
    print(f"| clips | number | {' | '.join(NUMBERS)} | found |")
    print("|---" * (len(NUMBERS) + 3) + "|")
    for name, source in sources.items():
        real = [diagnose(source.piece(s), source.rate) for s in SECONDS for _ in range(arguments.pieces * 3)]
        results[f"real {name}"] = row(real)
        show(f"real {name}", results[f"real {name}"])
    for makers in zip(*(defects(source, random) for source in sources.values()), strict=True):
        name, kind, _ = makers[0]
        made = [
            (make(s), source.rate)
            for (_, _, make), source in zip(makers, sources.values(), strict=True)
            for s in SECONDS
            for _ in range(max(1, arguments.pieces // 4))
            if not ("middle" in name and s < 2)
        ]
        found = [diagnose(wave, rate) for (wave, _), rate in made]
        results[name] = row(found) | {"should_be": kind}
        periods = [(p, d.loop_period_seconds) for ((_, p), _), d in zip(made, found, strict=True) if p]
        if told := [abs(got / p - 1) < 0.01 for p, got in periods if got]:
            results[name]["period_right"] = float(np.mean(told))
        show(name, results[name])
    far = distances(sources["speech"], sources["music"], max(1, arguments.pieces // 2), random)
    print("\n| clips | distance (dB): percentiles 1, 50, 99 | limit | found far |\n|---|---|---|---|")
    for name, result in far.items():
        print(f"| {name} | {'/'.join(f'{v:.1f}' for v in result['distance'])} | {result['limit']:.1f} ", end="")
        print(f"| {result['far']:.0%} |")
    if arguments.json:
        arguments.json.write_text(json.dumps({"clips": results, "distances": far}, indent=2) + "\n")


if __name__ == "__main__":
    main()
