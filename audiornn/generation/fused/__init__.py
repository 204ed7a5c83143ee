"""Engines compiled by Numba, one for each model of the registry."""
