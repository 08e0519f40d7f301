"""What the verbs on a run folder share: their options, the run they open, files they write."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lae_cli.shared.options import LARGEST, device_option
from lae_cli.shared.results import json_line
from lae_fast import runs
from lae_fast.config import TrainConfig
from lae_fast.errors import printable

if TYPE_CHECKING:
    from lae_fast.analysis.saved import SavedRun
    from lae_fast.data import ImageSet

PICTURES = (".png", ".svg", ".pdf")

WHICH_RUN = (
    click.argument("run", default="latest"),
    click.option("--run-root", metavar="DIR", help="Folder of run folders.  [default: runs]"),
    click.option("--data-dir", metavar="DIR", help="Where the data set lies, if it has moved."),
    click.option(
        "--checkpoint", type=click.Choice(["best", "last"]), default="best", show_default=True,
        help="Which weights.",
    ),
    device_option,
)  # fmt: skip
"""The argument and the options that name a run, its weights, its data, and where to compute."""

_OPTIONS = (
    *WHICH_RUN,
    click.option(
        "--seed", type=click.IntRange(0, LARGEST), default=0, show_default=True,
        help="Of all draws.",
    ),
    click.option("--json", "as_json", is_flag=True, help="One JSON object."),
)  # fmt: skip


class Opened:
    """The run that the options name, opened on first use; its held-out images likewise.

    The model lies on the device that the options name, the images on the CPU.
    """

    def __init__(
        self,
        run: str,
        run_root: str | None,
        data_dir: str | None,
        checkpoint: str,
        device: str,
        seed: int,
    ) -> None:
        self.name, self.root, self.data_dir = run, run_root, data_dir
        self.checkpoint, self.device, self.seed = checkpoint, device, seed

    @functools.cached_property
    def saved(self) -> SavedRun:
        """Configuration and model."""
        from lae_fast.analysis.saved import open_run
        from lae_fast.ops.devices import pick_device

        path = runs.find(self.root or TrainConfig().run_root, self.name)
        return open_run(path, self.checkpoint, pick_device(self.device))

    @functools.cached_property
    def images(self) -> ImageSet:
        """All held-out images, in a fixed shuffled order."""
        from lae_fast.analysis.saved import held_out_images

        return held_out_images(self.saved.config, self.data_dir)

    @functools.cached_property
    def train_images(self) -> ImageSet:
        """The images that the run was trained on."""
        from lae_fast.analysis.saved import load_splits

        return load_splits(self.saved.config, self.data_dir).train

    def choose_label(self, name: str | None) -> None:
        """Decode this class from now on, if the model is conditional."""
        from lae_fast.analysis.explore import choose_label

        self.saved = choose_label(self.saved, name, lambda: self.images)

    def first(self, count: int) -> ImageSet:
        """The first ``count`` of them, or all."""
        import torch

        return self.images.subset(torch.arange(min(count, len(self.images))))


def on_run(command: Callable[..., None]) -> Callable[..., None]:
    """Add RUN and the common options; ``command`` gets an `Opened` and ``as_json``."""

    @functools.wraps(command)
    def with_run(
        run: str,
        run_root: str | None,
        data_dir: str | None,
        checkpoint: str,
        device: str,
        seed: int,
        **rest: Any,
    ) -> None:
        command(Opened(run, run_root, data_dir, checkpoint, device, seed), **rest)

    decorated: Callable[..., None] = with_run
    for decorate in reversed(_OPTIONS):
        decorated = decorate(decorated)
    return decorated


def out_option(*suffixes: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """``--out FILE``, refused at once when its suffix is not one of ``suffixes``."""
    listed = ", ".join(suffixes)

    def check(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
        if value is not None and value.suffix.lower() not in suffixes:
            raise click.BadParameter(f"'{printable(str(value))}' must end in {listed}")
        return value

    return click.option(
        "--out", type=click.Path(dir_okay=False, path_type=Path), callback=check,
        help=f"Also write a file: {listed}.",
    )  # fmt: skip


label_option = click.option(
    "--label", default=None, metavar="CLASS",
    help="Class to decode, for a conditional model.  [default: all in rotation]",
)  # fmt: skip


def report(
    values: dict[str, Any], lines: Sequence[str], *, as_json: bool, out: Path | None = None
) -> None:
    """Print the result: one JSON object, or lines for people; name the file that was written."""
    if as_json:
        click.echo(json_line(values | ({"out": str(out)} if out else {})))
        return
    for line in lines:
        click.echo(line)
    if out is not None:
        click.echo(f"wrote {printable(str(out))}", err=True)


def save_arrays(path: Path, **arrays: Any) -> None:
    """Write tensors as a compressed ``.npz``."""
    import numpy as np

    path.parent.mkdir(parents=True, exist_ok=True)
    plain: dict[str, Any] = {name: np.asarray(value) for name, value in arrays.items()}
    np.savez_compressed(path, **plain)
