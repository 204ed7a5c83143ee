"""Networks that predict the next code, and their form on disk."""
