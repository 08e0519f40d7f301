"""The live display of trainings and sweeps, and how signals stop them."""
