"""Trainers, one per file: what an iteration does to the model and its chains."""
