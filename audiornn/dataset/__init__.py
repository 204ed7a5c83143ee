"""Codes as training data: the split, windows, shards on disk."""
