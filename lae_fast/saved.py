"""Public names of `lae_fast.analysis.saved`, where they have always been imported from."""

from lae_fast.analysis.saved import held_out_images, open_run

__all__ = ["held_out_images", "open_run"]
