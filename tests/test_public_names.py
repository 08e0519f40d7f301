"""Import paths that the docs once named still work, after what they hold has moved."""

from __future__ import annotations

import importlib

import pytest

MOVED = [
    ("lae_fast.explore.interpolate", "lae_fast.analysis.explore.interpolate"),
    ("lae_fast.explore.find_point", "lae_fast.analysis.explore.find_point"),
    ("lae_fast.saved.open_run", "lae_fast.analysis.saved.open_run"),
    ("lae_fast.saved.held_out_images", "lae_fast.analysis.saved.held_out_images"),
    ("lae_fast.train.image_lae.ImageLAETrainer", "lae_fast.train.trainers.lae.LAETrainer"),
]


def named(path: str) -> object:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


@pytest.mark.parametrize(("old", "new"), MOVED)
def test_an_old_path_leads_to_the_same_thing(old: str, new: str) -> None:
    assert named(old) is named(new)
