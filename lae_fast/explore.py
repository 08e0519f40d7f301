"""Public names of `lae_fast.analysis.explore`, where they have always been imported from."""

from lae_fast.analysis.explore import find_point, interpolate

__all__ = ["find_point", "interpolate"]
