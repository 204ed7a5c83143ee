#!/usr/bin/env python3
"""How fast the engines generate, beside the original way, eager PyTorch, and what the machine could do.

    python benchmarks/generation.py [--model NAME[,NAME...] [--sizes YAML]] [--streams 1,8,64] [--json FILE]
    python benchmarks/generation.py --trained DIR
    python benchmarks/generation.py --trained DIR --bits SHARDS

Networks have fresh weights, or those of a folder: the speed is the same. Without --model, all ways to generate with the
original network (two GRUs) are measured, PyTorch among them where it is installed, and the fast engines of all models.
With it, all ways but PyTorch for the models named, and the exported player in C where it plays the model. One stream
runs on one core, more on all. Each figure is the best of several runs, as other programs can only slow it down. The
limits are measured without OPENBLAS_* of the environment.

With --bits it prints what rounded weights cost instead: bits per sample of the test split of a folder of shards, by the
logits of each fused engine as it steps through the codes.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from scipy.special import log_softmax
from threadpoolctl import threadpool_limits  # with scikit-learn, which MLflow brings along

from audiornn.backend import keras
from audiornn.codec import CodecSettings
from audiornn.common.parallel import cores
from audiornn.dataset import shards
from audiornn.dataset.manifest import read_manifest
from audiornn.exporting.folder import export
from audiornn.generation import engines as engines_module
from audiornn.generation import sampling
from audiornn.models import registry, storage
from audiornn.models.base import AudioModel
from audiornn.training import scores

CONTEXT = 1000  # of the original way, which runs over all of it for each sample
MEASURED = 2.0  # seconds for which runs are repeated
CLOCK = time.perf_counter
ORIGINAL, FAST = "audiornn", ("fused", "fused-bf16")
TABLE = "{:<18}" + " {:>12}" * 7
Row = dict[str, Any]


def best(run: Callable[[], Any], least: int = 3) -> float:
    """The shortest of repeated runs, for some seconds and at least `least` times."""
    run()
    times: list[float] = []
    end = time.perf_counter() + MEASURED
    while len(times) < least or time.perf_counter() < end:
        begin = CLOCK()
        run()
        times.append(CLOCK() - begin)
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


def engines(model: AudioModel, streams: list[int], names: tuple[str, ...]) -> Iterator[Row]:
    """TensorFlow's loop and the fused kernels, by name."""
    for n in streams:
        for name in names:
            engine: Any = engines_module.create_engine(model, name)
            if n == 1:
                engine.threads = 1
            engine.load_state(*sampling.prefill(model, np.full([n, 10], 128, np.uint8)))
            samples = 1000
            uniform = np.random.default_rng(0).random((n, samples), np.float32)
            begin = time.perf_counter()
            engine.generate(uniform[:, :1], np.ones([n, 1], np.float32))
            compilation = time.perf_counter() - begin
            seconds = best(lambda engine=engine, u=uniform: engine.generate(u, np.ones_like(u)))  # type: ignore[misc]
            row = {"engine": engine.name, "streams": n, "samples_per_second": n * samples / seconds}
            yield row | {"compile_seconds": compilation, "weight_bytes": weight_bytes(engine) if name in FAST else None}


def exported_player(model: AudioModel) -> Iterator[Row]:
    """The player in C of an exported model, loading and decoding left out; one process, one core."""
    if model.name != "samplernn" or model.sizes["predictor"] or not shutil.which("cc"):
        return
    model.codec = getattr(model, "codec", CodecSettings(8000, 20.0, 0.95))
    for name, flags in (("player in C", ""), ("player in C, bf16", "-DAUDIORNN_BFLOAT16")):
        with tempfile.TemporaryDirectory() as folder:
            export(model, folder)
            subprocess.run(["make", "-s", "-C", folder, f"CPPFLAGS={flags}"], check=True)
            command = [
                f"{folder}/player",
                folder,
                "--codes",
                "--top-p",
                "1",
                "--confidence-threshold",
                "1",
                "--seconds",
            ]

            def run(seconds: float, command: list[str] = command) -> None:
                subprocess.run([*command, str(seconds)], check=True, stdout=subprocess.DEVNULL)

            seconds = best(lambda run=run: run(0.25)) - best(lambda run=run: run(0))  # type: ignore[misc]
        weights = weight_bytes(engines_module.create_engine(model, "fused-bf16" if flags else "fused"))
        yield {
            "engine": name,
            "streams": 1,
            "samples_per_second": 0.25 * model.codec.sample_rate / seconds,
            "weight_bytes": weights,
        }


