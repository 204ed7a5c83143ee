#!/usr/bin/env python3
"""What linear prediction knows without any network: bits per sample of its stages, and of predictors alone.

    python benchmarks/prediction.py SPEECH [--predictors ORDER/WINDOW/INTERVAL,...] [--part validation] [--json FILE]
    python benchmarks/prediction.py RECORDINGS --sample-rate 16000 [--predictors ...]

The recordings, codes, segments and score are those of benchmarks/speech.py. A logistic distribution stands around each
prediction, its scale a running mean of the prediction's absolute error times a factor; decay and factor are the best of
a few. Time is of one core, for the whole cascade. With --sample-rate they are the first 20 s of recordings of any
kind and rate, at most --seconds of them, and the predictors those of lpcmix at that rate.
"""

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit
from speech import SEGMENT, SKIP_HEAD, SKIP_TAIL, load

from audiornn import codec
from audiornn.audio.resampling import resample_blocks
from audiornn.corpus.listing import files_below
from audiornn.kernels.linear_prediction import AMPLITUDES
from audiornn.kernels.predictor import Predictor
from audiornn.models.layers.logistic_mixture import EDGES
from audiornn.models.lpcmix import default_predictors

FLOOR = 1e-4  # share of a uniform distribution
SINGLE = ((16, 160, 8), (32, 256, 8), (32, 384, 8), (32, 1024, 32), (48, 256, 8), (96, 320, 8))  # for comparison


@njit(cache=True)
def nats(codes: Any, predictions: Any, decay: float, factor: float, amplitudes: Any, edges: Any) -> float:
    """-log P summed over the scored codes of segments [n, time], predictions [n, time] made before each."""
    total = 0.0
    for segment in range(codes.shape[0]):
        mean = 0.01
        for t in range(codes.shape[1]):
            code, p = codes[segment, t], predictions[segment, t]
            if SKIP_HEAD <= t < codes.shape[1] - SKIP_TAIL:
                scale = factor * mean + 1e-5
                low, high = (edges[code] - p) / scale, (edges[code + 1] - p) / scale
                if low > 0:  # the thinner tail is the more exact one
                    low, high = -high, -low
                mass = 1 / (1 + math.exp(min(-high, 700))) - 1 / (1 + math.exp(min(-low, 700)))
                total -= math.log((1 - FLOOR) * mass + FLOOR / 256)
            mean = decay * mean + (1 - decay) * abs(amplitudes[code] - p)
    return total


def bits(codes: Any, predictions: Any) -> float:
    """Bits per sample of the best decay and factor."""
    scored = codes.shape[0] * (codes.shape[1] - SKIP_HEAD - SKIP_TAIL)
    ahead = np.concatenate([np.zeros((len(codes), 1)), predictions[:, :-1]], axis=1)
    each = (
        nats(codes, ahead, decay, factor, AMPLITUDES.astype(float), EDGES.astype(float))
        for decay in (0.8, 0.88, 0.93)
        for factor in (0.6, 0.7, 0.8)
    )
    return min(each) / scored / math.log(2)


def resampled(folder: Path, rate: int, seconds: float) -> Any:
    """Codes of the starts of the recordings below a folder, uint8 [n]."""
    starts: list[Any] = []
    for path in sorted(files_below(folder, [])):
        wave = np.concatenate(list(resample_blocks(path, rate)))
        starts.append(codec.encode(wave[: 20 * rate]))
        if sum(map(len, starts)) > seconds * rate:
            break
    return np.concatenate(starts)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("speech", type=Path)
    parser.add_argument("--predictors")
    parser.add_argument("--sample-rate", type=int, metavar="HZ")
    parser.add_argument("--seconds", type=float, default=40.0)
    parser.add_argument("--part", default="validation", choices=["train", "validation", "test"])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rate = arguments.sample_rate
    predictors = [tuple(p) for p in default_predictors(rate or 8000)]
    if arguments.predictors:
        predictors = [tuple(int(n) for n in p.split("/")) for p in arguments.predictors.split(",")]
    codes = resampled(arguments.speech, rate, arguments.seconds) if rate else load(arguments.speech)[arguments.part]
    codes = codes[: len(codes) // SEGMENT * SEGMENT].reshape(-1, SEGMENT)
    rows = []

    def row(name: str, predictions: Any) -> None:
        rows.append({"what": name, "bits": round(bits(codes, predictions), 3)})
        print(f"{name:<44} {rows[-1]['bits']:.3f}", flush=True)

    cascade = Predictor(predictors)
    columns = cascade.columns
    cascade.process(codes[:1], cascade.initial_state(1))  # compiles
    begin = time.process_time()
    features, _ = cascade.process(codes, cascade.initial_state(len(codes)))
    cost = (time.process_time() - begin) / codes.size * 1e6
    row("whole cascade", features[..., columns.cascade])
    row("mixture of the predictors", features[..., columns.mixture])
    for i, predictor in enumerate(predictors):
        row(
            "order {}, window {}, update interval {}".format(*predictor),
            features[..., columns.single_predictions][..., i],
        )
    for predictor in SINGLE:
        single = Predictor([predictor])
        alone, _ = single.process(codes, single.initial_state(len(codes)))
        row(
            "alone: order {}, window {}, update interval {}".format(*predictor),
            alone[..., single.columns.single_predictions][..., 0],
        )
    print(f"whole cascade: {cost:.2f} us a sample")
    if arguments.json:
        arguments.json.write_text(json.dumps({"rows": rows, "microseconds_a_sample": cost}) + "\n")


if __name__ == "__main__":
    main()
