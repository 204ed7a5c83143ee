#!/usr/bin/env python3
"""How fast the engines generate, beside the original way, eager PyTorch, and what the machine could do.

    python benchmarks/generation.py [--model DIR] [--streams 1,8,64] [--json FILE]
    python benchmarks/generation.py --model DIR --bits SHARDS

One stream runs on one core, more on all. Without --model the network has fresh weights: the speed is the same. PyTorch
is measured where it is installed. Each figure is the best of several runs, as other programs can only slow it down.

With --bits it prints what rounded weights cost instead: bits per sample of the test part of a folder of shards, by the
logits of each fused engine as it steps through the codes.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import log_softmax
from threadpoolctl import threadpool_limits  # with scikit-learn, which MLflow brings along

from audiornn import evaluation, models, sampling, shards
from audiornn.backend import keras
from audiornn.fused import FusedAudioRNN
from audiornn.kernels import cores
from audiornn.models.base import AudioModel

CONTEXT = 1000  # of the original way, which runs over all of it for each sample
Row = dict[str, Any]


def best(run: Callable[[], None], seconds: float = 2.0, least: int = 3) -> float:
    """The shortest of repeated runs, for `seconds` and at least `least` times."""
    run()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < least or time.perf_counter() < end:
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return min(times)


def original(model: AudioModel) -> Iterator[Row]:
    """`model.predict` on the whole context for each sample, the likeliest code appended."""
    codes = np.full([1, CONTEXT], 128, np.uint8)

    def run() -> None:
        nonlocal codes
        logits = model.predict(codes, verbose=0)
        codes = np.concatenate([codes[:, 1:], logits[:, -1:].argmax(-1).astype(np.uint8)], axis=1)

    yield {"engine": "predict a sample", "streams": 1, "samples_per_second": 1 / best(run)}


def pytorch(model: Any, streams: list[int]) -> Iterator[Row]:
    """The same network in eager PyTorch, one step after the other, drawing from the softmax."""
    try:
        import torch
        from torch import nn
    except ImportError:
        return
    sizes = model.sizes
    dense, norms = nn.Linear(1, sizes["dense"]), [nn.BatchNorm1d(sizes["dense"]).eval()]
    cells = []
    for i in range(sizes["layers"]):
        cells.append(nn.GRUCell((sizes["units"] if i else sizes["dense"]) + 1, sizes["units"]))
        norms.append(nn.BatchNorm1d(sizes["units"]).eval())
    head = nn.Linear(sizes["units"], 256)
    for n in streams:
        torch.set_num_threads(1 if n == 1 else cores())
        states = [torch.zeros(n, sizes["units"]) for _ in cells]
        codes = torch.full([n], 128)

        def run(states: list[Any] = states, codes: Any = codes) -> None:
            with torch.inference_mode():
                for _ in range(200):
                    amplitude = codes[:, None] / 255
                    x = norms[0](torch.relu(dense(amplitude)))
                    for i, cell in enumerate(cells):
                        states[i] = cell(torch.cat([x, amplitude], 1), states[i])
                        x = norms[i + 1](states[i])
                    codes = torch.multinomial(torch.softmax(head(x), 1), 1)[:, 0]

        yield {"engine": "PyTorch, eager", "streams": n, "samples_per_second": 200 * n / best(run)}


def engines(model: AudioModel, streams: list[int]) -> Iterator[Row]:
    """TensorFlow's loop and the fused kernels."""
    for n in streams:
        makers: list[Callable[[], Any]] = [lambda: sampling.TensorFlowEngine(model)]
        for bfloat16 in (False, True):
            makers.append(
                lambda bfloat16=bfloat16, n=n: FusedAudioRNN(model, bfloat16=bfloat16, threads=1 if n == 1 else None)
            )
        for make in makers:
            engine = make()
            engine.start(*sampling.consume(model, np.full([n, 10], 128, np.uint8)))
            samples = 1000
            uniform = np.random.default_rng(0).random((n, samples), np.float32)
            begin = time.perf_counter()
            engine.advance(uniform[:, :1], np.ones([n, 1], np.float32))
            compilation = time.perf_counter() - begin
            seconds = best(lambda engine=engine, u=uniform: engine.advance(u, np.ones_like(u)))  # type: ignore[misc]
            row = {"engine": engine.name, "streams": n, "samples_per_second": n * samples / seconds}
            yield row | {"compile_seconds": compilation, "weight_bytes": getattr(engine, "weight_bytes", None)}


