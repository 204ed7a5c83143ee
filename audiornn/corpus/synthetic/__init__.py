"""Recordings made on the spot: speech by espeak-ng, melodies on plucked strings."""
