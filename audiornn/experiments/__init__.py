"""Named experiments, run by DVC."""
