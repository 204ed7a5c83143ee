"""Audio files, resampling and levels."""
