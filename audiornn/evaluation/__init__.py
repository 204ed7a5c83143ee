"""How well a model predicts, and which of two models is better."""
