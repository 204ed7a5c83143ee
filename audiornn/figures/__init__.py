"""Figures of training, evaluation and audio. All are drawn without a display and returned as matplotlib figures."""

from audiornn.figures.audio import CLIP_TOP_DB, RANGE_DB, clip, compare_audio, passages, spectrogram
from audiornn.figures.prediction import calibration, code_distributions, context_curve, curves
from audiornn.figures.style import BLUE, GREEN, GREY, ORANGE, PURPLE, save, write
from audiornn.figures.sweeps import sweep

__all__ = [
    "BLUE",
    "CLIP_TOP_DB",
    "GREEN",
    "GREY",
    "ORANGE",
    "PURPLE",
    "RANGE_DB",
    "calibration",
    "clip",
    "code_distributions",
    "compare_audio",
    "context_curve",
    "curves",
    "passages",
    "save",
    "spectrogram",
    "sweep",
    "write",
]
