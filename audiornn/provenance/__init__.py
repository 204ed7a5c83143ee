"""Provenance of a run: code, data, command, and how to reproduce it."""
