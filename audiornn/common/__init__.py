"""What any package may use and no output depends on: errors, files, signals, cores, waits, types."""
