#!/usr/bin/env python3
"""What the diagnosis measures on real audio and on defects made from it, and how often it is right.

    python benchmarks/diagnosis.py --speech DIR --music DIR [--skip REGEX] [--pieces 100] [--seed 0] [--json FILE]

Pieces of 1, 2, 4 and 10 s are drawn at random from the recordings below each folder, at the rate that they have; all
must have the same. Recordings of more than a minute begin and end with fades, so a tenth at both ends is left out, and
so are recordings whose path matches REGEX, such as beeps among speech.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from audiornn import codec
from audiornn.audio import levels
from audiornn.audio.waves import read_blocks
from audiornn.corpus import scan
from audiornn.diagnostics.diagnosis import Diagnosis, diagnose
from audiornn.diagnostics.reference import Reference

Wave = NDArray[np.float64]
Make = Callable[[float], tuple[Wave, float | None]]  # seconds to a wave and the period of its loop

SECONDS = (1, 2, 4, 10)
PERIODS = (0.06, 0.12, 0.3, 0.7)
NUMBERS = ("silent_share", "clipped_share", "flatness", "level_variation_db", "loop_similarity")
PERCENTILES = (0, 1, 50, 99, 100)


class Recordings:
    """The recordings below a folder in memory, and pieces of them."""

    def __init__(self, folder: Path, skip: str, random: np.random.Generator) -> None:
        found = [r for r in scan.scan(folder)[0] if not (skip and re.search(skip, r.path))]
        if len({r.rate for r in found}) != 1:
            sys.exit(f"{folder}: recordings of one rate are needed, found {sorted({r.rate for r in found})}")
        self.rate, self._random = found[0].rate, random
        self.waves: list[Wave] = []
        for r in found:
            wave = np.concatenate(list(read_blocks(folder / r.path))).mean(axis=1, dtype=np.float64)
            fade = len(wave) // 10 if r.seconds > 60 else 0
            self.waves.append(wave[fade : len(wave) - fade])
        longest = max(len(wave) for wave in self.waves) / self.rate
        self.lengths = [s for s in SECONDS if s <= longest]
        print(f"{folder}: {len(self.waves)} recordings, {sum(map(len, self.waves)) / self.rate / 60:.1f} minutes used")

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


class Defects:
    """Clips with a known defect, made of real pieces or of nothing; each maker takes seconds."""

    def __init__(self, source: Recordings, random: np.random.Generator) -> None:
        self.source, self.random = source, random

    def all(self) -> list[tuple[str, str, Make]]:
        """Name, kind that it should be found as, and maker of each; of the loops, the maker tells the period, too."""
        loud, time, normal = self.source.loud, self.time, self.normal
        uniform = self.random.uniform
        made: list[tuple[str, str, Callable[[float], Wave]]] = [
            ("digital silence", "silent", lambda s: 0 * time(s)),
            ("codes around silence", "silent", lambda s: self.codes(s, 0.4)),
            ("real at -65 dBFS", "silent", lambda s: (w := loud(s)) * 10 ** (-65 / 20) / w.std()),
            ("real, silent after a quarter", "mostly-silent", lambda s: loud(s) * (time(s) < s / 4)),
            ("white noise", "noise", lambda s: 0.1 * normal(s)),
            ("random codes", "noise", lambda s: self.codes(s, uniform(5, 40))),
            ("real under noise, SNR -5 dB", "noise", lambda s: level((w := loud(s)) + 1.78 * w.std() * normal(s))),
            ("real, then noise", "noise", lambda s: np.where(time(s) < s / 2, w := loud(s), w.std() * normal(s))),
            ("sine", "tone", lambda s: self.sine(s)),
            ("sine under noise, SNR 20 dB", "tone", lambda s: self.sine(s) + 0.0212 * normal(s)),
            ("sawtooth", "tone", lambda s: 0.3 * signal.sawtooth(2 * np.pi * uniform(50, 500) * time(s))),
            ("real, then a sine", "tone", lambda s: np.where(time(s) < s / 2, loud(s), self.sine(s))),
            ("real, 2 % cut off, scaled", "clipped", lambda s: cut(loud(s), 0.02)),
            ("real, 0.5 % cut off, scaled", "clipped", lambda s: cut(loud(s), 0.005)),
            ("real, offset 0.03", "dc", lambda s: loud(s) + 0.03),
        ]
        loops: list[tuple[str, Make]] = [
            ("loop", lambda s: self.loop(s)),
            ("loop under noise, SNR 10 dB", lambda s: self.loop(s, noise=0.316)),
            ("loop, rounds of 50 to 100 % level", lambda s: self.loop(s, lambda w: uniform(0.5, 1) * w)),
            (
                "loop, rounds of 99 to 101 % length",
                lambda s: self.loop(s, lambda w: signal.resample(w, round(len(w) * uniform(0.99, 1.01))), least=0.3),
            ),
            (
                "real, then a loop",
                lambda s: (np.where(time(s) < s / 2, loud(s), (made := self.loop(s, most=s / 6))[0]), made[1]),
            ),
        ]
        plain = [(name, kind, lambda s, make=make: (make(s), None)) for name, kind, make in made]
        return plain + [(name, "looping", make) for name, make in loops]

    def time(self, seconds: float) -> Wave:
        return np.arange(round(seconds * self.source.rate)) / self.source.rate

    def normal(self, seconds: float) -> Wave:
        return self.random.standard_normal(round(seconds * self.source.rate))

    def sine(self, seconds: float) -> Wave:
        return 0.3 * np.sin(2 * np.pi * self.random.uniform(50, 0.45 * self.source.rate) * self.time(seconds))

    def codes(self, seconds: float, spread: float) -> Wave:
        """What a model makes whose codes are drawn at random around silence."""
        drawn = codec.SILENCE + self.random.laplace(0, spread, round((seconds + 1) * self.source.rate))
        wave = codec.decode(np.clip(np.round(drawn), 0, codec.MU).astype(np.uint8))
        return levels.make_playable(wave, self.source.rate, skip=self.source.rate)[0]

    def loop(
        self,
        seconds: float,
        change: Callable[[Wave], Wave] = lambda wave: wave,
        noise: float = 0.0,
        least: float = 0.0,
        most: float | None = None,
    ) -> tuple[Wave, float]:
        """A real piece again and again, at least six times unless the longest period is given; and the period."""
        period = self.random.choice([p for p in PERIODS if least <= p <= (most or max(least, seconds / 6))])
        piece = self.source.loud(period)
        rounds = np.concatenate([change(piece) for _ in range(round(seconds / period * 1.02) + 2)])
        wave = rounds[: round(seconds * self.source.rate)]
        return wave + noise * wave.std() * self.normal(seconds), round(period * self.source.rate) / self.source.rate


def level(wave: Wave, peak: float = 0.9) -> Wave:
    return peak * wave / np.abs(wave).max()


def cut(wave: Wave, share: float) -> Wave:
    """Cut off a number of samples, scale to half of full scale, and round to 16 bit."""
    top = np.quantile(np.abs(wave), 1 - share)
    return np.round(0.5 * np.clip(wave / top, -1, 1) * 32768) / 32768


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
    cells = []
    for number, values in result["percentiles"].items():
        low, middle, high = values[0], values[2], values[4]
        if number.endswith("_share"):
            cells.append(f"{low:.2%} {middle:.2%} {high:.2%}")
        else:
            digits = 1 if number == "level_variation_db" else 2
            cells.append(f"{low:.{digits}f} {middle:.{digits}f} {high:.{digits}f}")
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
            for seconds in sorted({*speech.lengths} & {*music.lengths}):
                made = [diagnose(make(seconds), rate, reference) for _ in range(count)]
                heard = [d for d in made if d.distance_db is not None]
                far = [any(f.kind == "far-from-reference" for f in d.findings) for d in heard]
                result[f"{kind}, {seconds} s, against {name}"] = {
                    "distance": [float(v) for v in np.percentile([d.distance_db for d in heard], (1, 50, 99))],
                    "limit": heard[0].distance_limit_db,
                    "far": float(np.mean(far)),
                }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", type=Path, required=True, metavar="DIR")
    parser.add_argument("--music", type=Path, required=True, metavar="DIR")
    parser.add_argument("--skip", default="", metavar="REGEX")
    parser.add_argument("--pieces", type=int, default=100, help="of each length and class (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    random = np.random.default_rng(arguments.seed)
    sources = {
        name: Recordings(folder, arguments.skip, random)
        for name, folder in (("speech", arguments.speech), ("music", arguments.music))
    }
    results: dict[str, Any] = {}
    print("\nLowest, median and highest of each number, and the share of clips with each finding.\n")
    print(f"| clips | number | {' | '.join(NUMBERS)} | found |")
    print("|---" * (len(NUMBERS) + 3) + "|")
    for name, source in sources.items():
        real = [diagnose(source.piece(s), source.rate) for s in source.lengths for _ in range(arguments.pieces * 3)]
        results[f"real {name}"] = row(real)
        show(f"real {name}", results[f"real {name}"])
    for makers in zip(*(Defects(source, random).all() for source in sources.values()), strict=True):
        name, kind, _ = makers[0]
        made = [
            (make(s), source.rate)
            for (_, _, make), source in zip(makers, sources.values(), strict=True)
            for s in source.lengths
            for _ in range(max(1, arguments.pieces // 4))
            if not (", then" in name and s < 2)  # a second half below a second is not judged
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
