"""From a model to sound: engines, prompts, clips, streams."""
