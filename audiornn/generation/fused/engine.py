"""The fast engine: a model's step as one compiled loop on the CPU, with weights laid out for it once.

What depends on a code alone (the first layers' input products, biases) becomes a row of a table; batch normalisation
is folded into the matrices behind it; gates share one product. See `audiornn.kernels.matmul` for
why a stream's samples do not depend on its neighbours.

A further model's engine is a module beside this one and one entry in `audiornn.generation.engines.FUSED`. The module
has `Weights` and `State`, NamedTuples of what its loop reads and of what it changes, scratch arrays included, and a
subclass of `FusedEngine` that makes both and names the loop. A field may be None where a model lacks a part: Numba
compiles the loop for each such case.
"""

import abc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np

from audiornn.codec import CODES
from audiornn.common.parallel import cores
from audiornn.generation.fused.draws import UNLIMITED, Draws, Limits
from audiornn.kernels.arrays import Float32, UInt8
from audiornn.kernels.jit import njit
from audiornn.models.base import AudioModel, State


@njit(nogil=True, cache=True)
def record_logits(logits: Float32, t: int, trace: Float32) -> None:
    """Copy the logits after code t, where there is room for them."""
    if trace.shape[1]:
        for s in range(len(logits)):
            for code in range(CODES):
                trace[s, t, code] = logits[s, code]


@dataclass
class _StreamGroup:
    """The streams of one thread."""

    state: Any  # the model's `State`
    logits: Float32  # [streams, 256]


class FusedEngine(abc.ABC):
    """Generate with compiled loops: streams in threads, each thread's in one call of the model's loop.

    Parameters
    ----------
    model
        Its weights are copied.
    limits
        Restrictions of sampling; see `audiornn.generation.fused.draws.Limits`.
    bfloat16
        Round the matrices to bfloat16: half the memory traffic, which limits a single stream, for logits that differ
        in the third digit.
    threads
        Number of threads over which streams are spread (default: the cores this process may use).

    Attributes
    ----------
    loop
        A compiled function of the model's weights and state, `Draws`, logits float32 [streams, 256] and a trace float32
        [streams, n, 256] or [streams, 0, 256]. It chooses as many codes as the draws have columns, changes state and
        logits in place, sets the trace to the logits after each code, where it has room, and returns the codes uint8
        [streams, n]. It takes what it needs out of weights and state before it loops: each look into a record counts
        references, which costs a small network several percent of its time.
    """

    loop: ClassVar[Callable[..., Any]]

    def __init__(
        self,
        model: AudioModel,
        limits: Limits = UNLIMITED,
        bfloat16: bool = False,
        threads: int | None = None,
    ) -> None:
        self.name = "fused-bf16" if bfloat16 else "fused"
        self.model, self.limits = model, limits
        self.threads = threads or cores()
        self.weights = self.pack_weights(model, bfloat16)
        self._groups: list[_StreamGroup] = []

    @abc.abstractmethod
    def pack_weights(self, model: Any, bfloat16: bool) -> Any:
        """The model's weights as its loop wants them."""

    @abc.abstractmethod
    def pack_state(self, state: State, streams: slice) -> Any:
        """Copies of some streams' state as the loop wants them."""

    def load_state(self, logits: Float32, state: State) -> None:
        """Take over from the parallel form: logits [streams, 256] and state after the prompt."""
        edges = np.linspace(0, len(logits), min(self.threads, len(logits)) + 1).astype(int)
        rows = [slice(int(a), int(b)) for a, b in pairwise(edges)]
        self._groups = [_StreamGroup(self.pack_state(state, part), np.array(logits[part], np.float32)) for part in rows]

    def generate(self, uniform: Float32, temperature: Float32, logits: Float32 | None = None) -> UInt8:
        """The next codes uint8 [streams, n], drawn by `uniform` and `temperature`, float32 [streams, n].

        `logits`, float32 [streams, n, 256] if given, is set to the logits after each code.
        """
        streams = len(uniform)
        draws = Draws(
            uniform=uniform, temperature=temperature, limits=self.limits, forced=np.empty((streams, 0), np.uint8)
        )
        return self._run(draws, np.empty((streams, 0, CODES), np.float32) if logits is None else logits)

    def teacher_force(self, codes: UInt8) -> Float32:
        """Logits [streams, n, 256] after each of given codes [streams, n]."""
        undrawn = np.empty((len(codes), 0), np.float32)
        trace = np.empty((*codes.shape, CODES), np.float32)
        self._run(Draws(uniform=undrawn, temperature=undrawn, limits=self.limits, forced=codes), trace)
        return trace

    def _run(self, draws: Draws, trace: Float32) -> UInt8:
        def run(group: _StreamGroup, first: int) -> UInt8:
            rows = slice(first, first + len(group.logits))
            own = Draws(
                uniform=np.ascontiguousarray(draws.uniform[rows]),
                temperature=np.ascontiguousarray(draws.temperature[rows]),
                limits=draws.limits,
                forced=np.ascontiguousarray(draws.forced[rows]),
            )
            # Rows of a contiguous array are contiguous: the loop writes into it.
            return type(self).loop(self.weights, group.state, own, group.logits, trace[rows])

        firsts = np.cumsum([0, *(len(group.logits) for group in self._groups)])[:-1]
        if len(self._groups) == 1:
            return run(self._groups[0], 0)
        with ThreadPoolExecutor(len(self._groups)) as pool:
            return np.concatenate(list(pool.map(run, self._groups, firsts)))
