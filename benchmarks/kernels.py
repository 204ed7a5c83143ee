#!/usr/bin/env python3
"""Kernels that were written for this project beside what libraries or plain loops would give.

    python benchmarks/kernels.py [--seconds 1] [--json FILE]

Matrix product: `audiornn.kernels.matmul` beside plain Numba loops over the same packed weights, and NumPy's BLAS.
Linear recurrence: `audiornn.models.layers.linear_scan`, forward and backward, beside `keras.ops.associative_scan` with
the gradient that TensorFlow derives. All on one core; each figure is the best of repeated runs.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits  # with scikit-learn, which MLflow brings along

from audiornn.backend import keras, tf
from audiornn.kernels.arrays import Float32
from audiornn.kernels.jit import kernel
from audiornn.kernels.matmul import OUTPUTS_PER_BLOCK, matmul_add, pack
from audiornn.models.layers import linear_scan

INPUTS, OUTPUTS = 256, 768  # the recurrent weights of a GRU of 256 units
CALLS = 100  # products per run, so that a call from Python does not count


def best(run: Callable[[], Any], seconds: float) -> float:
    """The shortest processor time of repeated runs, in seconds."""
    run()
    times, end = [], time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        begin = time.process_time()
        run()
        times.append(time.process_time() - begin)
    return min(times)


@kernel
def plain_matmul_add(weights: Float32, x: Float32, y: Float32) -> None:
    """As `matmul_add`, in plain loops that Numba may vectorise."""
    for block in range(weights.shape[0]):
        for s in range(x.shape[0]):
            outputs = y[s, block * OUTPUTS_PER_BLOCK : (block + 1) * OUTPUTS_PER_BLOCK]
            for i in range(weights.shape[1]):
                factor, row = x[s, i], weights[block, i]
                for j in range(OUTPUTS_PER_BLOCK):
                    outputs[j] += factor * row[j]


@kernel
def repeat(function: Any, calls: int, weights: Float32, x: Float32, y: Float32) -> None:
    for _ in range(calls):
        function(weights, x, y)


def products(seconds: float) -> list[dict[str, Any]]:
    """Microseconds of a product with the weights of a GRU, for several numbers of streams."""
    random = np.random.default_rng(0)
    matrix = random.standard_normal((INPUTS, OUTPUTS), np.float32)
    packed, rows = pack(matrix), []
    for streams in (1, 2, 4, 8):
        x, y = random.standard_normal((streams, INPUTS), np.float32), np.zeros((streams, OUTPUTS), np.float32)
        ways = {
            "audiornn": lambda x=x, y=y: repeat(matmul_add, CALLS, packed, x, y),
            "plain Numba": lambda x=x, y=y: repeat(plain_matmul_add, CALLS, packed, x, y),
            "NumPy's BLAS": lambda x=x: [x @ matrix for _ in range(CALLS)],
        }
        for name, run in ways.items():
            rows.append({"streams": streams, "way": name, "microseconds": best(run, seconds) / CALLS * 1e6})
    return rows


def by_library(decay: Any, inputs: Any, before: Any) -> Any:
    """`linear_scan.scan` by Keras' associative scan."""
    inputs = tf.concat([inputs[:1] + decay[:1] * before, inputs[1:]], 0)
    return keras.ops.associative_scan(lambda a, b: (a[0] * b[0], b[0] * a[1] + b[1]), (decay, inputs), axis=0)[1]


def gradients_of(scan: Callable[..., Any]) -> Callable[..., Any]:
    """A compiled function that gives the gradients of the sum of a recurrence's squared states."""

    @tf.function
    def gradients(decay: Any, inputs: Any, before: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch([decay, inputs, before])
            loss = tf.reduce_sum(tf.square(scan(decay, inputs, before)))
        return tape.gradient(loss, [decay, inputs, before])

    return gradients


def recurrences(seconds: float) -> list[dict[str, Any]]:
    """Microseconds of a linear recurrence over 4 streams of 256 units with its gradient."""
    random, rows = np.random.default_rng(0), []
    for steps in (32, 128):
        decay = tf.constant(random.uniform(0.9, 0.999, (steps, 4, 256)), tf.float32)
        inputs = tf.constant(random.standard_normal((steps, 4, 256)), tf.float32)
        before = tf.zeros([4, 256])
        for name, scan in {"audiornn": linear_scan.scan, "Keras": by_library}.items():
            gradients = gradients_of(scan)
            duration = best(lambda g=gradients, d=decay, x=inputs, b=before: g(d, x, b), seconds)  # type: ignore[misc]
            rows.append({"steps": steps, "way": name, "microseconds": duration * 1e6})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1, help="of each measurement; default: %(default)s")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with threadpool_limits(1):
        results = {"matrix_products": products(args.seconds), "linear_recurrences": recurrences(args.seconds)}
    for title, rows in results.items():
        print(title.replace("_", " "))
        for row in rows:
            size = ", ".join(f"{row[key]} {key}" for key in ("streams", "steps") if key in row)
            print(f"  {size:<12} {row['way']:<14} {row['microseconds']:>10,.1f} µs")
    if args.json:
        args.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
