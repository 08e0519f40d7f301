"""Langevin chains: one algorithm a file, and what is measured on their draws."""
