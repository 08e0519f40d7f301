"""What the verbs on a run folder share: their options, the run they open, how they end."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lae_cli.progress.bar import Bar, shown
from lae_cli.shared.completions import complete_runs
from lae_cli.shared.options import Decorator, add_options, json_option, setting_option, whole
from lae_cli.shared.results import Result, out_option, present
from lae_fast import runs
from lae_fast.errors import printable

if TYPE_CHECKING:
    from lae_fast.analysis.saved import SavedRun
    from lae_fast.data import ImageSet

_OPTIONS = (
    setting_option("run_root"),
    click.option(
        "--data-dir",
        metavar="DIR",
        help="Folder that holds the data set.  [default: where the run found it]",
    ),
    click.option(
        "--checkpoint",
        type=click.Choice(["best", "last"]),
        default="best",
        show_default=True,
        help="Use the weights of the best epoch or of the last one.",
    ),
    setting_option("device"),
    whole("--seed", least=0, default=0, help="Seed of all random draws."),
    json_option,
)


@dataclass
class Opened:
    """A run folder and the options of the command; model and images are loaded on first use.

    The model lies on the device that the options name, the images on the CPU.
    """

    path: Path
    data_dir: str | None
    checkpoint: str
    device: str
    seed: int
    bar: Bar | None = None
    """Shows the progress, on a terminal."""

    @functools.cached_property
    def saved(self) -> SavedRun:
        """Configuration and model."""
        from lae_fast.analysis.saved import open_run
        from lae_fast.ops.devices import pick_device

        return open_run(self.path, self.checkpoint, pick_device(self.device))

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
        """The first ``count`` held-out images, or all if there are fewer."""

        return self.images.first(count)


def on_run(*suffixes: str, default: str | None = "latest") -> Decorator:
    """Add RUN and the options of every verb on a run; show the `Result` that the verb returns.

    Args:
        suffixes: of the files that ``--out`` can write; none leaves the option out.
        default: the run where none is named; None where one must be.
    """

    def decorate(command: Callable[..., Result]) -> Callable[..., None]:
        @functools.wraps(command)
        def with_run(
            *,
            run: str,
            run_root: str,
            data_dir: str | None,
            checkpoint: str,
            device: str,
            seed: int,
            as_json: bool,
            out: Path | None = None,
            **rest: Any,
        ) -> None:
            opened = Opened(runs.find(run_root, run), data_dir, checkpoint, device, seed)
            name = click.get_current_context().info_name
            with shown(f"{name} {printable(opened.path.name)}") as opened.bar:
                result = command(opened, **rest)
            if isinstance(result.values, dict):
                named = {"run": opened.path.name} | result.values
                result = replace(result, values=named)
            present(result, as_json=as_json, out=out)

        argument = click.argument(
            "run", default=default, required=default is None, shell_complete=complete_runs
        )
        out = [out_option(*suffixes)] if suffixes else []
        return add_options(with_run, argument, *_OPTIONS, *out)

    return decorate


label_option = click.option(
    "--label",
    metavar="CLASS",
    help="Decode this class, for a conditional model.  [default: all in rotation]",
)
