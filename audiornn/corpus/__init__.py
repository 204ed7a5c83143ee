"""Recordings: found in a folder, or synthesised."""
