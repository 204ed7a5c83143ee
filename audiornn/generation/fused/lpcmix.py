"""The fused engine of `lpcmix`; names are those of `audiornn.models.lpcmix`."""

from typing import Any, NamedTuple

import numpy as np

from audiornn.codec import CODES, COMPANDED, compand
from audiornn.generation.fused.draws import Draws, choose_codes
from audiornn.generation.fused.engine import FusedEngine, record_logits
from audiornn.generation.fused.lpc_prior import error_scale, mixture_log_probs, network_inputs
from audiornn.kernels.arrays import Float32, Int64, Packed, UInt8
from audiornn.kernels.elementwise import add, broadcast_bias, silu
from audiornn.kernels.gru import gru
from audiornn.kernels.jit import f32, njit
from audiornn.kernels.linear_prediction import PredictorScratch, PredictorTables, step_codes
from audiornn.kernels.matmul import matmul_add, pack, pad_gates, round_up_to_block
from audiornn.models import base
from audiornn.models.layers.lpc_prior import NetworkInputColumns
from audiornn.models.lpcmix import FrameColumns


class Weights(NamedTuple):
    """What the loop reads; p = round_up_to_block(units), a gate begins at each p, and columns are of hidden layers."""

    tables: PredictorTables
    input_columns: NetworkInputColumns
    frame_columns: FrameColumns
    companded: Float32  # [256], by code
    first: Packed
    residual: Packed  # of all residual layers
    biases: Float32  # [1 + residual layers, columns]
    head: Packed
    head_bias: Float32  # [round_up_to_block(3 * components)]
    gru_input: Packed
    gru_recurrent: Packed
    gru_input_bias: Float32  # [3p]
    gru_recurrent_bias: Float32  # [3p]
    condition: Packed
    hop: int
    components: int


class State(NamedTuple):
    """Mutable state of the loop, and scratch arrays; histories begin with the latest sample."""

    predictor: Float32  # [streams, state_size]
    predictor_scratch: PredictorScratch
    amplitudes: Float32  # [streams, history]
    errors: Float32  # [streams, history]
    companded: Float32  # [streams, history]
    gru: Float32  # [streams, units]
    condition: Float32  # [streams, columns]
    phase: Int64  # [1], codes since the last frame boundary
    features: Float32  # [streams, 1, n_features]
    inputs: Float32  # [streams, inputs of the first layer]
    frame: Float32  # [streams, inputs of the GRU]
    gates: Float32  # [streams, 3p]
    recurrent: Float32  # [streams, 3p]
    hidden: Float32  # [streams, columns]
    layer_output: Float32  # [streams, columns]
    mixtures: Float32  # [streams, round_up_to_block(3 * components)]
    sums: Float32  # [2, 257]


@njit(nogil=True, cache=True)
def _loop(weights: Weights, state: State, draws: Draws, logits: Float32, trace: Float32) -> UInt8:
    """See `FusedEngine.loop`."""
    tables, companded_codes, hop, components = weights.tables, weights.companded, weights.hop, weights.components
    first, residual, biases, head, head_bias = (
        weights.first,
        weights.residual,
        weights.biases,
        weights.head,
        weights.head_bias,
    )
    gru_input, gru_input_bias, condition_kernel = weights.gru_input, weights.gru_input_bias, weights.condition
    gru_recurrent, gru_recurrent_bias = weights.gru_recurrent, weights.gru_recurrent_bias
    predictor, scratch, features, phase = state.predictor, state.predictor_scratch, state.features, state.phase
    amplitudes, errors, companded = state.amplitudes, state.errors, state.companded
    inputs, frame, gates, recurrent = state.inputs, state.frame, state.gates, state.recurrent
    h, condition, hidden, y = state.gru, state.condition, state.hidden, state.layer_output
    mixtures, sums = state.mixtures, state.sums
    amplitude_of, columns, history = tables.amplitudes, tables.columns, amplitudes.shape[1]
    input_columns, frame_columns = weights.input_columns, weights.frame_columns
    streams, n = len(logits), max(draws.forced.shape[1], draws.uniform.shape[1])
    codes = np.empty((streams, n), np.uint8)
    sampling_weights = np.empty(CODES, np.float32)
    for t in range(n):
        choose_codes(logits, draws, t, codes, sampling_weights)
        for s in range(streams):
            step_codes(codes[s, t : t + 1], predictor[s], features[s], tables, scratch)
            for i in range(history - 1, 0, -1):
                amplitudes[s, i] = amplitudes[s, i - 1]
                errors[s, i] = errors[s, i - 1]
                companded[s, i] = companded[s, i - 1]
            latest, x = features[s, 0], inputs[s]
            amplitudes[s, 0] = amplitude_of[codes[s, t]]
            errors[s, 0] = latest[columns.residual]
            companded[s, 0] = companded_codes[codes[s, t]]
            network_inputs(amplitudes[s], errors[s], latest, columns, input_columns, x)
            x[input_columns.companded] = companded[s]
            if phase[0] == 0:
                frame[s, frame_columns.companded] = companded[s]
                frame[s, frame_columns.errors] = x[input_columns.errors]
                frame[s, frame_columns.position] = x[input_columns.position]
        if phase[0] == 0:
            broadcast_bias(gru_input_bias, gates)
            matmul_add(gru_input, frame, gates)
            broadcast_bias(gru_recurrent_bias, recurrent)
            matmul_add(gru_recurrent, h, recurrent)
            gru(gates, recurrent, h)
            condition[:] = 0
            matmul_add(condition_kernel, h, condition)
        phase[0] = (phase[0] + 1) % hop
        broadcast_bias(biases[0], hidden)
        matmul_add(first, inputs, hidden)
        for s in range(streams):
            add(condition[s], hidden[s])
            silu(hidden[s])
        for layer in range(residual.shape[0]):
            broadcast_bias(biases[1 + layer], y)
            matmul_add(residual[layer], hidden, y)
            for s in range(streams):
                silu(y[s])
                add(y[s], hidden[s])
        broadcast_bias(head_bias, mixtures)
        matmul_add(head, hidden, mixtures)
        for s in range(streams):
            latest, mixture = features[s, 0], mixtures[s, : 3 * components]
            mixture_log_probs(mixture, latest[columns.cascade], error_scale(latest, columns), sums, logits[s])
        record_logits(logits, t, trace)
    return codes


