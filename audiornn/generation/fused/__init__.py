"""Fused engines, compiled by Numba: one per model of the registry."""
