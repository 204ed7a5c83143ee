"""Compiled by Numba: arrays in, arrays out, no TensorFlow."""