class FusedLPCMix(FusedEngine):
    """Generate with `lpcmix` models."""

    loop = _loop
    weights: Weights

    def pack_state(self, state: base.State, streams: slice) -> State:
        """See `State`."""
        s = {key: np.array(part[streams]) for key, part in state.items()}
        model, weights = self.model, self.weights
        amplitudes = np.ascontiguousarray(s["amplitudes"][:, ::-1])
        n, columns, gates = len(amplitudes), round_up_to_block(model.hidden), weights.gru_input_bias.size
        condition = np.zeros((n, columns), f32)
        condition[:, : model.hidden] = s["condition"]
        return State(
            predictor=s["predictor"],
            predictor_scratch=model.predictor.scratch(),
            amplitudes=amplitudes,
            errors=np.ascontiguousarray(s["errors"][:, ::-1]),
            companded=compand(amplitudes).astype(f32),
            gru=s["gru"],
            condition=condition,
            phase=s["phase"][:1].astype(np.int64),
            features=np.empty((n, 1, model.predictor.n_features), f32),
            inputs=np.empty((n, weights.first.shape[1]), f32),
            frame=np.empty((n, weights.gru_input.shape[1]), f32),
            gates=np.empty((n, gates), f32),
            recurrent=np.empty((n, gates), f32),
            hidden=np.empty((n, columns), f32),
            layer_output=np.empty((n, columns), f32),
            mixtures=np.empty((n, weights.head_bias.size), f32),
            sums=np.empty((2, CODES + 1), f32),
        )

    def pack_weights(self, model: Any, bfloat16: bool) -> Weights:
        """See `Weights`."""
        hidden, cell = model.hidden, model.gru

        def array(variable: Any) -> Float32:
            return np.asarray(variable, f32)

        residual = np.reshape([array(layer.kernel) for layer in model.residual], (-1, hidden, hidden))
        return Weights(
            tables=model.predictor.tables,
            input_columns=model.input_columns,
            frame_columns=model.frame_columns,
            companded=COMPANDED.astype(f32),
            first=pack(array(model.first.kernel), bfloat16),
            residual=pack(residual, bfloat16),
            biases=pad_gates(np.stack([array(layer.bias) for layer in [model.first, *model.residual]])),
            head=pack(array(model.head.kernel), bfloat16),
            head_bias=pad_gates(array(model.head.bias)),
            gru_input=pack(pad_gates(array(cell.kernel), 3), bfloat16),
            gru_recurrent=pack(pad_gates(array(cell.recurrent_kernel), 3), bfloat16),
            gru_input_bias=pad_gates(array(cell.bias), 3),
            gru_recurrent_bias=pad_gates(np.r_[np.zeros(2 * cell.units, f32), array(cell.recurrent_bias)], 3),
            condition=pack(array(model.condition.kernel), bfloat16),
            hop=model.hop,
            components=model.mixture,
        )
