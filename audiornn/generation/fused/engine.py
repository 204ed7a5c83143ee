"""The fast engine: a model's step as one compiled loop on the CPU, with weights laid out for it once.

What depends on a code alone (the first layers' input products, biases) becomes a row of a table; batch normalisation
is folded into the matrices behind it; gates share one product. See `audiornn.kernels.matmul` for
why a stream's samples do not depend on its neighbours.

A further model's engine is a subclass of `FusedEngine` and one entry in `audiornn.generation.engines.FUSED`.
"""

import abc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from audiornn.codec import CODES
from audiornn.generation.fused.draws import UNLIMITED, Limits, draw
from audiornn.generation.fused.lpc_prior import Arrays
from audiornn.kernels.jit import cores, njit
from audiornn.models.base import AudioModel, State


@dataclass
class _Group:
    """The streams of one thread."""

    state: Arrays
    logits: NDArray[np.float32]  # [streams, 256]


class FusedEngine(abc.ABC):
    """Generate with compiled kernels: streams in threads, each thread's in one call of the model's kernel.

    Parameters
    ----------
    model
        Its weights are copied.
    limits
        Of draws; see `audiornn.generation.fused.draws.Limits`.
    bfloat16
        Round the matrices to bfloat16: half the memory traffic, which limits a single stream, for logits that differ
        in the third digit.
    threads
        Streams are spread over so many threads (default: the cores this process may use).
    """

    # A compiled function of what `pack_weights` and `pack_state` gave, logits [streams, 256], uniform numbers and
    # temperatures [streams, n], limits, given codes [streams, n] and room for logits [streams, n, 256]. It
    # advances the streams by the columns of the uniform numbers (drawing) or of the given codes (following), where
    # there are any, changes state and logits in place, writes the logits after each code where there is room for them,
    # and returns the codes uint8 [streams, n].
    kernel: ClassVar[Callable[..., Any]]

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
        self._groups: list[_Group] = []

    @abc.abstractmethod
    def pack_weights(self, model: Any, bfloat16: bool) -> Arrays:
        """The model's weights as the kernel wants them."""

    @abc.abstractmethod
    def pack_state(self, state: State, streams: slice) -> Arrays:
        """Copies of some streams' state as the kernel wants them."""

    @property
    @abc.abstractmethod
    def weight_bytes(self) -> int:
        """Bytes of weights that a sample of one stream reads."""

    def start(self, logits: NDArray[np.float32], state: State) -> None:
        """Take over from the parallel form: logits [streams, 256] and state after the prompt."""
        edges = np.linspace(0, len(logits), min(self.threads, len(logits)) + 1).astype(int)
        rows = [slice(int(a), int(b)) for a, b in pairwise(edges)]
        self._groups = [_Group(self.pack_state(state, part), np.array(logits[part], np.float32)) for part in rows]

    def advance(self, uniform: NDArray[np.float32], temperature: NDArray[np.float32]) -> NDArray[np.uint8]:
        """The next codes uint8 [streams, n], drawn by `uniform` and `temperature`, float32 [streams, n]."""
        streams = len(uniform)
        return self._run(uniform, temperature, np.empty((streams, 0), np.uint8), np.empty((streams, 0, 0), np.float32))

    def follow(self, codes: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Logits [streams, n, 256] after each of given codes [streams, n]."""
        nothing = np.empty((len(codes), 0), np.float32)
        kept = np.empty((*codes.shape, CODES), np.float32)
        self._run(nothing, nothing, codes, kept)
        return kept

    def _run(self, uniform: Any, temperature: Any, given: Any, kept: Any) -> NDArray[np.uint8]:
        def run(group: _Group, first: int) -> NDArray[np.uint8]:
            rows = slice(first, first + len(group.logits))
            u, heat, codes, room = (np.ascontiguousarray(a[rows]) for a in (uniform, temperature, given, kept))
            kernel = type(self).kernel
            return kernel(self.weights, group.state, group.logits, u, heat, self.limits, codes, room)

        firsts = np.cumsum([0, *(len(group.logits) for group in self._groups)])[:-1]
        if len(self._groups) == 1:
            return run(self._groups[0], 0)
        with ThreadPoolExecutor(len(self._groups)) as pool:
            return np.concatenate(list(pool.map(run, self._groups, firsts)))


@njit(nogil=True, cache=True)
def take(
    logits: Any,
    uniform: Any,
    temperature: Any,
    limits: Any,
    given: Any,
    t: int,
    codes: Any,
    scratch: Any,
) -> None:
    """Set `codes[:, t]`: the given ones, where there are any, or those drawn from the logits by `uniform[:, t]`."""
    for s in range(len(logits)):
        if given.shape[1]:
            codes[s, t] = given[s, t]
        else:
            codes[s, t] = draw(logits[s], temperature[s, t], limits, uniform[s, t], scratch)


@njit(nogil=True, cache=True)
def keep(logits: Any, t: int, kept: Any) -> None:
    """Copy the logits after code t, where there is room for them."""
    if kept.shape[1]:
        for s in range(len(logits)):
            for code in range(CODES):
                kept[s, t, code] = logits[s, code]
