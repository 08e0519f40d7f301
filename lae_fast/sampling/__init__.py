"""Langevin chains: one algorithm per file, and what is measured on their draws."""
