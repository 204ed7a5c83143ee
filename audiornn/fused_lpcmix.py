"""The fast engine of `lpcmix` models; see `audiornn.fused` for engines and `audiornn.models.lpcmix` for all names."""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from audiornn.codec import CODES
from audiornn.fused import Arrays, FusedEngine
from audiornn.kernels import block, draw, exp, gru, log, multiply, pack, padded, spread, tanh
from audiornn.models.base import State
from audiornn.models.logistic import EDGES, FLOOR, MU, WIDEST, WIDTHS
from audiornn.models.prior import SCALE, SMALLEST, WAVES
from audiornn.prediction import DECAYS, MAIN_DECAY, consume

f32 = np.float32
LOG_CODES = np.log(CODES)
MEANS = len(DECAYS)
COMPANDED = (2 * np.arange(CODES) / MU - 1).astype(f32)


@block
def _asinh(x: Any) -> None:
    """asinh of float32 [n], in place."""
    for i in range(x.size):
        size = abs(x[i])
        x[i] = np.copysign(log(size + np.sqrt(size * size + f32(1))), x[i])


@block
def _silu(x: Any) -> None:
    """x sigmoid(x) of float32 [n], in place."""
    for i in range(x.size):
        x[i] = x[i] / (f32(1) + exp(min(max(-x[i], f32(-80)), f32(80))))


@block
def _add(x: Any, y: Any) -> None:
    """Add x float32 [n] to y."""
    for i in range(y.size):
        y[i] += x[i]


@block
def _place(known: Any, outputs: int, scale: Any, into: Any) -> None:
    """As `prior.place`: float32 [2 + 4 + 8]."""
    p = known[0]
    for i in range(MEANS):
        into[i] = f32(0.3) * log(known[outputs + i] + f32(SMALLEST)) + f32(1)
    interval = (abs(p) + f32(1 / MU)) * f32(2 * LOG_CODES / MU)
    into[MEANS] = f32(0.3) * log(interval / scale)
    companded = np.copysign(log(f32(1) + f32(MU) * abs(p)) / f32(LOG_CODES), p)
    into[MEANS + 1] = companded
    waves = WAVES.size
    for i in range(waves):
        into[MEANS + 2 + i] = np.sin(companded * WAVES[i])
        into[MEANS + 2 + waves + i] = np.cos(companded * WAVES[i])


@block
def _mixture(outputs: Any, p: Any, scale: Any, edges: Any, widths: Any, sums: Any, logits: Any) -> None:
    """log P of each code: `logistic.logits` for one sample. `sums` float32 [2, 257] is overwritten."""
    components = outputs.size // 3
    largest = outputs[0]
    for m in range(components):
        largest = max(largest, outputs[m])
    total = f32(0)
    for m in range(components):
        total += exp(max(outputs[m] - largest, f32(-80)))
    below, above = sums[0], sums[1]
    n = logits.size
    for i in range(n):
        logits[i] = f32(FLOOR / CODES)
    unit = f32(1) / scale
    for m in range(components):
        weight = exp(max(outputs[m] - largest, f32(-80))) / total * f32(1 - FLOOR)
        inverse = exp(f32(-WIDEST) * tanh(outputs[components + m] / f32(WIDEST)))
        centre = outputs[2 * components + m]
        for i in range(n + 1):  # sigmoid(z) and sigmoid(-z), each to the last digits
            z = ((edges[i] - p) * unit - centre) * inverse
            e = exp(min(max(-z, f32(-40)), f32(40)))
            low = f32(1) / (f32(1) + e)
            below[i] = low
            above[i] = e * low
        factor = unit * inverse
        for i in range(n):
            width = min(widths[i] * factor, f32(40))
            # 1 - exp(-width): where little is left of the 1, by its series.
            series = f32(1 / 24) - width * f32(1 / 120)
            series = f32(1 / 6) - width * series
            series = f32(1 / 2) - width * series
            series = width * (f32(1) - width * series)
            mass = series if width < f32(0.2) else f32(1) - exp(-width)
            logits[i] += weight * below[i + 1] * above[i] * mass
    for i in range(n):
        logits[i] = log(logits[i])


