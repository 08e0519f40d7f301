"""Resume a training from what a disk may hold after a power failure.

    python tests/tools/crash_states.py --states 1000

A small training is recorded with strace: every write, fsync, rename, link and removal under its run
folder. From that record follow the states in which a crash may leave the disk (as in Pillai et al.
2014, "All file systems are not created equal"). A write to a file is certain once that file was
synced, a change of a folder once the folder was. Everything else may be there or not, in any
combination; a write may also be torn, or have left zeros. Each state is laid out in a folder of its
own and the training resumed there. It must end with the weights of a training that was left alone,
and its log must tell of every epoch once.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch

from lae_fast import runs
from lae_fast.config import TrainConfig
from lae_fast.config.settings import from_dict
from lae_fast.errors import InputError
from lae_fast.runs import checkpoint
from lae_fast.runs.events import Evaluated, RunFinished, RunStarted
from lae_fast.train import train

SETTINGS = {
    "hidden": 4,
    "depth": 1,
    "latent_dim": 2,
    "steps": 1,
    "batch_size": 512,
    "epochs": 4,
    "kl_warmup": 1.0,
    "checkpoint_interval": 0.0,
    "device": "cpu",
    "name": "run",
}
"""Of the training: four epochs of four iterations, a state after each."""
CALLS = (
    "openat,write,pwrite64,fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat,mkdir,close"
)
LINE = re.compile(r"^(\d+) +(\w+)\((.*)\) += (-?\d+)")
TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


def config(root: Path) -> TrainConfig:
    """The settings of the training, in a folder of runs."""
    return from_dict(SETTINGS | {"run_root": str(root)})


@dataclass
class Step:
    """One change: of a file's content, or of a name in a folder.

    Attributes:
        kind: write, link (a name for a file), unlink, mkdir or sync.
        file: number of the file (write), or of the file that a name is given to.
        name: path relative to the root (link, unlink, mkdir); of a sync, the folder's, or "".
        old: the name that goes (a rename).
        at: offset of a write; -1 appends.
    """

    kind: str
    file: int = -1
    name: str = ""
    old: str = ""
    at: int = -1
    data: bytes = b""


@dataclass
class Record:
    """What a training did to the disk, in order."""

    steps: list[Step] = field(default_factory=list)

    def certain(self, upto: int) -> set[int]:
        """The steps before a crash that the disk has for certain."""
        found: set[int] = set()
        files: dict[int, list[int]] = {}
        folders: dict[str, list[int]] = {}
        for index, step in enumerate(self.steps[:upto]):
            match step.kind:
                case "write":
                    files.setdefault(step.file, []).append(index)
                case "sync" if step.name:
                    found.update(folders.pop(step.name, ()))
                case "sync":
                    found.update(files.pop(step.file, ()))
                case _:
                    folders.setdefault(os.path.dirname(step.name) or ".", []).append(index)
        return found


def record(root: Path) -> Record:
    """Train in a process of its own, watched by strace."""
    log = root.parent / "strace.txt"
    command = [sys.executable, __file__, "--train", str(root)]
    watch = ["strace", "-f", "-xx", "-s", "100000000", "-e", f"trace={CALLS}", "-o", str(log)]
    subprocess.run([*watch, *command], check=True, stdout=subprocess.DEVNULL)
    return parse(log.read_text(errors="replace"), str(root))


def parse(text: str, root: str) -> Record:
    """The steps under ``root`` of what strace wrote."""
    found, names = Record(), {}
    open_files: dict[tuple[str, int], int | str] = {}
    count = 0
    # A call that another thread interrupts is written in two halves.
    pending: dict[str, str] = {}
    for line in text.splitlines():
        if line.endswith("<unfinished ...>"):
            pid = line.split(" ", 1)[0]
            pending[pid] = line.removesuffix("<unfinished ...>")
            continue
        if " resumed>" in line:
            pid = line.split(" ", 1)[0]
            line = pending.pop(pid, "") + line.split(" resumed>", 1)[1]
        match = LINE.match(line)
        if match is None or int(match[4]) < 0:
            continue
        call, arguments, result = match[2], match[3], int(match[4])
        texts = [bytes.fromhex(t.replace("\\x", "")) for t in TEXT.findall(arguments)]
        paths = [os.path.relpath(t.decode(), root) for t in texts] if call != "write" else []
        inside = [not path.startswith("..") for path in paths]
        number = re.match(r"(\d+)", arguments)
        descriptor = ("", int(number[1])) if number else ("", -1)
        if call == "openat" and inside and inside[0]:
            path = paths[0]
            if "O_DIRECTORY" in arguments:
                open_files["", result] = path
                continue
            if path not in names and "O_CREAT" in arguments:
                names[path], count = count, count + 1
                found.steps.append(Step("link", names[path], path))
            if path in names:
                open_files["", result] = names[path]
        elif call == "openat":
            open_files.pop(("", result), None)
        elif call in ("write", "pwrite64") and isinstance(open_files.get(descriptor), int):
            file = int(open_files[descriptor])
            found.steps.append(Step("write", file, data=texts[0][:result]))
        elif call in ("fsync", "fdatasync") and descriptor in open_files:
            opened = open_files[descriptor]
            folder = opened if isinstance(opened, str) else ""
            found.steps.append(Step("sync", -1 if folder else int(opened), folder))
        elif call == "close":
            open_files.pop(descriptor, None)
        elif call.startswith("rename") and all(inside):
            old, new = paths
            names[new] = names.pop(old)
            found.steps.append(Step("link", names[new], new, old))
        elif call.startswith("unlink") and inside and inside[0] and paths[0] in names:
            del names[paths[0]]
            found.steps.append(Step("unlink", name=paths[0]))
        elif call == "mkdir" and inside and inside[0] and paths[0] != ".":
            found.steps.append(Step("mkdir", name=paths[0]))
    return found


Disk = dict[str, bytes | None]
"""Path -> content; None is a folder."""


def lay_out(steps: list[Step], chosen: set[int], torn: dict[int, bytes]) -> Disk:
    """What the disk holds if these steps reached it, some of them with other data."""
    content: dict[int, bytearray] = {}
    places: dict[str, int | None] = {}
    for index, step in enumerate(steps):
        if index not in chosen:
            if step.kind == "write":  # a later write must not move to where this one was
                content.setdefault(step.file, bytearray())
            continue
        match step.kind:
            case "write":
                content.setdefault(step.file, bytearray()).extend(torn.get(index, step.data))
            case "link":
                places.pop(step.old, None)
                places[step.name] = step.file
            case "unlink":
                places.pop(step.name, None)
            case "mkdir":
                places[step.name] = None
    disk: Disk = {}
    for path, file in places.items():
        parents = [str(parent) for parent in Path(path).parents if str(parent) != "."]
        if all(parent in places for parent in parents):
            disk[path] = None if file is None else bytes(content.get(file, b""))
    return disk


def states(found: Record, rng: random.Random) -> Iterator[Disk]:
    """States that a crash may leave, without end: none, all, one more, one less, any; torn."""
    while True:
        upto = rng.randrange(1, len(found.steps) + 1)
        certain = found.certain(upto)
        open_ones = [k for k in range(upto) if k not in certain and found.steps[k].kind != "sync"]
        form = rng.choice(("all", "none", "one more", "one less", "any", "any"))
        share = {"all": 1.0, "none": 0.0, "any": rng.random()}.get(form, 1.0)
        some = {k for k in open_ones if rng.random() < share}
        if open_ones and form == "one more":
            some = {rng.choice(open_ones)}
        if open_ones and form == "one less":
            some.discard(rng.choice(open_ones))
        torn = {}
        # An append that did not arrive ends the file, or leaves zeros before what follows.
        by_file: dict[int, bool] = {}
        for k in open_ones:
            step = found.steps[k]
            if step.kind != "write":
                continue
            missing = by_file.get(step.file, False)
            if k not in some or missing:
                by_file[step.file] = True
                fate = rng.choice(("gone", "zeros", "part"))
                if missing or fate == "gone":
                    some.discard(k)
                else:
                    cut = rng.randrange(len(step.data) + 1)
                    tail = bytes(len(step.data) - cut) if fate == "zeros" else b""
                    some.add(k)
                    torn[k] = step.data[:cut] + tail
        yield lay_out(found.steps[:upto], certain | some, torn)


def write_out(disk: Disk, root: Path) -> None:
    """Lay a state out in a folder."""
    for path, content in sorted(disk.items()):
        place = root / path
        if content is None:
            place.mkdir(parents=True, exist_ok=True)
        else:
            place.write_bytes(content)


def weights(run: Path) -> dict[str, dict[str, torch.Tensor]]:
    """The last and the best weights."""
    return {name: checkpoint.read(run, name)[0] for name in ("last", "best")}


def check(disk: Disk, root: Path, want: dict[str, dict[str, torch.Tensor]]) -> str:
    """Resume from a state; what went wrong, or "" if nothing did.

    Where not even the settings had reached the disk, there was no run yet: that is said as
    "nothing", and is no loss, because no epoch had been told of.
    """
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    write_out(disk, root)
    run = root / "run"
    if not runs.read_config(run):
        return "an epoch without settings" if told(run) else "nothing"
    before = told(run)
    try:
        events = list(train(dataclasses.replace(config(root)), resume=run))
    except InputError as error:
        return f"not resumed: {error}"
    if not isinstance(events[-1], RunFinished) or events[-1].status != "finished":
        return "not finished"
    if told(run) != list(range(1, int(SETTINGS["epochs"]) + 1)):
        return f"told of epochs {told(run)}, before the crash of {before}"
    found = weights(run)
    for name, tensors in want.items():
        if any(not torch.equal(found[name][key], value) for key, value in tensors.items()):
            return f"other {name} weights"
    return ""


def told(run: Path) -> list[int]:
    """The epochs that the log tells of, as readers take it: from `RunStarted` on anew."""
    epochs: list[tuple[int, int]] = []
    for event in runs.EventReader(run).poll():
        if isinstance(event, RunStarted):
            epochs = [each for each in epochs if each[1] <= event.iteration]
        elif isinstance(event, Evaluated):
            epochs.append((event.epoch, event.iteration))
    return [epoch for epoch, _ in epochs]


def main() -> int:
    """Record, enumerate, resume, and say how many states were tried."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--states", type=int, default=1000, help="how many different ones to try")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--train", type=Path, help="only train, into this folder")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.train is not None:
        list(train(config(options.train)))
        return 0
    if shutil.which("strace") is None:
        print("needs strace; install it with the package manager", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        counts = try_states(Path(folder), options.states, options.seed)
    for outcome, count in sorted(counts.items()):
        print(f"{count:6} {outcome or 'resumed to the same end'}")
    return 1 if counts.keys() - {"", "nothing"} else 0


def try_states(folder: Path, count: int, seed: int = 0) -> dict[str, int]:
    """What went wrong -> in how many of so many different states."""
    root = folder / "recorded"
    root.mkdir()
    found = record(root)
    want = weights(root / "run")
    seen: set[bytes] = set()
    counts: dict[str, int] = {}
    for disk in states(found, random.Random(seed)):
        key = hashlib.blake2b(repr(sorted(disk.items())).encode()).digest()
        if key in seen:
            continue
        seen.add(key)
        outcome = check(disk, folder / "crashed", want)
        counts[outcome] = counts.get(outcome, 0) + 1
        if len(seen) >= count:
            return counts
    return counts


if __name__ == "__main__":
    sys.exit(main())
