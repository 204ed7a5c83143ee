"""Waves: audio files, resampling, levels."""
