"""Synthetic corpora: speech by espeak-ng, melodies on plucked strings."""
