"""Trainings in processes of their own: in the background, and under torchrun."""
