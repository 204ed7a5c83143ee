"""Training data: split, windows, shards on disk."""