def limits(weight_bytes: int) -> tuple[float, float]:
    """GEMV bandwidth of one core in bytes/s, on a matrix as large as the weights; GEMM peak of all in FLOP/s."""
    columns = weight_bytes // 4 // 256
    random = np.random.default_rng(0)
    matrix, vector = random.random((columns, 256), np.float32), random.random(256, np.float32)

    def gemv() -> None:
        for _ in range(100):
            matrix @ vector

    square = random.random((2048, 2048), np.float32)
    with threadpool_limits(1):
        bandwidth = 100 * matrix.nbytes / best(gemv)
    return bandwidth, 2 * 2048**3 / best(lambda: square @ square)  # type: ignore[arg-type, return-value]


def bits_per_sample(model: AudioModel, name: str, folder: Path) -> float:
    """Of the targets of the test part, as an engine of that name predicts them sample by sample."""
    context = shards.read_manifest(folder)["context"]
    engine, nats, count = sampling.engine(model, name), 0.0, 0
    for windows, targets in shards.read(folder, "test", 64):
        codes = windows.numpy()
        first, state = sampling.consume(model, codes[:, :1])
        engine.start(first, state)
        logits = np.concatenate([first[:, None], engine.follow(codes[:, 1:-1])], axis=1)[:, context - 1 :]
        labels, real = codes[:, context:], np.arange(codes.shape[1] - context) < targets.numpy()[:, None]
        likelihoods = log_softmax(logits.astype(np.float64), axis=-1)
        nats -= np.take_along_axis(likelihoods, labels[..., None].astype(int), -1)[..., 0][real].sum()
        count += real.sum()
    return nats / count / np.log(2)


def print_bits(model: AudioModel, folder: Path) -> None:
    """What the parallel form, the exact and the rounded engine make of the same codes."""
    exact = bits_per_sample(model, "fused", folder)
    rounded = bits_per_sample(model, "fused-bf16", folder)
    parallel = evaluation.evaluate(model, folder)["test"]
    print(f"bits per sample of {parallel['targets']:,} targets of the test part: {parallel['bits_per_sample']:.5f} in")
    print(f"parallel, {exact:.5f} by fused, {rounded:.5f} by fused-bf16: {rounded - exact:+.5f} for rounded weights")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, metavar="DIR")
    parser.add_argument("--streams", default="1,8,64", help="default: %(default)s")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--bits", type=Path, metavar="SHARDS", help="compare the engines' bits per sample instead")
    arguments = parser.parse_args()
    streams = [int(n) for n in arguments.streams.split(",")]
    keras.utils.set_random_seed(0)
    model = models.load(arguments.model) if arguments.model else models.build("audiornn")
    if arguments.bits:
        print_bits(model, arguments.bits)
        return
    multiplications = FusedAudioRNN(model).weight_bytes / 4  # a multiply and an add for each weight
    bandwidth, peak = limits(int(4 * multiplications))
    print(f"{cores()} cores; GEMV {bandwidth / 1e9:.0f} GB/s on one, GEMM {peak / 1e9:.0f} GFLOP/s on all")
    print(f"{model.name} {model.sizes}, {multiplications / 1e6:.2f} M multiply-adds a sample")
    head = ("engine", "streams", "samples/s", "x 8 kHz", "x 16 kHz", "bytes/sample", "of the limit", "compile s")
    print(("{:<18}" + " {:>12}" * (len(head) - 1)).format(*head))
    rows = []
    for source in (original(model), pytorch(model, streams), engines(model, streams)):
        for row in source:
            row["model"] = model.name
            speed, n = row["samples_per_second"], row["streams"]
            read = row.get("weight_bytes") or 4 * multiplications
            # One stream is bound by reading the weights, many by multiplying.
            row["share_of_limit"] = speed * read / bandwidth if n == 1 else speed * 2 * multiplications / peak
            rows.append(row)
            cells = (row["engine"], n, f"{speed:,.0f}", f"{speed / 8000 / n:.2f}", f"{speed / 16000 / n:.2f}")
            compilation = f"{row['compile_seconds']:.1f}" if "compile_seconds" in row else ""
            cells += (f"{read / n:,.0f}", f"{row['share_of_limit']:.0%}", compilation)
            print(("{:<18}" + " {:>12}" * (len(head) - 1)).format(*cells), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
