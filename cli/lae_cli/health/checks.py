"""The checks of ``lae doctor``."""

from __future__ import annotations

import dataclasses
import os
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from lae_fast.errors import one_line

LEAST_PYTHON = (3, 11)
LEAST_TORCH = (2, 10)
_BUILD = "pip install --no-build-isolation -e ."


@dataclass(frozen=True)
class Check:
    """One finding: ``level`` is ok, warn or fail; ``remedy`` is empty when all is well."""

    name: str
    level: str
    detail: str
    remedy: str = ""


def run_checks() -> list[Check]:
    """All findings; a check that raises counts as failed and shows no traceback."""
    named: dict[str, Callable[[], Check]] = {
        "python": check_python,
        "torch": check_torch,
        "threads": check_threads,
        "cuda": check_cuda,
        "extension": check_extension,
        "kernel": check_kernel,
        "cuda kernel": check_cuda_kernel,
        "data": check_data,
        "terminal": check_terminal,
    }
    return [_guarded(name, check) for name, check in named.items()]


def check_run(run: Path) -> list[Check]:
    """A finding for each file of a run folder."""
    from lae_fast.runs.verify import verify

    found = []
    for each in verify(run):
        level, detail = ("fail", each.problem) if each.problem else ("ok", each.detail)
        remedy = _remedy_of_file(Path(each.file).parts) if each.problem else ""
        found.append(Check(each.file, level, one_line(detail), remedy))
    return found


def _remedy_of_file(parts: tuple[str, ...]) -> str:
    """What to do about a damaged file of a run folder, by its path there."""
    from lae_fast.runs.checkpoint import PREVIOUS_STATE, STATE

    match parts:
        case ("snapshots", *_):
            return "delete it: nothing but its pictures is lost"
        case ("classifiers", *_):
            return "delete it: `lae classify` trains the classifier again"
        case ("checkpoints", name) if Path(name).stem == STATE:
            return "`lae train --resume` goes on from the state before it, if that is whole"
        case ("checkpoints", name) if Path(name).stem == PREVIOUS_STATE:
            return "the next state that is saved replaces it"
        case ("checkpoints", name) if Path(name).stem in ("best", "last"):
            return "`lae train --resume` writes it anew; --checkpoint uses the other one"
    return "restore it from a copy: a run is nothing without it"


def _guarded(name: str, check: Callable[[], Check]) -> Check:
    try:
        return check()
    except Exception as error:  # a check must find what is broken, not break
        text = one_line(f"{type(error).__name__}: {error}")
        return Check(name, "fail", text, _remedy(name))


def _remedy(name: str) -> str:
    if name in ("extension", "kernel", "cuda kernel"):
        return f"build it again: {_BUILD}"
    if name in ("torch", "threads", "cuda"):
        return "install PyTorch 2.10 or later: https://pytorch.org/get-started/locally"
    return "install the package again: pip install -e ."


def check_python() -> Check:
    """Whether Python is recent enough."""
    detail = f"{platform.python_version()} ({sys.executable}), {platform.platform(terse=True)}"
    if sys.version_info < LEAST_PYTHON:
        return Check("python", "fail", detail, "use Python 3.11 or later")
    return Check("python", "ok", detail)


def check_torch() -> Check:
    """Whether PyTorch imports and has the stable ABI that the kernels are built for."""
    import torch

    version = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
    if version < LEAST_TORCH:
        return Check("torch", "fail", torch.__version__, _remedy("torch"))
    return Check("torch", "ok", torch.__version__)


def check_threads() -> Check:
    """Whether PyTorch uses no more threads than this process has processors."""
    import torch

    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = torch.get_num_threads()
    detail = f"{threads} of {usable} processors"
    if usable is not None and threads > usable:
        return Check("threads", "warn", detail, f"set OMP_NUM_THREADS={usable}")
    return Check("threads", "ok", detail)


