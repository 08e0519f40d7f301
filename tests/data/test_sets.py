"""What a data set is: its parts, its split, its pixels."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.command_line import ROOT
from helpers.data_cases import refused
from lae_fast.data import ImageSet, to_pixels
from lae_fast.data.sets import fixed_split, refuse_oversized


def test_image_set_checks_itself() -> None:
    images = torch.zeros(3, 1, 2, 2, dtype=torch.uint8)
    labels = torch.tensor([0, 1, 0])
    images[1] = 7
    data = ImageSet(images, labels, ("a", "b"))
    assert len(data) == 3
    assert data.image_shape == (1, 2, 2)
    assert data.subset(torch.tensor([1])).images.unique().tolist() == [7]
    assert data.subset(labels == 0).labels.tolist() == [0, 0]
    assert data.to("cpu").class_names == ("a", "b")
    with refused("uint8"):
        ImageSet(images.float(), labels, ())
    with refused("(n, c, h, w)"):
        ImageSet(images[:, 0], labels, ())
    with refused("one per image"):
        ImageSet(images, labels[:2], ())


def test_import_is_light() -> None:
    code = (
        "import sys, lae_fast.data; "
        "print([m for m in ('torchvision', 'sklearn', 'PIL', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.strip() == "[]"


@settings(max_examples=60, deadline=None)
@given(n=st.integers(2, 3000), fraction=st.floats(0.001, 0.999))
def test_split_partitions(n: int, fraction: float) -> None:
    kept, held_out = fixed_split(n, fraction)
    assert torch.equal(torch.cat([kept, held_out]).sort().values, torch.arange(n))
    assert len(kept) >= 1
    assert len(held_out) == min(max(1, round(n * fraction)), n - 1)


def test_split_never_moves() -> None:
    """The split of an n and a fraction is part of every published number: it may not change."""
    _, held_out = fixed_split(60000, 0.1)
    digest = hashlib.sha256(held_out.numpy().astype("<i8").tobytes()).hexdigest()
    assert digest.startswith("64f419d79fa7f8fc")


def test_split_needs_two() -> None:
    with refused("at least 2"):
        fixed_split(1, 0.5)


def test_pixels() -> None:
    batch = torch.arange(256, dtype=torch.uint8).reshape(4, 1, 8, 8)
    pixels = to_pixels(batch)
    assert pixels.shape == (4, 64)
    assert pixels.dtype == torch.float32
    torch.testing.assert_close(pixels.flatten(), torch.arange(256) / 255, rtol=0, atol=0)
    assert to_pixels(batch, torch.float64).max() == 1.0
    assert to_pixels(batch[:0]).shape == (0, 64)
    with refused("uint8"):
        to_pixels(batch.float())
    with refused("floating"):
        to_pixels(batch, torch.int32)


def test_sizes_beyond_memory() -> None:
    with refused("GiB of memory"):
        refuse_oversized(2**60, "a file")
