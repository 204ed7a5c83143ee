"""Progress of a training: its state, curves, divergence, and the bar that shows it."""