@njit(nogil=True, cache=True)
def _lpcmix(
    weights: Any,
    states: Any,
    logits: Any,
    uniform: Any,
    temperature: Any,
    top_k: int,
    top_p: float,
    given: Any,
    kept: Any,
) -> Any:
    """The kernel of `FusedLPCMix`; see `FusedEngine.kernel`."""
    tables, edges, widths, companded, layers, biases, head, head_bias, frame_weights, frame_biases, numbers = weights
    first, residual = layers
    frame_input, frame_recurrent, condition_weights = frame_weights
    predictor, amplitudes, errors, past, memory, condition, phase = states
    history, hop, outputs, components = numbers
    follow = given.shape[1] > 0
    n = given.shape[1] if follow else uniform.shape[1]
    streams = len(logits)
    codes = np.empty((streams, n), np.uint8)
    longest = tables[1].shape[1]
    scratch = np.empty((5, 2 * longest + 8), np.float32)
    small = np.empty((tables[0].shape[0] + 2, tables[0].shape[0]))
    known = np.empty((streams, 1, 2 * outputs + MEANS), np.float32)
    others = outputs - 1
    inputs = np.empty((streams, first.shape[1]), np.float32)
    frame = np.empty((streams, frame_input.shape[1]), np.float32)
    gates = np.empty((streams, frame_biases.shape[1]), np.float32)
    recurrent = np.empty((streams, frame_biases.shape[1]), np.float32)
    hidden = np.empty((streams, biases.shape[1]), np.float32)
    more = np.empty((streams, biases.shape[1]), np.float32)
    mixtures = np.empty((streams, head_bias.size), np.float32)
    sums = np.empty((2, logits.shape[1] + 1), np.float32)
    weighed = np.empty(logits.shape[1], np.float32)
    for t in range(n):
        for s in range(streams):
            if follow:
                codes[s, t] = given[s, t]
            else:
                codes[s, t] = draw(logits[s], temperature[s, t], top_k, top_p, uniform[s, t], weighed)
            consume(codes[s, t : t + 1], predictor[s], known[s], tables, scratch, small)
            for i in range(history - 1, 0, -1):
                amplitudes[s, i] = amplitudes[s, i - 1]
                errors[s, i] = errors[s, i - 1]
                past[s, i] = past[s, i - 1]
            amplitudes[s, 0] = tables[3][codes[s, t]]
            past[s, 0] = companded[codes[s, t]]
            k = known[s, 0]
            errors[s, 0] = k[-1]
            p, scale = k[0], np.float32(SCALE) * k[outputs + MAIN_DECAY] + np.float32(SMALLEST)
            x = inputs[s]
            unit = np.float32(1) / scale
            for i in range(history):
                x[i] = (amplitudes[s, i] - p) * unit
                x[history + i] = errors[s, i] * unit
                x[2 * history + 2 * others + MEANS + 2 + 2 * WAVES.size + i] = past[s, i]
            for i in range(others):
                x[2 * history + i] = (k[1 + i] - p) * unit
            _asinh(x[: 2 * history + others])
            main = np.log(k[outputs + MAIN_DECAY] + np.float32(SMALLEST))
            for i in range(others):
                x[2 * history + others + i] = np.log(k[outputs + MEANS + i] + np.float32(SMALLEST)) - main
            begin = 2 * history + 2 * others
            end = begin + MEANS + 2 + 2 * WAVES.size
            _place(k, outputs, scale, x[begin:end])
            if phase[0] == 0:
                for i in range(history):
                    frame[s, i] = past[s, i]
                    frame[s, history + i] = x[history + i]
                for i in range(end - begin):
                    frame[s, 2 * history + i] = x[begin + i]
        if phase[0] == 0:
            spread(frame_biases[0], gates)
            multiply(frame_input, frame, gates)
            spread(frame_biases[1], recurrent)
            multiply(frame_recurrent, memory, recurrent)
            gru(gates, recurrent, memory)
            condition[:] = 0
            multiply(condition_weights, memory, condition)
        phase[0] = (phase[0] + 1) % hop
        spread(biases[0], hidden)
        multiply(first, inputs, hidden)
        for s in range(streams):
            _add(condition[s], hidden[s])
            _silu(hidden[s])
        for layer in range(residual.shape[0]):
            spread(biases[1 + layer], more)
            multiply(residual[layer], hidden, more)
            for s in range(streams):
                _silu(more[s])
                _add(more[s], hidden[s])
        spread(head_bias, mixtures)
        multiply(head, hidden, mixtures)
        for s in range(streams):
            k = known[s, 0]
            scale = np.float32(SCALE) * k[outputs + MAIN_DECAY] + np.float32(SMALLEST)
            _mixture(mixtures[s, : 3 * components], k[0], scale, edges, widths, sums, logits[s])
            if kept.shape[1]:
                for code in range(logits.shape[1]):
                    kept[s, t, code] = logits[s, code]
    return codes