def weight_bytes(engine: Any) -> int:
    """Bytes of weights that a fused engine reads for a sample of one stream; of what is read at ticks, its share."""

    def size(*fields: str) -> int:
        return sum(getattr(weights, field).nbytes for field in fields)

    weights, name = engine.weights, engine.model.name
    prior = getattr(weights, "prior", None)
    total = prior.kernel.nbytes if prior else 0
    if name == "lpcmix":
        frame = size("gru_input", "gru_recurrent", "condition", "gru_input_bias", "gru_recurrent_bias")
        return total + size("first", "residual", "biases", "head", "head_bias") + frame // weights.hop
    total += weights.code_tables[..., 0, :].nbytes + size("head", "head_bias")
    if name == "audiornn":
        return total + size("input_kernels", "input_biases", "recurrent_kernels", "recurrent_biases")
    if name == "samplernn":
        total += size("hidden", "hidden_bias")
        recurrence = size("recurrent_kernels", "recurrent_biases")
    else:
        total += size("residual", "residual_biases")
        recurrence = size("gate_kernels", "gate_biases", "rates", "output_kernels", "output_biases")
    plan = weights.tiers.plan
    matrices = weights.tiers.input_kernels.itemsize * (plan.input_sizes + plan.upsample_sizes)
    return total + int(((matrices + recurrence // len(plan.frames)) // plan.frames).sum())


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
    return bandwidth, 2 * 2048**3 / best(lambda: square @ square)


def bits_per_sample(model: AudioModel, name: str, folder: Path) -> float:
    """Of the targets of the test split, as an engine of that name predicts them sample by sample."""
    manifest = read_manifest(folder)
    context = manifest.layout.context
    engine, nats, count = engines_module.create_engine(model, name), 0.0, 0
    for windows, targets in shards.read(manifest, "test", 16):
        codes = windows.numpy()
        first, state = sampling.prefill(model, codes[:, :1])
        engine.load_state(first, state)
        logits = np.concatenate([first[:, None], engine.teacher_force(codes[:, 1:-1])], axis=1)[:, context - 1 :]
        labels, real = codes[:, context:], np.arange(codes.shape[1] - context) < targets.numpy()[:, None]
        likelihoods = log_softmax(logits.astype(np.float64), axis=-1)
        nats -= np.take_along_axis(likelihoods, labels[..., None].astype(int), -1)[..., 0][real].sum()
        count += real.sum()
    return nats / count / np.log(2)


def bits(model: AudioModel, folder: Path) -> list[Row]:
    """Print and give what the parallel form, the exact and the rounded engine make of the same codes."""
    rows: list[Row] = [{"engine": name, "bits_per_sample": bits_per_sample(model, name, folder)} for name in FAST]
    parallel = scores.evaluate(model, read_manifest(folder))["test"]
    exact, rounded = (row["bits_per_sample"] for row in rows)
    print(f"bits per sample of {parallel['targets']:,} targets of the test split: {parallel['bits_per_sample']:.5f} in")
    print(f"parallel, {exact:.5f} by fused, {rounded:.5f} by fused-bf16: {rounded - exact:+.5f} for rounded weights")
    return [row | {"model": model.name, "sizes": model.sizes, "targets": parallel["targets"]} for row in rows]


def measure(model: AudioModel, everything: bool, streams: list[int]) -> Iterator[Row]:
    """Print and give what was measured of one model: its fast engines alone, or all ways to generate."""
    multiplications = weight_bytes(engines_module.create_engine(model, "fused")) / 4
    bandwidth, peak = limits(int(4 * multiplications))
    print(f"\n{model.name} {model.sizes}")
    print(f"{multiplications / 1e6:.2f} M multiply-adds per sample, table rows counted as such; {cores()} cores;")
    print(f"GEMV {bandwidth / 1e9:.0f} GB/s on one, GEMM {peak / 1e9:.0f} GFLOP/s on all")
    heads = "engine", "streams", "samples/s", "x 8 kHz", "x 16 kHz", "bytes/sample", "of the limit", "compile s"
    print(TABLE.format(*heads))
    ways = [engines(model, streams, ("tensorflow", *FAST) if everything else FAST)]
    if everything:
        ways.insert(0, original(model))
    if everything and model.name == ORIGINAL and not model.sizes["predictor"]:
        ways.insert(1, pytorch(model, streams))
    if everything and 1 in streams and CLOCK is time.perf_counter:  # of another process only the clock tells
        ways.append(exported_player(model))
    for row in (row for way in ways for row in way):
        speed, n = row["samples_per_second"], row["streams"]
        read = row.get("weight_bytes") or 4 * multiplications
        # One stream is bound by reading the weights, many by multiplying.
        row["share_of_limit"] = speed * read / bandwidth if n == 1 else speed * 2 * multiplications / peak
        row["bytes_per_sample"] = read / n
        row |= {"model": model.name, "sizes": model.sizes}
        cells = (row["engine"], n, f"{speed:,.0f}", f"{speed / 8000 / n:.2f}", f"{speed / 16000 / n:.2f}")
        compilation = f"{row['compile_seconds']:.1f}" if "compile_seconds" in row else ""
        print(TABLE.format(*cells, f"{read / n:,.0f}", f"{row['share_of_limit']:.0%}", compilation), flush=True)
        yield row


def main() -> None:
    global CLOCK, MEASURED
    if any(name.startswith("OPENBLAS_") for name in os.environ):  # it reads them when it is loaded
        rest = {name: value for name, value in os.environ.items() if not name.startswith("OPENBLAS_")}
        os.execve(sys.executable, sys.orig_argv, rest)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--model", metavar="NAME[,NAME...]", help=f"of {', '.join(registry.REGISTRY)}")
    which.add_argument("--trained", type=Path, metavar="DIR", help="the model in a folder, as the train stage wrote it")
    parser.add_argument("--predictor", action="store_true", help="with --model: let it start from linear prediction")
    parser.add_argument(
        "--sizes", type=yaml.safe_load, default={}, metavar="YAML", help="with --model: such as '{frames: [64, 16]}'"
    )
    parser.add_argument("--streams", default="1,8,64", help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=MEASURED, help="for each figure (default: %(default)s)")
    parser.add_argument(
        "--processor-time", action="store_true", help="of this process instead of the clock's, where others use it, too"
    )
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--bits", type=Path, metavar="SHARDS", help="with --trained: what rounded weights cost")
    arguments = parser.parse_args()
    if arguments.bits and not arguments.trained:
        parser.error("--bits needs a trained model: --trained DIR")
    MEASURED = arguments.seconds
    if arguments.processor_time:
        CLOCK = time.process_time
    streams = [int(n) for n in arguments.streams.split(",")]
    keras.utils.set_random_seed(0)
    rows: list[Row] = []
    if arguments.bits:
        rows += bits(storage.load(arguments.trained), arguments.bits)
    elif arguments.trained:
        rows += measure(storage.load(arguments.trained), True, streams)
    elif arguments.model:
        sizes = arguments.sizes | ({"predictor": True} if arguments.predictor else {})
        for name in arguments.model.split(","):
            rows += measure(storage.build(name, **sizes), True, streams)
    else:
        for name in (ORIGINAL, *(name for name in registry.REGISTRY if name != ORIGINAL)):
            rows += measure(storage.build(name), name == ORIGINAL, streams)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
