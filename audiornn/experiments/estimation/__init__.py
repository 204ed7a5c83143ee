"""Estimates of a pipeline run before it begins: disk, memory, time."""
