"""Training: loop, budget, checkpoints, devices."""
