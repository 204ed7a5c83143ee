#!/usr/bin/env python3
"""Training speed in targets per second, compared with Keras' own layers, PyTorch and the limit of the machine.

    python benchmarks/training.py [--contexts 128,1000,8000] [--units 256] [--layers 2] [--json FILE]

The work is the original network's: for whole windows of `context + targets_per_window` codes the loss of the last
`targets_per_window`, gradients, clipping, and an AdamW update. Ours runs at each context, with default windows, and in
the chunks and batches that training would choose; Keras (the same network of its own layers, one compiled step) and
PyTorch (the same, eager; where it is installed) at the first. Codes are random: they cost what others cost. Each figure
is the best of several updates, as other programs can only slow it down.
"""

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits  # with scikit-learn, which MLflow brings along

from audiornn.backend import keras, tf
from audiornn.codec import CODES
from audiornn.common.parallel import cores
from audiornn.models import storage
from audiornn.params import ModelParams, Train
from audiornn.training.devices import optimizers
from audiornn.training.devices.batch_plan import BatchPlan
from audiornn.training.devices.steps import DeviceSteps

Row = dict[str, Any]


def best(run: Callable[[], int], seconds: float) -> tuple[float, float]:
    """Targets per second of wall clock, and of processor time of all cores, the most of repeated runs."""
    speeds, end = [], time.perf_counter() + seconds
    while len(speeds) < 3 or time.perf_counter() < end:
        begin = time.perf_counter(), time.process_time()
        targets = run()
        speeds.append((targets / (time.perf_counter() - begin[0]), targets / (time.process_time() - begin[1])))
    return max(wall for wall, _ in speeds), max(cpu for _, cpu in speeds)


def span_of(context: int) -> int:
    """Targets of a window where `shard.targets_per_window` is not set."""
    return max(512, 4 * context)


def ours(sizes: dict[str, int], context: int, seconds: float) -> Iterator[Row]:
    """The library's own steps."""
    params = Train(model=ModelParams(name="audiornn", **sizes))
    plan = BatchPlan.for_windows(params, context, span_of(context), windows=10_000)
    model = storage.build("audiornn", **sizes)
    devices = DeviceSteps(model, optimizers.build_optimizer(params, model), plan, params)
    codes = tf.constant(random_codes(plan.batch_size, context + plan.targets))
    targets = tf.fill([plan.batch_size], plan.targets)

    def batch() -> int:
        state = devices.burn_in(codes)
        for start in plan.chunk_starts(plan.targets):
            gradients, sums, state = devices.compute_gradients(codes, targets, tf.constant(start), state)
            norm = devices.apply_gradients(gradients, sums[2], params.learning_rate)
        assert math.isfinite(norm)
        return plan.batch_size * plan.targets

    begin = time.perf_counter()
    batch()
    first = time.perf_counter() - begin
    yield row("audiornn", plan, context, best(batch, seconds)) | {"first_batch_seconds": first}


def of_keras(sizes: dict[str, int], plan: BatchPlan, context: int, seconds: float) -> Iterator[Row]:
    """The same network of Keras' own layers."""
    layers = keras.layers
    given = layers.Input([None], dtype="int32")
    amplitude = layers.Lambda(lambda x: tf.cast(x, tf.float32)[..., None] / (CODES - 1))(given)
    x = layers.BatchNormalization()(layers.Dense(sizes["dense"], activation="relu")(amplitude))
    for _ in range(sizes["layers"]):
        x = layers.GRU(sizes["units"], return_sequences=True)(layers.Concatenate()([x, amplitude]))
        x = layers.BatchNormalization()(x)
    model = keras.Model(given, layers.Dense(CODES)(x))
    optimizer = keras.optimizers.AdamW(0.004, global_clipnorm=1.0)
    optimizer.build(model.trainable_variables)
    codes = tf.constant(random_codes(plan.batch_size, context + plan.targets), tf.int32)

    @tf.function
    def step() -> Any:
        with tf.GradientTape() as tape:
            logits = model(codes[:, :-1], training=True)[:, -plan.targets :]
            labels = codes[:, -plan.targets :]
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    def batch() -> int:
        assert math.isfinite(step())
        return plan.batch_size * plan.targets

    batch()
    yield row("Keras' layers", plan, context, best(batch, seconds))


