"""What a verb found, and the one way to show it: JSON, or lines and pictures, and a file."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lae_cli import exits
from lae_fast.errors import printable

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from rich.console import RenderableType
    from torch import Tensor

PICTURES = (".png", ".svg", ".pdf")
"""Suffixes of files that hold a picture."""


@dataclass(frozen=True)
class Result:
    """What a verb found.

    Attributes:
        values: plain values, for ``--json``.
        lines: for people, below the pictures; text, or tables and coloured text.
        pictures: captions and images ``(k, c, h, w)`` uint8, drawn on the terminal.
        arrays: what an ``.npz`` file holds, by name.
        write: writes any other file; by default the pictures as they are drawn on the terminal.
        code: the exit code.
    """

    values: Any
    lines: Sequence[RenderableType] = ()
    pictures: Sequence[tuple[str, Tensor]] = ()
    arrays: Mapping[str, Tensor | NDArray[Any]] | None = None
    write: Callable[[Path], None] | None = None
    code: int = exits.OK


def present(result: Result, *, as_json: bool, out: Path | None = None) -> None:
    """Write the file if one is asked for, show the result, and leave with its exit code."""
    if out is not None:
        _write(result, out)
    if as_json:
        click.echo(json_line(result.values | {"out": str(out)} if out else result.values))
    else:
        _show(result)
        if out is not None:
            click.echo(f"wrote {printable(out)}", err=True)
    if result.code:
        click.get_current_context().exit(result.code)


def _show(result: Result) -> None:
    if result.pictures:
        from lae_cli.terminal.pictures import show_rows

        show_rows([(caption, images.numpy()) for caption, images in result.pictures])
    for line in result.lines:
        if isinstance(line, str):
            click.echo(printable(line))
        else:
            from lae_cli.terminal.console import show

            show(line)


def _write(result: Result, out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix.lower() == ".npz":
        import numpy as np

        arrays: dict[str, Any] = {k: np.asarray(v) for k, v in (result.arrays or {}).items()}
        np.savez_compressed(out, **arrays)
    elif result.write is not None:
        result.write(out)
    else:
        from lae_fast.analysis.plots import save_rows

        save_rows(out, result.pictures)


def out_option(*suffixes: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """``--out FILE``, refused at once when its suffix is not one of ``suffixes``."""
    listed = ", ".join(suffixes)

    def check(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
        if value is not None and value.suffix.lower() not in suffixes:
            raise click.BadParameter(f"'{printable(value)}' must end in {listed}")
        return value

    return click.option(
        "--out",
        metavar="FILE",
        type=click.Path(dir_okay=False, path_type=Path),
        callback=check,
        help=f"Also write a file that ends in {listed}.  [default: none]",
    )


def json_line(value: Any) -> str:
    """One line of strict JSON: numbers that JSON cannot hold become null."""
    return json.dumps(finite(value), allow_nan=False)


def finite(value: Any) -> Any:
    """``value`` with every NaN and infinity replaced by None."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


def write_latents(out: Path, values: Tensor, heading: str, names: Sequence[str]) -> None:
    """Write latents ``(n, d_z)`` as CSV, a row each, its name before it; without names if empty."""
    with out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        latents = [f"z{k}" for k in range(values.shape[1])]
        writer.writerow([heading, *latents] if names else latents)
        for place, row in enumerate(values.tolist()):
            writer.writerow([printable(names[place]), *row] if names else row)
