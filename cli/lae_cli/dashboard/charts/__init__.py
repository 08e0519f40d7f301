"""Curves: the figures drawn, their ticks, and what is exported of them."""
