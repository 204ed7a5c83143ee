"""What is wrong with a clip."""
