"""From samples to shards: codes on disk, the recordings of a split, windows written."""
