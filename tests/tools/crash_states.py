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
from lae_fast.runs.events import RunFinished, RunStarted
from lae_fast.runs.log import evaluations
from lae_fast.train import state as saved_state
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
    "openat,write,fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat,mkdir,close,"
    "pwrite64,writev,pwritev,pwritev2,ftruncate,truncate,link,linkat,symlink,copy_file_range,"
    "sendfile,fallocate"
)
"""What changes files, and what says which file is meant."""
FOLLOWED = re.compile("openat|write|f(data)?sync|rename(at2?)?|unlink(at)?|mkdir|close")
"""The calls that the record understands; that it has all is seen by laying it out."""
NO_RUN = "no run yet"
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
        at: where in the file a write begins.
    """

    kind: str
    file: int = -1
    name: str = ""
    old: str = ""
    at: int = 0
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
    sizes: dict[int, int] = {}
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
        if not FOLLOWED.fullmatch(call):
            continue
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
                sizes[names[path]] = 0
                found.steps.append(Step("link", names[path], path))
            if path in names:
                open_files["", result] = names[path]
        elif call == "openat":
            open_files.pop(("", result), None)
        elif call == "write" and isinstance(open_files.get(descriptor), int):
            file = int(open_files[descriptor])
            found.steps.append(Step("write", file, at=sizes[file], data=texts[0][:result]))
            sizes[file] += result
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
            continue
        match step.kind:
            case "write":
                data = content.setdefault(step.file, bytearray())
                data.extend(bytes(max(0, step.at - len(data))))  # zeros, where a write is missing
                new = torn.get(index, step.data)
                data[step.at : step.at + len(new)] = new
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


def states(found: Record, rng: random.Random) -> Iterator[tuple[Disk, Disk]]:
    """States that a crash may leave, without end, each with what of it was certain.

    Of what was not certain, the disk has all, nothing, one, all but one, or any part. A write that
    it has may have arrived in part; where later ones have arrived, zeros stand for what is missing.
    """
    while True:
        upto = rng.randrange(1, len(found.steps) + 1)
        certain = found.certain(upto)
        steps = found.steps[:upto]
        maybe = [k for k in range(upto) if k not in certain and steps[k].kind != "sync"]
        form = rng.choice(("all", "none", "one", "all but one", "any", "any"))
        share = {"all": 1.0, "none": 0.0, "any": rng.random()}.get(form, 1.0)
        some = {k for k in maybe if rng.random() < share}
        if maybe and form == "one":
            some = {rng.choice(maybe)}
        if maybe and form == "all but one":
            some.discard(rng.choice(maybe))
        torn = {}
        for k in some:
            if steps[k].kind == "write" and rng.random() < 0.3:
                cut = rng.randrange(len(steps[k].data) + 1)
                tail = len(steps[k].data) - cut if rng.random() < 0.5 else 0
                torn[k] = steps[k].data[:cut] + bytes(tail)
        yield lay_out(steps, certain | some, torn), lay_out(steps, certain, {})


def write_out(disk: Disk, root: Path) -> None:
    """Lay a state out in a folder."""
    for path, content in sorted(disk.items()):
        place = root / path
        if content is None:
            place.mkdir(parents=True, exist_ok=True)
        else:
            place.write_bytes(content)


def require_whole(found: Record, root: Path) -> None:
    """Refuse a record that does not end in the folder that was recorded: it missed something."""
    disk = lay_out(found.steps, set(range(len(found.steps))), {})
    there = {
        str(path.relative_to(root)): None if path.is_dir() else path.read_bytes()
        for path in root.rglob("*")
    }
    if disk != there:
        names = [name for name in sorted({*disk, *there}) if disk.get(name) != there.get(name)]
        raise SystemExit(f"the record does not lead to the folder: {', '.join(names)}")


def require_flushed(found: Record) -> None:
    """Refuse a training that ends before the disk has all that it wrote."""
    certain = found.certain(len(found.steps))
    rest = [s for k, s in enumerate(found.steps) if k not in certain and s.kind != "sync"]
    if rest:
        names = sorted({step.name or f"the content of file {step.file}" for step in rest})
        raise SystemExit(f"not flushed when the training ended: {', '.join(names)}")


def weights(run: Path) -> dict[str, dict[str, torch.Tensor]]:
    """The last and the best weights."""
    return {name: checkpoint.read(run, name)[0] for name in ("last", "best")}


def check(disk: Disk, certain: Disk, root: Path, want: dict[str, dict[str, torch.Tensor]]) -> str:
    """Resume from a state; what went wrong, or "" if nothing did.

    Where not even the settings were certain to be there, there was no run yet. That is said as
    `NO_RUN`, and is no loss, because no epoch had been told of.
    """
    least = saved_iteration(certain, root)
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    write_out(disk, root)
    run = root / "run"
    if not runs.read_config(run):
        lost = told(run) or "run/config.json" in certain
        return "the settings are lost" if lost else NO_RUN
    before = told(run)
    try:
        events = list(train(config(root), resume=run))
    except InputError as error:
        return f"not resumed: {error}"
    started, finished = events[0], events[-1]
    if not isinstance(finished, RunFinished) or finished.status != "finished":
        return "not finished"
    if not isinstance(started, RunStarted) or started.iteration < least:
        return f"went on from before iteration {least}, whose state was certain"
    if told(run) != list(range(1, int(SETTINGS["epochs"]) + 1)):
        return f"told of epochs {told(run)}, before the crash of {before}"
    found = weights(run)
    for name, tensors in want.items():
        if any(not torch.equal(found[name][key], value) for key, value in tensors.items()):
            return f"other {name} weights"
    return ""


def saved_iteration(certain: Disk, root: Path) -> int:
    """The iteration of the newest state that the disk has for certain; 0 without one."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    write_out(certain, root)
    found = saved_state.load(root / "run")
    return int(found.facts["meter"]["iteration"]) if found is not None else 0


def told(run: Path) -> list[int]:
    """The epochs that the log tells of, as readers take it."""
    return [event.epoch for event in evaluations(run)]


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
    return 1 if counts.keys() - {"", NO_RUN} else 0


def try_states(folder: Path, count: int, seed: int = 0) -> dict[str, int]:
    """What went wrong -> in how many of so many different states."""
    root = folder / "recorded"
    root.mkdir()
    found = record(root)
    require_whole(found, root)
    require_flushed(found)
    want = weights(root / "run")
    seen: set[bytes] = set()
    counts: dict[str, int] = {}
    for disk, certain in states(found, random.Random(seed)):
        key = hashlib.blake2b(repr(sorted(disk.items())).encode()).digest()
        if key in seen:
            continue
        seen.add(key)
        outcome = check(disk, certain, folder / "crashed", want)
        counts[outcome] = counts.get(outcome, 0) + 1
        if len(seen) >= count:
            return counts
    return counts


if __name__ == "__main__":
    sys.exit(main())
