"""Batches of windows, and the chunks of truncated BPTT that a window is unrolled in."""

from dataclasses import dataclass

from audiornn.errors import AudioRNNError
from audiornn.params import Train

CODES_PER_UPDATE = {"sequence": 4_096, "window": 65_536}  # where train.batch is not set
MIN_WINDOWS = 4  # per batch, even of long windows
CHUNK_CODES = 1_024  # longer windows are unrolled in chunks of this length where train.piece is not set


@dataclass(frozen=True)
class BatchPlan:
    """How a window is unrolled: whole, or in chunks of truncated BPTT (the state is carried over, the gradient is not).

    Attributes
    ----------
    batch
        Windows per batch.
    context, targets
        Codes of a window before its first target, and the most targets that are learned from it.
    burn_in
        Leading codes that only advance the state; no gradient goes there.
    chunk
        Codes that are read for one gradient; the code after the last one is its last target.
    chunk_targets
        How many codes of a chunk, its last ones, are followed by a target.
    """

    batch: int
    context: int
    targets: int
    burn_in: int
    chunk: int
    chunk_targets: int

    def chunk_starts(self, targets: int) -> range:
        """First codes of the chunks that have a target, where no window of the batch has more than `targets`."""
        targets = min(targets, self.targets)
        return range(self.burn_in, self.context - 1 + targets if targets else 0, self.chunk)

    @classmethod
    def for_windows(
        cls, params: Train, context: int, span: int, *, windows: int, hop: int = 1, replicas: int = 1
    ) -> "BatchPlan":
        """The plan for windows of `context + span` codes.

        Without `train.piece`, windows of more than 1,024 codes are unrolled in chunks of that length. The burn-in
        before the first chunk ends at a multiple of `hop`, where models may be cut: up to `hop - 1` targets of a window
        fall into it. Without `train.batch`, a batch holds as many windows as give an update about 4,000 codes (window
        objective: 64,000), but no fewer than four, spread evenly over the batches of an epoch.

        Parameters
        ----------
        windows
            Number of windows in the training split.
        hop
            The model's; see `AudioModel`.
        replicas
            Devices that share a batch.

        Raises
        ------
        AudioRNNError
            If `train.batch`, `train.piece` or `train.crop` do not fit.
        """
        targets = params.crop or span
        if targets > span:
            raise AudioRNNError(
                f"train.crop is {targets}, but must not exceed the targets of a window, {span} (shard.span)"
            )
        length = context + targets - 1
        if params.objective == "window":
            length, chunk = context, context
        elif params.piece:
            chunk = min(params.piece, length)
            if chunk < length and chunk % hop:
                raise AudioRNNError(f"train.piece is {chunk}, but must be a multiple of the model's hop, {hop}")
        else:
            chunk = length if length < CHUNK_CODES else max(hop, CHUNK_CODES // hop * hop)
        batch = params.batch or max(MIN_WINDOWS, CODES_PER_UPDATE[params.objective] // (chunk + 1))
        if params.batch is None:
            batch = -(-windows // -(-windows // batch))
            batch = -(-batch // replicas) * replicas
        if batch % replicas:
            raise AudioRNNError(f"train.batch is {batch}, but must be a multiple of the number of devices, {replicas}")
        if params.objective == "window":  # one target per window
            return cls(batch, context, targets=1, burn_in=0, chunk=chunk, chunk_targets=1)
        if chunk == length:
            return cls(batch, context, targets, burn_in=0, chunk=chunk, chunk_targets=targets)
        burn_in = -(-(context - 1) // hop) * hop
        return cls(batch, context, targets, burn_in=burn_in, chunk=chunk, chunk_targets=chunk)
