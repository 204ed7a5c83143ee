"""Where a run comes from, and how to repeat it."""
