"""Whether the files of a run folder can still be read, and hold what was written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lae_fast.errors import CheckpointError
from lae_fast.runs import checkpoint
from lae_fast.runs.files import CONFIG_FILE, EVENTS_FILE, IMAGES_FILE, is_config, read_config
from lae_fast.runs.log import EventReader

_STATES = (checkpoint.STATE, checkpoint.PREVIOUS_STATE)
NO_DIGEST = "; no digest to compare, because an older version wrote it"


@dataclass(frozen=True)
class Verified:
    """A file, relative to its run folder, and what is wrong with it: nothing, if ``problem`` is "".

    ``detail`` says what it holds.
    """

    file: str
    detail: str
    problem: str = ""


def verify(run: Path) -> Iterator[Verified]:
    """Read every file of a run folder and compare the digests of states and weights."""
    settings = read_config(run)
    broken = "" if is_config(settings) else "it holds no settings of a run"
    yield Verified(CONFIG_FILE, f"{len(settings)} settings", broken)
    yield _verify_log(run)
    for path in sorted(run.rglob("checkpoints/*.safetensors")):
        yield _verified(run, path, _read_state if path.stem in _STATES else _read_weights)
    for path in sorted([*run.glob("snapshots/*.npz"), *run.glob(IMAGES_FILE)]):
        yield _verified(run, path, _read_arrays)


def _verify_log(run: Path) -> Verified:
    reader = EventReader(run)
    events = sum(1 for _ in reader.rest())
    torn = f", {reader.skipped} torn lines" if reader.skipped else ""
    return Verified(EVENTS_FILE, f"{events} events{torn}", "" if events else "it tells of nothing")


def _verified(run: Path, path: Path, read: Callable[[Path], str]) -> Verified:
    name = str(path.relative_to(run))
    try:
        detail = read(path)
        plain = path.suffix == ".safetensors" and not checkpoint.has_digest(path)
        return Verified(name, detail + NO_DIGEST if plain else detail)
    except CheckpointError as error:
        newer = "newer version" in str(error)
        return Verified(name, "", "a newer version wrote it" if newer else "it is damaged")
    except Exception:  # what a damaged archive makes NumPy and zlib stumble over has no end
        return Verified(name, "", "it is damaged")


def _read_state(path: Path) -> str:
    tensors, _ = checkpoint.read_state(path.parents[1], path.stem)
    return f"{len(tensors)} tensors"


def _read_weights(path: Path) -> str:
    tensors, about = checkpoint.read(path.parents[1], path.stem)
    epoch = f" of epoch {about['epoch']}" if "epoch" in about else ""
    return f"{len(tensors)} tensors{epoch}"


def _read_arrays(path: Path) -> str:
    import numpy as np

    with np.load(path) as arrays:
        return f"{len([arrays[name] for name in arrays])} arrays"