def of_pytorch(sizes: dict[str, int], plan: BatchPlan, context: int, seconds: float) -> Iterator[Row]:
    """The same network in PyTorch."""
    try:
        import torch
        from torch import nn
    except ImportError:
        return
    torch.set_num_threads(cores())

    class Network(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            widths = [sizes["dense"], *[sizes["units"]] * sizes["layers"]]
            self.dense, self.head = nn.Linear(1, sizes["dense"]), nn.Linear(sizes["units"], CODES)
            self.norms = nn.ModuleList(nn.BatchNorm1d(width) for width in widths)
            self.grus = nn.ModuleList(nn.GRU(width + 1, sizes["units"], batch_first=True) for width in widths[:-1])

        def forward(self, codes: Any) -> Any:
            amplitude = codes[..., None].float() / (CODES - 1)
            x = torch.relu(self.dense(amplitude))
            x = self.norms[0](x.flatten(0, 1)).view_as(x)
            for gru, norm in zip(self.grus, list(self.norms)[1:], strict=True):
                x = gru(torch.cat([x, amplitude], -1))[0]
                x = norm(x.flatten(0, 1)).view_as(x)
            return self.head(x[:, -plan.targets :])

    network = Network()
    optimizer = torch.optim.AdamW(network.parameters(), 0.004)
    codes = torch.from_numpy(random_codes(plan.batch_size, context + plan.targets).astype(np.int64))

    def batch() -> int:
        logits = network(codes[:, :-1])
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), codes[:, -plan.targets :].flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        assert math.isfinite(loss.item())
        return plan.batch_size * plan.targets

    batch()
    yield row("PyTorch", plan, context, best(batch, seconds))


def random_codes(batch: int, length: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, CODES, (batch, length), dtype=np.uint8)


def row(engine: str, plan: BatchPlan, context: int, speeds: tuple[float, float]) -> Row:
    return {
        "engine": engine,
        "context": context,
        "targets_per_window": plan.targets,
        "batch_size": plan.batch_size,
        "targets_per_second": speeds[0],
        "targets_per_processor_second": speeds[1],
    }


def gemm_peak(seconds: float = 2.0) -> float:
    """FLOP/s of a large matrix product on all cores, by the BLAS of numpy or of TensorFlow, whichever is faster."""
    square = np.random.default_rng(0).random((2048, 2048), np.float32)
    tensor = tf.constant(square)

    def numpys() -> int:
        square @ square
        return 2 * 2048**3

    def tensorflows() -> int:
        tf.linalg.matmul(tensor, tensor).numpy()
        return 2 * 2048**3

    with threadpool_limits(cores()):
        return max(best(numpys, seconds)[0], best(tensorflows, seconds)[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--contexts", default="128,1000,8000", help="default: %(default)s")
    parser.add_argument("--units", type=int, default=256, help="of each GRU; default: %(default)s")
    parser.add_argument("--layers", type=int, default=2, help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=10, help="of each measurement; default: %(default)s")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    contexts = [int(n) for n in arguments.contexts.split(",")]
    sizes = {"dense": arguments.units, "units": arguments.units, "layers": arguments.layers}
    keras.utils.set_random_seed(0)
    # Multiply-adds a code, of what no table can replace; as many again for each of the two gradients.
    once = arguments.units**2 * (3 * (2 * arguments.layers - 1)) + arguments.units * CODES
    peak = gemm_peak()
    print(f"{cores()} cores, GEMM {peak / 1e9:.0f} GFLOP/s; {sizes}, {6 * once / 1e6:.2f} MFLOP a code in training")
    head = ("engine", "context", "batch x codes", "targets/s", "of GEMM peak", "a cost of", "per CPU s")
    print(("{:<16}" + " {:>14}" * (len(head) - 1)).format(*head))
    first = BatchPlan.for_windows(Train(), contexts[0], span_of(contexts[0]), windows=10_000)
    sources = [ours(sizes, context, arguments.seconds) for context in contexts]
    sources += [peer(sizes, first, contexts[0], arguments.seconds) for peer in (of_keras, of_pytorch)]
    rows: list[Row] = []
    for source in sources:
        for made in source:
            made["model"] = f"{arguments.layers} x GRU {arguments.units}"
            speed = made["targets_per_second"]
            # The codes of the burn-in are work, too, but no targets.
            made["share_of_gemm_peak"] = speed * 6 * once / peak
            rows.append(made)
            cells = (
                made["engine"],
                made["context"],
                f"{made['batch_size']} x {made['context'] + made['targets_per_window']}",
            )
            cells += (f"{speed:,.0f}", f"{made['share_of_gemm_peak']:.0%}")
            cells += (f"{rows[0]['targets_per_second'] / speed:.2f}", f"{made['targets_per_processor_second']:,.0f}")
            print(("{:<16}" + " {:>14}" * (len(head) - 1)).format(*cells), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
