"""Trainers, one a file: what an iteration does to the model and its chains."""
