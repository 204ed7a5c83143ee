"""Named experiments and sweeps, run by DVC."""
