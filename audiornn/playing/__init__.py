"""Models played live in the browser: `audiornn play`."""
