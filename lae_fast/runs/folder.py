"""Run folders by name: made, listed, found, exported and removed.

Part of `lae_fast.runs`, where the public names are.
"""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from lae_fast.config import TrainConfig
from lae_fast.errors import RunError, did_you_mean, printable, reason
from lae_fast.runs.events import KINDS, Evaluated, encode, keys, plain
from lae_fast.runs.files import CONFIG_FILE, SWEEP_FILE, read_config, sync_folder, write_atomically
from lae_fast.runs.log import EventReader
from lae_fast.runs.summary import Summary, is_run, summarise

EXPORT_FORMATS = ("csv", "json")

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")


def create(
    root: str | os.PathLike[str], name: str | None, dataset: str, model: str = "lae"
) -> Path:
    """Make a new run folder under ``root``; never reuses one.

    Args:
        root: folder of run folders; made when missing.
        name: the folder's name (letters, digits, ``.``, ``_``, ``-``); None makes one from the
            data set, the model and the local time, with ``-2``, ``-3``, ... on a clash.
        dataset: the data set's name or path.
        model: its name.

    Raises:
        RunError: a name that is not allowed or taken, or a root that cannot be written.
    """
    if name is not None:
        check_name(name)
    base = Path(root)
    for candidate in [name] if name is not None else _default_names(dataset, model):
        try:
            _make_root(base)
            (base / candidate).mkdir()
            sync_folder(base)
        except FileExistsError as error:
            if not base.is_dir():
                raise RunError(f"{base} is not a folder; choose another --run-root") from error
            continue
        except (OSError, ValueError) as error:
            raise RunError(
                f"cannot make a run folder in {base}: {reason(error)}; choose another --run-root"
            ) from error
        return base / candidate
    raise RunError(taken(base, str(name)))


def _make_root(base: Path) -> None:
    """Make a folder of run folders and those that it lies in, and wait until the disk has them."""
    if not base.is_dir() and base.parent != base:
        _make_root(base.parent)
        base.mkdir(exist_ok=True)
        sync_folder(base.parent)


def is_name(text: str) -> bool:
    """Whether a run folder may be called that."""
    return _NAME.fullmatch(text) is not None


def check_name(name: str) -> None:
    """Raise `RunError` unless a run folder may be called that."""
    if not is_name(name):
        raise RunError(
            f"run name {printable(name)!r} must be 1 to 100 letters, digits, '.', '_' or '-', "
            "and not begin with '.'"
        )


def taken(root: Path, name: str) -> str:
    """What to say of a name that a run has already."""
    return f"run '{printable(name)}' exists in {root}; choose another --name or remove it"


def free_name(root: Path, dataset: str, model: str) -> str:
    """A name as `create` would make it up now."""
    names = _default_names(dataset, model)
    return next((name for name in names if not (root / name).exists()), "run")


def _default_names(dataset: str, model: str) -> Iterator[str]:
    slug = re.sub(r"[^A-Za-z0-9_-]+", "-", Path(dataset).stem).strip("-")[:40] or "data"
    stem = f"{slug}-{model}-{time.strftime('%Y%m%d-%H%M%S')}"
    yield stem
    for count in range(2, 1000):
        yield f"{stem}-{count}"


def write_config(run: Path, config: TrainConfig) -> None:
    """Store the resolved configuration as ``config.json``, all or nothing."""
    write_atomically(run / CONFIG_FILE, json.dumps(config.to_dict(), indent=2) + "\n")


def list_runs(root: str | os.PathLike[str]) -> list[Summary]:
    """All folders in ``root``, newest first; foreign and half-written ones are shown as such."""
    summaries = [summarise(path) for path in folders(Path(root))]
    return sorted(summaries, key=lambda s: (s.started or 0.0, s.name), reverse=True)


def folders(root: Path) -> list[Path]:
    """The folders in ``root`` that may hold a run, in no order; [] when there is no root.

    That of a sweep holds runs but is none.
    """
    return [path for path in _inside(root) if not (path / SWEEP_FILE).exists()]


def sweeps(root: Path) -> list[Path]:
    """The folders in ``root`` that hold a sweep's runs, by name."""
    return sorted(path for path in _inside(root) if (path / SWEEP_FILE).exists())


def _inside(root: Path) -> list[Path]:
    try:
        return [path for path in root.iterdir() if path.is_dir() and path.name[:1] != "."]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RunError(f"cannot list {root}: {reason(error)}; choose another --run-root") from error


