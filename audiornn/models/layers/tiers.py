"""Building blocks of hierarchical models: recurrent tiers at slow clocks over a network at sample level.

A tier with frames of n codes ticks at the first of every n codes, and sees the n codes up to that one. For the next
tier, with frames of m codes, it outputs n / m vectors, one for each tick of that tier until its own next tick; the last
tier outputs one per code. (SampleRNN's frames end one code earlier. With this alignment a sequence of whole frames
needs no cutting.)
"""

from collections.abc import Sequence
from typing import Annotated, Any, Protocol

import numpy as np
from pydantic import AfterValidator, BeforeValidator

from audiornn.backend import keras, tf
from audiornn.codec import CODES
from audiornn.common.array_types import Tensor
from audiornn.common.validation import Width
from audiornn.models.layers.gru import GRU


def _each_a_multiple(frames: tuple[int, ...]) -> tuple[int, ...]:
    if not frames or any(slow % fast or slow == fast for slow, fast in zip(frames, (*frames[1:], 1), strict=True)):
        raise ValueError(
            "must be the codes in a frame of each tier, slowest first, each a multiple of the next: [16, 4]"
        )
    return frames


# Codes in a frame of each tier, slowest first. A list, as YAML and JSON have it, becomes a tuple.
Frames = Annotated[
    tuple[Width, ...],
    BeforeValidator(lambda frames: tuple(frames) if isinstance(frames, list) else frames),
    AfterValidator(_each_a_multiple),
]


class Core(Protocol):
    """Recurrent network of a tier, time-major. `units` is its output width."""

    units: int

    def build(self, width: int) -> None:
        """Create the weights for an input of `width` values."""

    def initial_state(self, batch: int | Tensor) -> Tensor:
        """A nest of tensors, batch first."""

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, ...]:
        """Outputs [time, batch, units] for inputs [time, batch, width], and the state after them."""

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, ...]:
        """The same for one input [batch, width]."""


class GRUCore(keras.layers.Layer):
    """A GRU as the core of a tier."""

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.gru = GRU(units)

    def build(self, width: int) -> None:
        self.gru.build(width)
        self.built = True

    def initial_state(self, batch: int | Tensor) -> Tensor:
        return tf.zeros([batch, self.units])

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, ...]:
        h = self.gru.scan(self.gru.project(x), state)
        return h, h[-1]

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, ...]:
        h = self.gru.step(self.gru.project(x), state)
        return h, h


