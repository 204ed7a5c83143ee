"""Models for programs without Python: a folder with weights and a player in C."""
