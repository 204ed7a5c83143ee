"""Generation: engines, prompts, clips, streams."""