class Embedding(keras.layers.Layer):
    """Embedding of codes.

    Initialised by sines and cosines of the companded amplitude, from half a period over its range to one period per
    four codes, so that neighbouring codes are similar from the start (as positions in Vaswani et al. 2017).
    """

    def __init__(self, width: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.width = width
        amplitude = (np.arange(CODES) + 0.5) / CODES - 0.5
        angle = 2 * np.pi * np.geomspace(0.5, CODES / 4, -(-width // 2)) * amplitude[:, None]
        start = np.stack([np.sin(angle), np.cos(angle)], -1).reshape(CODES, -1)[:, :width]
        self.table = self.add_weight(shape=[CODES, width], initializer="zeros", name="table")
        self.table.assign(start)
        self.built = True

    def call(self, codes: Tensor) -> Tensor:
        """Codes int [...] -> float [..., width]."""
        return tf.gather(tf.convert_to_tensor(self.table), tf.cast(codes, tf.int32))


class LookBack(keras.layers.Layer):
    """Linear map of the embeddings of the last `length` codes, at each code."""

    def __init__(self, embedding: Embedding, length: int, width: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.embedding, self.length, self.width = embedding, length, width
        shape = [length, embedding.width, width]
        self.kernel = self.add_weight(shape=shape, initializer="glorot_uniform", name="kernel")
        self.built = True

    def forward(self, codes: Tensor) -> Tensor:
        """Codes int [batch, length - 1 + time] -> float [batch, time, width]."""
        return tf.nn.conv1d(self.embedding(codes), tf.convert_to_tensor(self.kernel), 1, "VALID")

    def step(self, recent: Tensor) -> Tensor:
        """The last codes int [batch, length or more] -> float [batch, width]."""
        return tf.tensordot(self.embedding(recent[:, -self.length :]), tf.convert_to_tensor(self.kernel), 2)


class Tiers(keras.layers.Layer):
    """Recurrent tiers at slow clocks, each conditioning the next faster one.

        frames of 16 codes ─► core ─► upsample ×4
                                          │ a vector for each frame of 4
        frames of 4 codes ──── concat ────┴─► core ─► upsample ×4 ─► a vector for each code

    Parameters
    ----------
    embedding
        Of the codes in the frames.
    frames
        Codes in a frame of each tier, slowest first.
    cores
        One for each tier.
    width
        Width of the last tier's output vectors, one per code.
    window
        Minimum number of codes that a tier sees at a tick.
    """

    def __init__(
        self,
        embedding: Embedding,
        frames: Sequence[int],
        cores: Sequence[Core],
        width: int,
        window: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.embedding, self.frames, self.cores = embedding, tuple(frames), list(cores)
        self.windows = [max(frame, window) for frame in self.frames]
        self.ratios = [slow // fast for slow, fast in zip(self.frames, (*self.frames[1:], 1), strict=True)]
        self.widths = [core.units for core in self.cores[1:]] + [width]
        self.upsample = [
            keras.layers.Dense(ratio * width, name=f"upsample_{frame}")
            for frame, ratio, width in zip(self.frames, self.ratios, self.widths, strict=True)
        ]
        above = 0
        for length, core, upsample, width in zip(self.windows, self.cores, self.upsample, self.widths, strict=True):
            core.build(length * embedding.width + above)
            upsample.build([None, core.units])
            above = width
        self.built = True

    def initial_state(self, batch: int | Tensor) -> Tensor:
        """Cores' states, and the vectors that condition the next tier, [batch, ratio, width] for each tier."""
        return {
            "cores": [core.initial_state(batch) for core in self.cores],
            "conditioning": [tf.zeros([batch, r, width]) for r, width in zip(self.ratios, self.widths, strict=True)],
        }

    def forward(self, codes: Tensor, state: Tensor, time: int, skip: int = 0) -> tuple[Tensor, ...]:
        """Conditioning vectors for a sequence that begins at a tick of all tiers.

        Parameters
        ----------
        codes
            Int [batch, past + time]: at least the longest window minus 1 past codes, then the sequence.
        time
            Codes in the sequence.
        skip
            Number of first codes without vectors.

        Returns
        -------
        Float [batch, time - skip, width], and the state after the sequence.
        """
        batch = -1 if codes.shape[0] is None else codes.shape[0]
        cores, conditioning, vectors = [], [], None
        for i, (frame, window, core, ratio, width) in enumerate(
            zip(self.frames, self.windows, self.cores, self.ratios, self.widths, strict=True)
        ):
            ticks, first = -(-time // frame), codes.shape[1] - time + 1 - window
            indices = first + np.arange(ticks)[:, None] * frame + np.arange(window)
            x = self.embedding(tf.gather(tf.transpose(codes), indices))  # [ticks, window, batch, width]
            x = tf.reshape(tf.transpose(x, [0, 2, 1, 3]), [ticks, batch, window * self.embedding.width])
            if vectors is not None:
                x = tf.concat([x, vectors[:ticks]], -1)
            h, after = core.forward(x, state["cores"][i])
            cores.append(after)
            if i + 1 < len(self.cores):
                vectors = tf.reshape(self.upsample[i](h), [ticks, batch, ratio, width])
                conditioning.append(vectors[-1])
                vectors = tf.reshape(tf.transpose(vectors, [0, 2, 1, 3]), [ticks * ratio, batch, width])
        # From here on the batch comes first; transposed now, while there is one vector per frame, not per code.
        unused = skip // frame
        vectors = self.upsample[-1](tf.transpose(h[unused:], [1, 0, 2]))
        conditioning.append(tf.reshape(vectors[:, -1], [batch, frame, width]))
        vectors = tf.reshape(vectors, [batch, (ticks - unused) * frame, width])
        if vectors.shape[1] != time - skip:
            vectors = vectors[:, skip % frame :][:, : time - skip]
        return vectors, {"cores": cores, "conditioning": conditioning}

    def step(self, recent: Tensor, state: Tensor, phase: Tensor) -> tuple[Tensor, ...]:
        """Conditioning vector for one code.

        Parameters
        ----------
        recent
            Int [batch, longest window or more], the last codes including this one.
        phase
            Int, codes since the slowest tier's last tick.

        Returns
        -------
        Float [batch, width], and the state after the code.
        """
        cores, conditioning, vector = [], [], None
        for i, (frame, ratio) in enumerate(zip(self.frames, self.ratios, strict=True)):

            def tick(i: int = i, above: Tensor = vector) -> Tensor:
                x = self.embedding(recent[:, -self.windows[i] :])
                x = tf.reshape(x, [-1, self.windows[i] * self.embedding.width])
                h, after = self.cores[i].step(x if above is None else tf.concat([x, above], -1), state["cores"][i])
                return after, tf.reshape(self.upsample[i](h), tf.shape(state["conditioning"][i]))

            after, vectors = tf.cond(
                phase % frame == 0, tick, lambda i=i: (state["cores"][i], state["conditioning"][i])
            )
            cores.append(after)
            conditioning.append(vectors)
            vector = vectors[:, phase % frame // (frame // ratio)]
        return vector, {"cores": cores, "conditioning": conditioning}
