"""Import paths that the docs once named still work, after what they hold has moved."""

from __future__ import annotations

import importlib
import pydoc

import pytest

import lae_fast
from helpers.command_line import python

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


def test_help_dir_and_completion_show_the_public_names() -> None:
    code = (
        "import sys, rlcompleter, lae_fast; print(*dir(lae_fast), 'torch' in sys.modules);"
        "completer = rlcompleter.Completer({'lae_fast': lae_fast});"
        "assert completer.complete('lae_fast.fi', 0) == 'lae_fast.fit('"
    )
    done = python("-c", code)
    *names, loads_torch = done.stdout.split()
    assert not done.stderr
    assert loads_torch == "False"
    assert names == sorted(lae_fast.__all__)
    assert {"fit", "load", "LAE", "TrainConfig", "sample_posterior"} <= set(names)
    assert set(lae_fast.__all__) == set(lae_fast._HOME)
    for name in names:
        assert f"`{name}`" in (lae_fast.__doc__ or "")
        assert getattr(lae_fast, name).__doc__
    help_text = pydoc.plain(pydoc.render_doc(lae_fast))
    assert "fit(encoder" in help_text
