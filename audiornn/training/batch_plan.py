"""How windows are learned: batches, chunks, burn-in."""

from dataclasses import dataclass

from audiornn.errors import AudioRNNError
from audiornn.params import Train

CODES_A_STEP = {"sequence": 4_096, "window": 65_536}  # where train.batch is not set
FEWEST_WINDOWS = 4  # a batch, even of long windows
PIECE = 1_024  # codes; windows that are longer are learned in pieces where train.piece is not set


@dataclass(frozen=True)
class Layout:
    """How windows are learned: in one go, or in pieces, between which the state is carried but no gradient.

    Attributes
    ----------
    batch
        Windows a batch.
    context, targets
        Codes of a window before its first target, and how many targets it has at most.
    burn_in
        Leading codes that only advance the state; no gradient goes there.
    piece
        Codes that are read for one gradient; the code behind the last one is its last target.
    last
        How many codes of a piece are followed by a target.
    """

    batch: int
    context: int
    targets: int
    burn_in: int
    piece: int
    last: int

    def starts(self, targets: int) -> range:
        """First codes of those pieces that have a target, where no window of the batch has more than `targets`."""
        return range(self.burn_in, self.context - 1 + targets if targets else 0, self.piece)


def plan(params: Train, context: int, span: int, windows: int, hop: int = 1, replicas: int = 1) -> Layout:
    """How windows of `context + span` codes are learned with these parameters.

    Without `train.piece`, windows of more than 1,024 codes are learned in pieces of that length. The burn-in before the
    first piece ends at a multiple of `hop`, where models may be cut: up to `hop - 1` targets of a window fall into it.
    Without `train.batch`, a batch holds as many windows as give an update about 4,000 codes (window objective: 64,000),
    but no fewer than four, spread evenly over the batches of an epoch.

    Parameters
    ----------
    windows
        How many there are.
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
        length, piece = context, context
    elif params.piece:
        piece = min(params.piece, length)
        if piece < length and piece % hop:
            raise AudioRNNError(f"train.piece is {piece}, but must be a multiple of the model's hop, {hop}")
    else:
        piece = length if length < PIECE else max(hop, PIECE // hop * hop)
    batch = params.batch or max(FEWEST_WINDOWS, CODES_A_STEP[params.objective] // (piece + 1))
    if params.batch is None:
        batch = -(-windows // -(-windows // batch))
        batch = -(-batch // replicas) * replicas
    if batch % replicas:
        raise AudioRNNError(f"train.batch is {batch}, but must be a multiple of the number of devices, {replicas}")
    if params.objective == "window":
        return Layout(batch, context, targets, 0, piece, 1)
    if piece == length:
        return Layout(batch, context, targets, 0, piece, targets)
    return Layout(batch, context, targets, -(-(context - 1) // hop) * hop, piece, piece)
