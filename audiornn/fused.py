"""The fast engine: a model's step as one compiled loop on the CPU, with weights laid out for it once.

What depends on a code alone (the first layers' input products, biases) becomes a row of a table; batch normalisation
is folded into the matrices behind it; gates share one product. See `audiornn.kernels` for why a stream's samples do not
depend on its neighbours.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from audiornn.codec import CODES
from audiornn.kernels import draw, gru, multiply, pack, padded
from audiornn.models.audiornn import AudioRNN
from audiornn.models.base import AudioModel, State


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@njit(nogil=True, cache=True)
def _run(
    weights: Any,
    state: Any,
    logits: Any,
    uniform: Any,
    temperature: Any,
    top_k: int,
    top_p: float,
    given: Any,
    kept: Any,
) -> Any:
    """Advance streams by the columns of `uniform` (drawing) or of `given` (following).

    Returns the codes uint8 [streams, n]; writes the logits after each into `kept` [streams, n, 256] where it has room.
    """
    tables, recurrent_zr, recurrent_c, recurrent_bias, inputs, head, head_bias = weights
    layers, streams, _ = state.shape
    p = recurrent_bias.shape[1]
    follow = given.shape[1] > 0
    n = given.shape[1] if follow else uniform.shape[1]
    codes = np.empty((streams, n), np.uint8)
    gates = np.empty((streams, 3 * p), np.float32)
    candidate = np.empty((streams, p), np.float32)
    scratch = np.empty(logits.shape[1], np.float32)
    for t in range(n):
        for s in range(streams):
            if follow:
                codes[s, t] = given[s, t]
            else:
                codes[s, t] = draw(logits[s], temperature[s, t], top_k, top_p, uniform[s, t], scratch)
        for layer in range(layers):
            for s in range(streams):
                gates[s] = tables[layer, codes[s, t]]
                candidate[s] = recurrent_bias[layer]
            if layer:
                multiply(inputs[layer - 1], state[layer - 1], gates)
            # The update and the reset gate only ever see the sum; the candidate's recurrent part stands apart.
            multiply(recurrent_zr[layer], state[layer], gates)
            multiply(recurrent_c[layer], state[layer], candidate)
            gru(gates, candidate, state[layer])
        for s in range(streams):
            logits[s] = head_bias
        multiply(head, state[layers - 1], logits)
        if kept.shape[1]:
            for s in range(streams):
                kept[s, t] = logits[s]
    return codes


@dataclass
class _Group:
    """The streams of one thread."""

    state: NDArray[np.float32]  # [layers, streams, units]
    logits: NDArray[np.float32]  # [streams, 256]


class FusedEngine:
    """Generate with `audiornn` models on the CPU.

    Parameters
    ----------
    model
        Its weights are copied.
    bfloat16
        Round the matrices to bfloat16: half the memory traffic, which limits a single stream, for logits that differ
        in the third digit.
    threads
        Streams are spread over so many threads (default: the cores this process may use).
    """

    def __init__(
        self, model: AudioModel, top_k: int = 0, top_p: float = 1.0, bfloat16: bool = False, threads: int | None = None
    ) -> None:
        if not isinstance(model, AudioRNN):
            raise TypeError(f"no fused kernel for {type(model).__name__}")
        self.name = "fused-bf16" if bfloat16 else "fused"
        self.model, self.top_k, self.top_p = model, top_k, top_p
        self.threads = threads or cores()
        self.weights = _weights(model, bfloat16)
        self._groups: list[_Group] = []

    @property
    def weight_bytes(self) -> int:
        """Bytes of weights that a sample of one stream reads."""
        tables, *matrices = self.weights
        return sum(part.nbytes for part in matrices) + tables[:, 0].nbytes

    def start(self, logits: NDArray[np.float32], state: State) -> None:
        """Take over from the parallel form: logits [streams, 256] and state after the prompt."""
        flat = np.stack([np.asarray(part) for part in state])
        parts = np.array_split(np.arange(len(logits)), min(self.threads, len(logits)))
        self._groups = [_Group(np.ascontiguousarray(flat[:, i]), np.array(logits[i], np.float32)) for i in parts]

    def advance(self, uniform: NDArray[np.float32], temperature: NDArray[np.float32]) -> NDArray[np.uint8]:
        """The next codes uint8 [streams, n], drawn by `uniform` and `temperature`, float32 [streams, n]."""
        return self._each(
            uniform, temperature, np.empty((len(uniform), 0), np.uint8), np.empty((0, 0, CODES), np.float32)
        )

    def follow(self, codes: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Logits [streams, n, 256] after each of given codes [streams, n]."""
        nothing = np.empty((len(codes), 0), np.float32)
        kept = np.empty((*codes.shape, CODES), np.float32)
        self._each(nothing, nothing, codes, kept)
        return kept

    def _each(self, uniform: Any, temperature: Any, given: Any, kept: Any) -> NDArray[np.uint8]:
        def run(group: _Group, first: int) -> NDArray[np.uint8]:
            rows = slice(first, first + len(group.logits))
            u, heat, codes = (np.ascontiguousarray(a[rows]) for a in (uniform, temperature, given))
            return _run(self.weights, group.state, group.logits, u, heat, self.top_k, self.top_p, codes, kept[rows])

        firsts = np.cumsum([0, *(len(group.logits) for group in self._groups)])[:-1]
        if len(self._groups) == 1:
            return run(self._groups[0], 0)
        with ThreadPoolExecutor(len(self._groups)) as pool:
            return np.concatenate(list(pool.map(run, self._groups, firsts)))


