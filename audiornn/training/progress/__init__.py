"""Progress of a training: its state, metrics of updates, curves, divergence, and the bar that shows it."""