def find(root: str | os.PathLike[str], text: str) -> Path:
    """The run folder meant by a name in ``root``, its unique beginning, a path, or ``latest``.

    Raises:
        RunError: none or several fit; the message names the closest.
    """
    found = {path.name: path for path in folders(Path(root))}
    if text in found:
        return found[text]
    if text == "latest":
        return _latest(Path(root))
    if (os.sep in text or text in (".", "..")) and os.path.isdir(text):
        return Path(os.path.normpath(text))
    fitting = sorted(name for name in found if text and name.startswith(text))
    if len(fitting) == 1:
        return found[fitting[0]]
    raise RunError(printable(_not_found(Path(root), text, fitting, list(found))))


def _latest(root: Path) -> Path:
    for summary in list_runs(root):
        if summary.status != "not a run":
            return summary.path
    raise RunError(f"there are no runs in {root}; `lae train` makes one")


def _not_found(root: Path, text: str, fitting: list[str], names: list[str]) -> str:
    if fitting:
        return f"'{text}' could be {', '.join(fitting[:4])}; give more of the name"
    hint = did_you_mean(text, [*names, "latest"], "`lae runs ls` lists the runs", cutoff=0.4)
    return f"no run '{text}' in {root}; {hint}"


def rename(run: Path, name: str) -> Path:
    """Give a run folder another name, in the same root; the new folder.

    Raises:
        RunError: a name that is not allowed or taken, or a folder that is not a run, is a symbolic
            link, is still being written, or cannot be moved.
    """
    shown = printable(str(run))
    check_name(name)
    if run.is_symlink() or not is_run(run):
        raise RunError(f"{shown} is not a run folder; nothing was renamed")
    if (summary := summarise(run, quick=True)).active:
        raise RunError(f"{shown} is still {summary.status}; stop it first")
    to = run.with_name(name)
    if to.exists():
        raise RunError(f"run '{name}' exists in {run.parent}; choose another name")
    try:
        run.rename(to)
    except OSError as error:
        raise RunError(f"cannot rename {shown}: {reason(error)}") from error
    if config := read_config(to):
        write_atomically(to / CONFIG_FILE, json.dumps(config | {"name": name}, indent=2) + "\n")
    return to


def remove(run: Path, *, force: bool = False) -> None:
    """Delete a run folder and all it holds.

    Raises:
        RunError: not a run folder, a symbolic link, or (unless ``force``) still being written.
    """
    shown = printable(str(run))
    if run.is_symlink():
        raise RunError(f"{shown} is a symbolic link; remove the link or name the folder itself")
    if not run.is_dir() or not is_run(run):
        raise RunError(f"{shown} is not a run folder; nothing was removed")
    if not force and (summary := summarise(run)).active:
        raise RunError(f"{shown} is still {summary.status}; stop it first, or use --force")
    try:
        shutil.rmtree(run)
    except OSError as error:
        raise RunError(f"cannot remove {shown}: {reason(error)}") from error


def export(run: Path, fmt: str, out: TextIO) -> None:
    """Write a run's events to ``out``: a CSV table, or one JSON object.

    The CSV has one row per event and the union of all fields as columns; a field that an event does
    not have is empty. The JSON object has ``config`` and ``events``; floats that JSON cannot hold
    are the strings nan, inf, -inf.

    Raises:
        RunError: an unknown format, or a folder that is not a run.
    """
    if fmt not in EXPORT_FORMATS:
        raise RunError(f"cannot export as '{fmt}'; use {' or '.join(EXPORT_FORMATS)}")
    if not is_run(run):
        raise RunError(f"{printable(str(run))} is not a run folder")
    (_export_csv if fmt == "csv" else _export_json)(run, out)


def _export_csv(run: Path, out: TextIO) -> None:
    names = {key: None for kind in KINDS.values() for key in keys(kind)}
    table = csv.DictWriter(out, ["type", *names], lineterminator="\n")
    table.writeheader()
    for event in EventReader(run).rest():
        row: dict[str, Any] = {"type": event.type, **plain(event)}
        if isinstance(event, Evaluated):
            row["latent_std"] = " ".join(map(str, event.latent_std))
        table.writerow(row)


def _export_json(run: Path, out: TextIO) -> None:
    out.write(f'{{"config": {json.dumps(read_config(run))}, "events": [')
    for number, event in enumerate(EventReader(run).rest()):
        out.write(f"{',' if number else ''}\n{encode(event)}")
    out.write("\n]}\n")
