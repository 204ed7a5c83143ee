"""What runs on the devices: the gradients of a piece of a window, an update, a score. Each is compiled once."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from audiornn import distribution, evaluation
from audiornn.backend import tf
from audiornn.errors import AudioRNNError
from audiornn.models.base import AudioModel
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


class Learner:
    """A model, its optimiser and the averages of its weights, on all devices of a strategy.

    Parameters
    ----------
    model, optimizer
        As `audiornn.models.build` and `audiornn.optimizers.make` give them, within the strategy's scope.
    layout
        How windows are learned.
    strategy
        Spreads each batch over its devices; sums over devices make them as one.
    """

    def __init__(self, model: AudioModel, optimizer: Any, layout: Layout, params: Train, strategy: Any = None) -> None:
        self.model, self.optimizer, self.layout, self.params = model, optimizer, layout, params
        self.strategy = strategy or tf.distribute.get_strategy()
        with self.strategy.scope():
            self.averages = [tf.Variable(v.value) for v in model.variables] if params.ema else []

    def share(self, *tensors: Any) -> tuple:
        """Tensors with the batch as first axis, divided over the devices."""
        replicas = self.strategy.num_replicas_in_sync
        if replicas == 1:
            return tensors

        def part(tensor: Any, replica: int) -> Any:
            size = tensor.shape[0] // replicas
            return tensor[replica * size : (replica + 1) * size]

        spread = self.strategy.experimental_distribute_values_from_function
        return tuple(spread(lambda at, t=t: part(t, at.replica_id_in_sync_group)) for t in tensors)

    def agree(self, *numbers: float) -> tuple[float, ...]:
        """The means over all machines, so that they decide alike by what differs between them, such as the time."""
        return tuple(self._mean(tf.constant(numbers, tf.float64)).numpy()) if distribution.cluster() else numbers

    @tf.function
    def _mean(self, numbers: Any) -> Any:
        own = self.strategy.run(tf.identity, (numbers,))
        return self.strategy.reduce("mean", own, axis=None)

    def begin(self, codes: Any) -> Any:
        """The state after the burn-in of windows uint8 [batch, context + targets]."""
        state, first = self._fresh(codes), 0
        while first < self.layout.burn_in:
            # The odd length comes first: the others have one in common.
            length = (self.layout.burn_in - first) % self.layout.piece or self.layout.piece
            state = self._advance(codes, state, tf.constant(first), length)
            first += length
        return state

    @tf.function
    def _fresh(self, codes: Any) -> Any:
        return self.strategy.run(lambda codes: self.model.initial_state(codes.shape[0]), (codes,))

    @tf.function
    def _advance(self, codes: Any, state: Any, first: Any, length: int) -> Any:
        def on_replica(codes: Any, state: Any) -> Any:
            codes = tf.slice(codes, [0, first], [codes.shape[0], length])
            return _like(state, self.model.run(codes, state, last=1)[1])

        return self.strategy.run(on_replica, (codes, state))

    @tf.function
    def learn(self, codes: Any, targets: Any, start: Any, state: Any) -> tuple:
        """Gradients of the nats of a piece, summed over its targets.

        Parameters
        ----------
        codes
            Windows uint8 [batch, context + targets].
        targets
            int32 [batch], how many targets each window has.
        start
            First code of the piece, int32.
        state
            The state before the piece.

        Returns
        -------
        Gradients by weight on each device, not yet summed over devices; nats, hits and targets float32 [3]; the state
        after the piece.
        """

        def on_replica(codes: Any, targets: Any, state: Any) -> tuple:
            inputs, labels, valid = self._piece(codes, targets, start)
            with tf.GradientTape() as tape:
                each, hits, after = self.model.learn(inputs, labels, state, valid=valid, last=self.layout.last)
                weight = tf.cast(valid[:, -self.layout.last :], tf.float32)
                nats = tf.reduce_sum(each * weight)
                scaled = self.optimizer.scale_loss(nats)  # where gradients are float16, so that they do not underflow
            gradients = tape.gradient(scaled, self.model.trainable_variables, unconnected_gradients="zero")
            sums = tf.stack([nats, tf.reduce_sum(hits * weight), tf.reduce_sum(weight)])
            return [tf.convert_to_tensor(g) for g in gradients], sums, _like(state, after)

        gradients, sums, state = self.strategy.run(on_replica, (codes, targets, state))
        return gradients, self.strategy.reduce("sum", sums, axis=None), state

    def _piece(self, codes: Any, targets: Any, start: Any) -> tuple:
        """Codes to read [batch, piece], codes to predict [batch, last], which of those read have a code to predict."""
        layout = self.layout
        if self.params.objective == "window":  # one target a window, its last; earlier ones only lead up to it
            first = tf.maximum(targets - 1, 0)
            codes = tf.gather(codes, first[:, None] + tf.range(layout.context + 1)[None], axis=1, batch_dims=1)
            targets = tf.minimum(targets, 1)
        codes = tf.pad(codes, [[0, 0], [0, layout.piece]])  # the last piece may reach beyond the window
        codes = tf.slice(codes, [0, start], [codes.shape[0], layout.piece + 1])
        valid = start + tf.range(layout.piece)[None] < tf.where(targets > 0, layout.context - 1 + targets, 0)[:, None]
        return codes[:, :-1], tf.cast(codes[:, -layout.last :], tf.int32), valid

    @tf.function
    def add(self, gradients: Any, more: Any) -> Any:
        """The sum of two sets of gradients."""
        return self.strategy.run(lambda a, b: [x + y for x, y in zip(a, b, strict=True)], (gradients, more))

    def update(self, gradients: Any, targets: Any, rate: float) -> Any:
        """Move the weights by gradients that were summed over so many targets; the norm of their mean, unclipped."""
        self.optimizer.learning_rate = rate
        return self._update(gradients, targets)

    @tf.function
    def _update(self, gradients: Any, targets: Any) -> Any:
        def on_replica(gradients: Any) -> Any:
            gradients = [tf.identity(g) for g in gradients]  # a tensor from outside is on no device, as sums have to be
            gradients = tf.distribute.get_replica_context().all_reduce("sum", gradients)
            scale = self.optimizer.scale_loss(1.0)  # the optimiser takes it out again
            means = [g / targets for g in gradients]
            clipped, norm = tf.clip_by_global_norm(means, self.params.clip_norm * scale)
            self.optimizer.apply(clipped, self.model.trainable_variables)
            return norm / scale

        norm = self.strategy.run(on_replica, (gradients,))
        if self.averages:
            step = tf.cast(self.optimizer.iterations, tf.float32)
            # Young averages forget faster, so that the first, random weights do not linger.
            keep = tf.minimum(self.params.ema, (1 + step) / (10 + step))
            for average, weight in zip(self.averages, self.model.variables, strict=True):
                if average.dtype.is_floating:
                    self.strategy.extended.update(
                        average, lambda a, w: a.assign(w + keep * (a - w)), args=(weight.value,), group=False
                    )
        return self.strategy.experimental_local_results(norm)[0]

    @tf.function
    def score(self, codes: Any, targets: Any) -> Any:
        """As `audiornn.evaluation.sums`, over all devices; whole windows, each with a fresh state."""

        def on_replica(codes: Any, targets: Any) -> Any:
            return evaluation.sums(self.model, codes, targets, self.layout.context)

        return self.strategy.reduce("sum", self.strategy.run(on_replica, (codes, targets)), axis=None)

    def averaged(self) -> AbstractContextManager[AudioModel]:
        """The model with the averages of its weights, where there are any, for as long as a block lasts."""
        return (
            self.holding([variable.numpy() for variable in self.averages]) if self.averages else nullcontext(self.model)
        )

    @contextmanager
    def holding(self, weights: Sequence[Any]) -> Iterator[AudioModel]:
        """The model with other weights for as long as the block lasts."""
        own = [variable.numpy() for variable in self.model.variables]
        self.put(weights)
        try:
            yield self.model
        finally:
            self.put(own)

    def put(self, weights: Sequence[Any]) -> None:
        """Give the model other weights, by the order of `model.variables`."""
        for variable, weight in zip(self.model.variables, weights, strict=True):
            variable.assign(weight)

    @property
    def variables(self) -> list:
        """All that training changes: weights, the optimiser's memory, averages."""
        return [*self.model.variables, *self.optimizer.variables, *self.averages]


def _like(before: Any, after: Any) -> Any:
    """A state with the structure and static shapes of the one before it, so that nothing is compiled twice."""
    flat = zip(tf.nest.flatten(before), tf.nest.flatten(after), strict=True)
    return tf.nest.pack_sequence_as(before, [tf.ensure_shape(tf.stop_gradient(b), a.shape) for a, b in flat])