def check_cuda() -> Check:
    """Which GPUs there are; training also runs without one."""
    import torch

    if torch.version.cuda is None:
        return Check("cuda", "ok", "none: this PyTorch is a CPU build; training runs on the CPU")
    if not torch.cuda.is_available():
        return Check("cuda", "ok", "no GPU is visible; training runs on the CPU")
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return Check("cuda", "ok", f"CUDA {torch.version.cuda}: {', '.join(names)}")


def check_extension() -> Check:
    """Whether the compiled kernels load, and what they were built for."""
    try:
        from lae_fast import ops
    except ImportError as error:
        return Check("extension", "fail", one_line(error), _remedy("extension"))
    parts = [f"{key.replace('_', ' ')} {_plain(v)}" for key, v in dict(ops.build_info()).items()]
    return Check("extension", "ok", ", ".join(parts))


def _plain(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value or "none")


def check_kernel() -> Check:
    """Whether the CPU kernel draws what the reference draws."""
    return _compare("kernel", "cpu")


def check_cuda_kernel() -> Check:
    """Whether the CUDA kernel draws what the reference draws, if there is a GPU."""
    import torch

    if not torch.cuda.is_available():
        return Check("cuda kernel", "ok", "not needed without a GPU")
    return _cuda_kernels(torch.cuda.device_count())


def _cuda_kernels(devices: int) -> Check:
    """What each GPU runs: machine code of its own, code compiled from PTX, or the reference."""
    from lae_fast import ops

    parts = []
    for device in range(devices):
        try:
            machine, ptx = ops.cuda_image(device)
        except RuntimeError as error:
            remedy = f"build with CUDA for this card: LAE_BUILD_CUDA=1 {_BUILD}"
            detail = f"{one_line(error)}; training on it uses the slow reference"
            return Check("cuda kernel", "warn", detail, remedy)
        code = f"machine code for {machine}"
        if machine != ptx:
            code = f"code that the driver compiles from PTX {ptx} at the first use"
        parts.append(f"GPU {device}: {code}")
    compared = _compare("cuda kernel", "cuda")
    return dataclasses.replace(compared, detail=f"{', '.join(parts)}; {compared.detail}")


def _compare(name: str, device: str) -> Check:
    import torch

    from lae_fast import ops
    from lae_fast.ops import chains_ref

    x = torch.linspace(-1.0, 1.0, 24, device=device).reshape(3, 8)
    rng = torch.tensor([7, 3], dtype=torch.int64, device=device)
    step_sizes = torch.full((8,), 0.01, dtype=torch.float64, device=device)
    ours = ops.propose_rows(x, x.cos(), rng, step_sizes)
    theirs = chains_ref.ald_propose_rows(x, x.cos(), rng, step_sizes)
    worst = float((ours - theirs).abs().max())
    if not worst < 1e-5:
        return Check(name, "fail", f"differs from the reference by {worst:.1e}", _remedy(name))
    return Check(name, "ok", f"agrees with the reference (within {worst:.1e})")


def check_data() -> Check:
    """Whether the packages that the built-in data sets need are installed."""
    missing = [name for name in ("sklearn", "torchvision", "PIL") if find_spec(name) is None]
    if missing:
        return Check("data", "fail", f"missing: {', '.join(missing)}", _remedy("data"))
    return Check("data", "ok", "digits is bundled; the others download through torchvision")


def check_terminal() -> Check:
    """Size, colours and characters of the terminal, for the live display."""
    from lae_cli.terminal.console import can_update, has_colour, has_unicode, make_console

    console = make_console(stderr=True)
    if not console.is_terminal:
        return Check("terminal", "ok", "stderr is no terminal: training prints plain lines")
    size = shutil.get_terminal_size()
    colours = console.color_system if has_colour(console) else "none"
    characters = "Unicode" if has_unicode(sys.stderr) else "ASCII"
    detail = f"{size.columns}x{size.lines}, colours: {colours}, characters: {characters}"
    if not can_update(console):
        return Check("terminal", "warn", detail, "TERM=dumb: training prints plain lines")
    if size.columns < 80 or size.lines < 24:
        return Check("terminal", "warn", detail, "80x24 or more shows the whole picture")
    return Check("terminal", "ok", detail)
