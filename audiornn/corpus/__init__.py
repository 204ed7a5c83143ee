"""Corpus of recordings: found in a folder, or synthesised."""