class FusedLPCMix(FusedEngine):
    """Generate with `lpcmix` models."""

    kernel = _lpcmix

    @property
    def weight_bytes(self) -> int:
        """Bytes of weights that a sample of one stream reads; of what is read once a frame, its share."""
        _, _, _, _, layers, biases, head, head_bias, frame, frame_biases, _ = self.weights
        each = sum(part.nbytes for part in (*layers, biases, head, head_bias))
        return each + sum(part.nbytes for part in (*frame, frame_biases)) // self.model.hop

    def pack_state(self, state: State, streams: slice) -> Arrays:
        """Predictors; last amplitudes, errors and companded amplitudes, latest first; GRU, conditioning, phase."""
        s = {key: np.array(part[streams]) for key, part in state.items()}
        amplitudes = np.ascontiguousarray(s["amplitudes"][:, ::-1])
        past = np.sign(amplitudes) * np.log1p(MU * np.abs(amplitudes)) / np.log(CODES)
        condition = np.zeros((len(amplitudes), padded(self.model.hidden)), f32)
        condition[:, : self.model.hidden] = s["condition"]
        return (
            s["predictor"],
            amplitudes,
            np.ascontiguousarray(s["errors"][:, ::-1]),
            past.astype(f32),
            s["gru"],
            condition,
            s["phase"][:1].astype(np.int64),
        )

    def pack_weights(self, model: Any, bfloat16: bool) -> tuple[Any, ...]:
        """Tables of the predictors and the codes; matrices packed, gates and layers padded to whole blocks."""
        hidden, units = model.hidden, model.units
        h, g = padded(hidden), padded(units)

        def array(variable: Any) -> NDArray[np.float32]:
            return np.asarray(variable, f32)

        def gates(kernel: NDArray[np.float32]) -> NDArray[np.float32]:
            parts = kernel.reshape(len(kernel), 3, units)
            return np.pad(parts, ((0, 0), (0, 0), (0, g - units))).reshape(len(kernel), 3 * g)

        def row(bias: NDArray[np.float32], width: int) -> NDArray[np.float32]:
            return np.pad(bias, (0, width - len(bias)))

        residual = [pack(array(layer.kernel), bfloat16) for layer in model.residual]
        blank = pack(np.zeros((hidden, hidden)), bfloat16)
        cell = model.gru
        recurrent_bias = np.r_[np.zeros(2 * units, f32), array(cell.recurrent_bias)]
        return (
            model.predictor.tables,
            EDGES,
            WIDTHS,
            COMPANDED,
            (pack(array(model.first.kernel), bfloat16), np.stack(residual) if residual else blank[None][:0]),
            np.stack([row(array(layer.bias), h) for layer in [model.first, *model.residual]]),
            pack(array(model.head.kernel), bfloat16),
            row(array(model.head.bias), padded(3 * model.mixture)),
            tuple(
                pack(kernel, bfloat16)
                for kernel in (
                    gates(array(cell.kernel)),
                    gates(array(cell.recurrent_kernel)),
                    array(model.condition.kernel),
                )
            ),
            np.concatenate([gates(array(cell.bias)[None]), gates(recurrent_bias[None])]),
            (model.history, model.hop, model.predictor.outputs, model.mixture),
        )
