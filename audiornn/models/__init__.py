"""Models of the next code, and their storage on disk."""