def _weights(model: AudioRNN, bfloat16: bool) -> tuple[NDArray[Any], ...]:
    """Tables [layers, 256, 3p], packed matrices by layer, biases; computed in double precision."""

    def array(variable: Any) -> NDArray[np.float64]:
        return np.asarray(variable, np.float64)

    def folded(norm: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        scale = array(norm.gamma) / np.sqrt(array(norm.moving_variance) + norm.epsilon)
        return scale, array(norm.beta) - array(norm.moving_mean) * scale

    def laid_out(gates: NDArray[np.float64], parts: int) -> NDArray[np.float64]:
        """Columns [.., parts * units] with each part at a multiple of p."""
        p = padded(gates.shape[1] // parts)
        out = np.zeros((len(gates), parts * p))
        for i, part in enumerate(np.split(gates, parts, axis=1)):
            out[:, i * p : i * p + part.shape[1]] = part
        return out

    units = model.sizes["units"]
    amplitude = np.arange(CODES)[:, None] / (CODES - 1)
    kernel, bias = (array(w) for w in model.dense.weights)
    scale, shift = folded(model.norms[0])
    first = np.maximum(amplitude * kernel + bias, 0) * scale + shift
    tables, inputs, recurrent_zr, recurrent_c, recurrent_bias = [], [], [], [], []
    for i, gru_layer in enumerate(model.grus):
        kernel, recurrent = array(gru_layer.kernel), array(gru_layer.recurrent_kernel)
        table = amplitude * kernel[-1] + array(gru_layer.bias)
        if i:
            scale, shift = folded(model.norms[i])
            table = table + shift @ kernel[:-1]
            inputs.append(laid_out(kernel[:-1] * scale[:, None], 3))
        else:
            table = table + first @ kernel[:-1]
        tables.append(laid_out(table, 3))
        recurrent_zr.append(laid_out(recurrent[:, : 2 * units], 2))
        recurrent_c.append(laid_out(recurrent[:, 2 * units :], 1))
        recurrent_bias.append(laid_out(array(gru_layer.recurrent_bias)[None], 1)[0])
    scale, shift = folded(model.norms[-1])
    kernel, bias = (array(w) for w in model.head.weights)

    def packed(matrices: list[NDArray[np.float64]], columns: int) -> NDArray[Any]:
        """All layers' matrices as one packed array [layers, blocks, inputs, 64]."""
        together = np.concatenate(matrices, axis=1) if matrices else np.zeros((units, 0))
        return pack(together, bfloat16).reshape(len(matrices), columns // 64, units, 64)

    p = padded(units)
    return (
        np.stack(tables).astype(np.float32),
        packed(recurrent_zr, 2 * p),
        packed(recurrent_c, p),
        np.stack(recurrent_bias).astype(np.float32),
        packed(inputs, 3 * p),
        pack(kernel * scale[:, None], bfloat16),
        (bias + shift @ kernel).astype(np.float32),
    )
