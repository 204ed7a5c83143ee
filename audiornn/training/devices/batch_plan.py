"""Batches of windows, and the chunks of truncated BPTT that a window is unrolled in."""

from dataclasses import dataclass

from audiornn.common.errors import AudioRNNError
from audiornn.params import Train

CODES_PER_UPDATE = {"sequence": 4_096, "window": 65_536}  # where train.batch_size is not set
MIN_WINDOWS = 4  # per batch, even of long windows
CHUNK_CODES = 1_024  # longer windows are unrolled in chunks of this length where train.chunk is not set


@dataclass(frozen=True)
class BatchPlan:
    """How a window is unrolled: whole, or in chunks of truncated BPTT (the state is carried over, the gradient is not).

    Attributes
    ----------
    batch_size
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

    batch_size: int
    context: int
    targets: int
    burn_in: int
    chunk: int
    chunk_targets: int

    def chunk_starts(self, targets: int) -> range:
        """Start positions of the chunks that have a target, where no window of the batch has more than `targets`."""
        targets = min(targets, self.targets)
        return range(self.burn_in, self.context - 1 + targets if targets else 0, self.chunk)

    @classmethod
    def for_windows(
        cls, params: Train, context: int, targets_per_window: int, *, windows: int, hop: int = 1, replicas: int = 1
    ) -> "BatchPlan":
        """The plan for windows of `context + targets_per_window` codes.

        Without `train.chunk`, windows of more than 1,024 codes are unrolled in chunks of that length. The burn-in
        before the first chunk ends at a multiple of `hop`, where models may be cut: up to `hop - 1` targets of a window
        fall into it. Without `train.batch_size`, a batch holds as many windows as give an update about 4,000 codes
        (window objective: 64,000), but no fewer than four, spread evenly over the batches of an epoch.

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
            If `train.batch_size`, `train.chunk` or `train.crop_targets` do not fit.
        """
        targets = params.crop_targets or targets_per_window
        if targets > targets_per_window:
            raise AudioRNNError(
                f"train.crop_targets is {targets}, but must not exceed the targets of a window, {targets_per_window} "
                "(shard.targets_per_window)"
            )
        length = context + targets - 1
        if params.objective == "window":
            length, chunk = context, context
        elif params.chunk:
            chunk = min(params.chunk, length)
            if chunk < length and chunk % hop:
                raise AudioRNNError(f"train.chunk is {chunk}, but must be a multiple of the model's hop, {hop}")
        else:
            chunk = length if length < CHUNK_CODES else max(hop, CHUNK_CODES // hop * hop)
        batch_size = params.batch_size or max(MIN_WINDOWS, CODES_PER_UPDATE[params.objective] // (chunk + 1))
        if params.batch_size is None:
            batch_size = -(-windows // -(-windows // batch_size))
            batch_size = -(-batch_size // replicas) * replicas
        if batch_size % replicas:
            raise AudioRNNError(
                f"train.batch_size is {batch_size}, but must be a multiple of the number of devices, {replicas}"
            )
        if params.objective == "window":  # one target per window
            return cls(batch_size, context, targets=1, burn_in=0, chunk=chunk, chunk_targets=1)
        if chunk == length:
            return cls(batch_size, context, targets, burn_in=0, chunk=chunk, chunk_targets=targets)
        burn_in = -(-(context - 1) // hop) * hop
        return cls(batch_size, context, targets, burn_in=burn_in, chunk=chunk, chunk_targets=chunk)
