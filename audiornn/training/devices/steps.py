"""Compiled training steps: gradients of one chunk of truncated BPTT, weight update, validation score.

Clipping, accumulation and averages of the weights are written here, and the schedule of the learning rate in
`audiornn.training.devices.optimizers`, although Keras' optimisers have all four, because ours differ:

- Gradients are accumulated as sums over targets and divided by the number of targets just before clipping, so that a
  target counts the same in a full batch, in a chunk with few targets, and on any number of devices. Keras averages the
  means of batches.
- The averages (EMA) take in the statistics of batch normalisation, which belong to the averaged weights; Keras averages
  trainable variables alone. They forget faster in the first updates.
- The learning rate follows the budget, which may be in minutes; Keras' schedules know updates alone.
- Gradients in float16 are scaled; their norm is that of the unscaled ones, and clipping does not see the scale.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

from audiornn.backend import keras, tf
from audiornn.codec import CODES
from audiornn.common.array_types import Tensor
from audiornn.models.base import AudioModel, State
from audiornn.params import Train
from audiornn.training import scores
from audiornn.training.devices import distribution
from audiornn.training.devices.batch_plan import BatchPlan

INPUT_NOISE_CODES = 16  # most by which a code with noise is off


class DeviceSteps:
    """A model, its optimiser and the averages of its weights (EMA), on all devices of a strategy.

    Parameters
    ----------
    model, optimizer
        As `audiornn.models.storage.build` and `audiornn.training.devices.optimizers.build_optimizer` give them, within
        the strategy's scope.
    plan
        How windows are unrolled.
    strategy
        Splits each batch over its devices; sums over devices make them as one.
    """

    def __init__(
        self,
        model: AudioModel,
        optimizer: keras.optimizers.Optimizer,
        plan: BatchPlan,
        params: Train,
        strategy: tf.distribute.Strategy | None = None,
    ) -> None:
        self.model, self.optimizer, self.plan, self.params = model, optimizer, plan, params
        self.strategy = strategy or tf.distribute.get_strategy()
        with self.strategy.scope():
            self.averages = [tf.Variable(v.value) for v in model.variables] if params.ema else []

    def split_over_devices(self, *tensors: Tensor, own: bool = False) -> tuple[Tensor, ...]:
        """Split tensors along their first axis, the batch, over the devices of all workers, or of this one (`own`)."""
        replicas = self.strategy.num_replicas_in_sync
        if own:
            replicas = len(self.strategy.extended.worker_devices)
        elif replicas == 1:
            return tensors

        def rows(tensor: Tensor, replica: int) -> Tensor:
            assert tensor.shape[0] % replicas == 0, "a batch that the devices cannot share would be cut"
            size = tensor.shape[0] // replicas
            first = replica % replicas * size
            return tensor[first : first + size]

        distribute = self.strategy.experimental_distribute_values_from_function
        return tuple(distribute(lambda at, t=t: rows(t, at.replica_id_in_sync_group)) for t in tensors)

    def mean_over_workers(self, *numbers: float) -> tuple[float, ...]:
        """Means over all workers of numbers in which they differ, such as the time, so that they decide alike.

        Every worker must call it at the same point, as each waits for all others.
        """
        if not distribution.cluster():
            return numbers
        return tuple(self._mean(tf.constant(numbers, tf.float64)).numpy().tolist())

    def max_over_workers(self, number: int, limit: int) -> int:
        """The maximum over all workers of a whole number from 0 to a limit; see `mean_over_workers`."""
        return sum(share > 0 for share in self.mean_over_workers(*(float(number > i) for i in range(limit))))

    @tf.function
    def _mean(self, numbers: Tensor) -> Tensor:
        own = self.strategy.run(tf.identity, (numbers,))
        return self.strategy.reduce("mean", own, axis=None)

    @tf.function
    def add_input_noise(self, codes: Tensor, seed: Tensor) -> Tensor:
        """Windows uint8 [batch, n] with noise: a share of the codes, `params.input_noise`, is off by up to
        `INPUT_NOISE_CODES`, so that a model learns to recover from errors of its own.

        The same `seed`, int32 [2], gives the same noise. Source: training noise of LPCNet (Valin and Skoglund 2019).
        """
        shape = tf.shape(codes)
        place, size = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
        chosen = tf.random.stateless_uniform(shape, place) < self.params.input_noise
        off = tf.random.stateless_uniform(shape, size, -INPUT_NOISE_CODES, INPUT_NOISE_CODES + 1, tf.int32)
        noisy = tf.clip_by_value(tf.cast(codes, tf.int32) + off, 0, CODES - 1)
        return tf.where(chosen, tf.cast(noisy, codes.dtype), codes)

    def burn_in(self, codes: Tensor) -> Tensor:
        """The model's state after the burn-in of windows uint8 [batch, context + targets]."""
        state, first = self._initial_state(codes), 0
        while first < self.plan.burn_in:
            # The odd length comes first: the others have one in common.
            length = (self.plan.burn_in - first) % self.plan.chunk or self.plan.chunk
            state = self._advance_state(codes, state, tf.constant(first), length)
            first += length
        return state

    @tf.function
    def _initial_state(self, codes: Tensor) -> Tensor:
        return self.strategy.run(lambda codes: self.model.initial_state(codes.shape[0]), (codes,))

    @tf.function
    def _advance_state(self, codes: Tensor, state: State, first: Tensor, length: int) -> Tensor:
        def on_replica(codes: Tensor, state: State) -> Tensor:
            codes = tf.slice(codes, [0, first], [codes.shape[0], length])
            return _like(state, self.model.forward(codes, state, num_last=1)[1])

        return self.strategy.run(on_replica, (codes, state))

    @tf.function
    def compute_gradients(
        self, codes: Tensor, targets: Tensor, start: Tensor, state: State, inputs: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Gradients of the loss of a chunk, in nats, summed over its targets.

        Parameters
        ----------
        codes
            Windows uint8 [batch, context + targets].
        targets
            int32 [batch], how many targets each window has.
        start
            First code of the chunk, int32.
        state
            The model's state before the chunk.
        inputs
            What the model sees instead of `codes`; see `add_input_noise`.

        Returns
        -------
        Gradients by weight on each device, not yet summed over devices; nats, hits and targets float32 [3]; the state
        after the chunk.
        """

        def on_replica(inputs: Tensor, codes: Tensor, targets: Tensor, state: State) -> tuple[Tensor, ...]:
            inputs, labels, mask = self._slice_chunk(inputs, codes, targets, start)
            num_last = self.plan.chunk_targets
            with tf.GradientTape() as tape:
                losses, hits, after = self.model.loss_and_hits(
                    inputs, labels, state, padding_mask=mask, num_last=num_last
                )
                weight = tf.cast(mask[:, -num_last:], tf.float32)
                nats = tf.reduce_sum(losses * weight)
                scaled = self.optimizer.scale_loss(nats)  # where gradients are float16, so that they do not underflow
            gradients = tape.gradient(scaled, self.model.trainable_variables, unconnected_gradients="zero")
            sums = tf.stack([nats, tf.reduce_sum(hits * weight), tf.reduce_sum(weight)])
            return [tf.convert_to_tensor(g) for g in gradients], sums, _like(state, after)

        gradients, sums, state = self.strategy.run(
            on_replica, (codes if inputs is None else inputs, codes, targets, state)
        )
        return gradients, self.strategy.reduce("sum", sums, axis=None), state

    def _slice_chunk(self, inputs: Tensor, codes: Tensor, targets: Tensor, start: Tensor) -> tuple[Tensor, ...]:
        """Inputs [batch, chunk], labels [batch, chunk_targets], bool [batch, chunk]: is a code's next one a target."""
        plan = self.plan
        if self.params.objective == "window":  # one target per window, its last; earlier codes are its context
            first = tf.maximum(targets - 1, 0)[:, None] + tf.range(plan.context + 1)[None]
            inputs, codes = (tf.gather(windows, first, axis=1, batch_dims=1) for windows in (inputs, codes))
            targets = tf.minimum(targets, 1)
        padding = [[0, 0], [0, plan.chunk]]  # the last chunk may reach beyond the window
        size = [codes.shape[0], plan.chunk + 1]
        inputs, codes = (tf.slice(tf.pad(windows, padding), [0, start], size) for windows in (inputs, codes))
        mask = start + tf.range(plan.chunk)[None] < tf.where(targets > 0, plan.context - 1 + targets, 0)[:, None]
        return inputs[:, :-1], tf.cast(codes[:, -plan.chunk_targets :], tf.int32), mask

    @tf.function
    def add_gradients(self, gradients: list[Tensor], more: list[Tensor]) -> Tensor:
        """The sum of two sets of gradients."""
        return self.strategy.run(lambda a, b: [x + y for x, y in zip(a, b, strict=True)], (gradients, more))

    def apply_gradients(self, gradients: list[Tensor], targets: Tensor, learning_rate: float) -> Tensor:
        """Update the weights by gradients summed over `targets` targets; returns the norm of their mean, unclipped."""
        self.optimizer.learning_rate = learning_rate
        return self._apply_gradients(gradients, targets)

    @tf.function
    def _apply_gradients(self, gradients: list[Tensor], targets: Tensor) -> Tensor:
        def on_replica(gradients: list[Tensor]) -> Tensor:
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
    def score_batch(self, codes: Tensor, targets: Tensor) -> Tensor:
        """As `audiornn.training.scores.batch_sums`, over all devices; whole windows, each with a fresh state."""

        def on_replica(codes: Tensor, targets: Tensor) -> Tensor:
            return scores.batch_sums(self.model, codes, targets, self.plan.context)

        return self.strategy.reduce("sum", self.strategy.run(on_replica, (codes, targets)), axis=None)

    def ema_weights(self) -> AbstractContextManager[AudioModel]:
        """A context with the model, its weights replaced by their averages if there are any."""
        if not self.averages:
            return nullcontext(self.model)
        return self.swapped_weights([variable.numpy() for variable in self.averages])

    @contextmanager
    def swapped_weights(self, weights: Sequence[Tensor]) -> Iterator[AudioModel]:
        """A context with the model, its weights replaced by others."""
        own = [variable.numpy() for variable in self.model.variables]
        self.set_weights(weights)
        try:
            yield self.model
        finally:
            self.set_weights(own)

    def set_weights(self, weights: Sequence[Tensor]) -> None:
        """Assign weights to the model, in the order of `model.variables`."""
        for variable, weight in zip(self.model.variables, weights, strict=True):
            variable.assign(weight)

    @property
    def variables(self) -> list[Tensor]:
        """All variables that training changes: weights, the optimiser's state, averages."""
        return [*self.model.variables, *self.optimizer.variables, *self.averages]


def _like(before: State, after: State) -> Tensor:
    """A state with the structure and static shapes of the one before it, so that nothing is compiled twice."""
    flat = zip(tf.nest.flatten(before), tf.nest.flatten(after), strict=True)
    return tf.nest.pack_sequence_as(before, [tf.ensure_shape(tf.stop_gradient(b), a.shape) for a, b in flat])
