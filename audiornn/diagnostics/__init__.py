"""Diagnosis of clips: levels, noise, tones, loops, distance from real audio."""
