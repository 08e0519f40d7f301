"""``lae encode``: latents of images of your own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lae_cli.shared.opened import Opened, on_run
from lae_cli.shared.results import Result, write_latents
from lae_fast.errors import ConfigError

SHOWN = 20
"""Most images whose latents are printed."""


@click.command()
@click.option("--resize", is_flag=True, help="Scale and crop image files to the model's size.")
@click.option(
    "--label",
    metavar="CLASS",
    help="Class of the images, which a conditional model sees.  [default: none]",
)
@on_run(".csv", ".npz", default=None)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
def encode(opened: Opened, files: tuple[Path, ...], resize: bool, label: str | None) -> Result:
    """Encode images of your own into latents.

    FILES are images, folders of them, or .npy and .npz arrays. What is printed and written is the
    mean of q(z | x) of each image, in the order of the files.

    \b
    Example:
      lae encode latest photo.png faces.npy --out latents.csv
    """
    import numpy as np
    import torch

    from lae_fast.analysis.explore import latents_of
    from lae_fast.data import ImageSet
    from lae_fast.data.like import read_like

    if opened.saved.config.conditional and label is None:
        raise ConfigError("this model sees the class of an image; add --label CLASS")
    opened.choose_label(label)
    images, names = read_like(files, opened.saved.image_shape, resize=resize)
    if opened.saved.label is not None:
        labels = torch.full((len(images),), opened.saved.label)
        images = ImageSet(images.images, labels, images.class_names)
    values = latents_of(opened.saved, images).values
    width = max(len(name) for name in names[:SHOWN])
    lines = [
        f"{name:<{width}}  " + " ".join(f"{value:7.3f}" for value in row)
        for name, row in zip(names[:SHOWN], values.tolist(), strict=False)
    ]
    if len(names) > SHOWN:
        lines.append(f"and {len(names) - SHOWN} more; --out FILE writes all")

    def write(out: Path) -> None:
        write_latents(out, values, "file", names)

    found: dict[str, Any] = {"images": len(names), "files": names, "latents": values.tolist()}
    return Result(found, lines, (), {"latents": values, "files": np.array(names)}, write)
