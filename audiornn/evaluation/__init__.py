"""Evaluation of predictions: loss, accuracy, calibration, context."""
