"""What runs on the devices: the gradients of a piece of a window, an update, a score. Each is compiled once."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from audiornn.backend import tf
from audiornn.evaluation import scores
from audiornn.models.base import AudioModel
from audiornn.params import Train
from audiornn.training import distribution
from audiornn.training.batch_plan import Layout


class Learner:
    """A model, its optimiser and the averages of its weights, on all devices of a strategy.

    Parameters
    ----------
    model, optimizer
        As `audiornn.models.storage.build` and `audiornn.training.optimizers.make` give them, within the strategy's
        scope.
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
        """As `audiornn.evaluation.scores.batch_sums`, over all devices; whole windows, each with a fresh state."""

        def on_replica(codes: Any, targets: Any) -> Any:
            return scores.batch_sums(self.model, codes, targets, self.layout.context)

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
