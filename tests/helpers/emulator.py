"""CUDA kernels on the CPU: builds the emulator of ``csrc/emulate`` and makes a device of it.

`load` registers the device ``emulated``: tensors on it meet the checks that CUDA tensors meet, and
lae_fast's operators run the CUDA kernels' own source on them, a fiber for every CUDA thread.

    python tests/helpers/emulator.py [plain|address|thread]     builds a flavour and prints its path
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import functools
import io
import os
import shutil
import subprocess
import sys
import types
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]
COMPILER = os.environ.get("CXX", "g++")
FLAVOURS = {
    "plain": ["-O2", "-g1"],
    "address": [
        "-O1",
        "-g1",
        "-fsanitize=address,undefined",
        "-fno-sanitize=vptr",
        "-fno-sanitize-recover=undefined",
        "-fno-omit-frame-pointer",
    ],
    "thread": ["-O1", "-g1", "-fsanitize=thread"],
}
"""Compiler flags, by what ``make emulate SANITIZE=`` calls them."""
ORDERS = ("forward", "reverse", "random")
LIBRARY = "LAE_EMULATED"
"""Environment variable: the library to load instead of the plain build."""


def why_not() -> str | None:
    """Why the emulator cannot be built here, or None when it can."""
    if not (ROOT / "csrc" / "emulate").is_dir():
        return "the sources of the CUDA kernels are not here"
    if shutil.which(COMPILER) is None:
        return f"no C++ compiler ({COMPILER})"
    if find_spec("ninja") is None:
        return "ninja is not installed"
    return None


def build(flavour: str = "plain", csrc: Path = ROOT / "csrc", folder: Path | None = None) -> Path:
    """Compile what has changed and return the library; several processes may ask at once."""
    from ninja import BIN_DIR

    folder = folder or ROOT / "build" / "emulate" / flavour
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        (folder / "build.ninja").write_text(_plan(flavour, csrc))
        run = [str(Path(BIN_DIR, "ninja")), "-C", str(folder)]
        done = subprocess.run(run, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the emulator does not build:\n{done.stdout}{done.stderr}")
    return folder / "libemulated.so"


def _plan(flavour: str, csrc: Path) -> str:
    """The build as a ninja file."""
    from ninja.ninja_syntax import Writer

    sanitize, plain = FLAVOURS[flavour], FLAVOURS["plain"]
    home = Path(torch.__file__).parent
    common = ["-std=c++20", "-fPIC", "-fvisibility=hidden", "-Wall"]
    common += [f"-isystem{home}/include", f"-isystem{home}/include/torch/csrc/api/include"]
    stable = ["-DLAE_EMULATE", "-DUSE_CUDA", "-DTORCH_TARGET_VERSION=0x020a000000000000"]
    text = io.StringIO()
    ninja = Writer(text, width=10_000)
    command = f"{COMPILER} -MMD -MF $out.d $flags -c $in -o $out"
    ninja.rule("compile", command, depfile="$out.d", deps="gcc")
    libraries = f"-L{home}/lib -ltorch -ltorch_cpu -lc10 -Wl,-rpath,{home}/lib"
    ninja.rule("link", f"{COMPILER} -shared $flags -o $out $in {libraries}")
    objects = []
    others = ("all", "image")  # the operators together, and a question for the driver
    kernels = [path for path in sorted(csrc.glob("cuda/*.cu")) if path.stem not in others]
    for source in (*sorted(csrc.glob("emulate/*.cpp")), *kernels):
        flags = [*common, *sanitize]
        if source.suffix == ".cu":
            flags += [*stable, "-x", "c++"]
        elif source.name == "scheduler.cpp" and flavour == "thread":
            # It moves between stacks, where the sanitizer must not follow.
            flags = [*common, *plain, "-DLAE_EMULATE_TSAN"]
        objects.append(f"{source.stem}.o")
        ninja.build(objects[-1], "compile", str(source), variables={"flags": flags})
    ninja.build("libemulated.so", "link", objects, variables={"flags": sanitize})
    return text.getvalue()


@functools.cache
def load() -> str:
    """Register the emulated device and return its name."""
    import lae_fast.ops  # noqa: F401  (declares the operators)

    library = os.environ.get(LIBRARY) or str(build())
    module = types.ModuleType("torch.emulated")
    vars(module).update(
        is_available=lambda: True,
        device_count=lambda: 1,
        current_device=lambda: 0,
        _is_in_bad_fork=lambda: False,
        manual_seed_all=lambda seed: None,
        get_rng_state=lambda device=0: torch.get_rng_state(),
        set_rng_state=lambda state, device=0: torch.set_rng_state(state),
    )
    torch.utils.rename_privateuse1_backend("emulated")
    torch._register_device_module("emulated", module)
    torch.ops.load_library(library)
    return "emulated"


@functools.cache
def _library() -> ctypes.CDLL:
    load()
    (path,) = (name for name in torch.ops.loaded_libraries if name.endswith("libemulated.so"))
    library = ctypes.CDLL(path)
    library.lae_emulate_usage.restype = ctypes.c_char_p
    library.lae_emulate_reads.restype = ctypes.c_long
    return library


def schedule(order: str = "random", blocks: int = 4, seed: int = 1) -> None:
    """Choose how threads take turns.

    Args:
        order: ``forward``, ``reverse`` or ``random``.
        blocks: how many are in flight at once.
        seed: of the random order.
    """
    _library().lae_emulate_schedule(ORDERS.index(order), ctypes.c_long(blocks), ctypes.c_long(seed))


@contextlib.contextmanager
def counting_only() -> Iterator[None]:
    """Count launches and run nothing: results are whatever lay in memory."""
    _library().lae_emulate_count_only(1)
    try:
        yield
    finally:
        _library().lae_emulate_count_only(0)


def usage() -> dict[str, tuple[int, int]]:
    """Launches so far, and threads of the largest block, of every kernel by its name."""
    lines = _library().lae_emulate_usage().decode().splitlines()
    parts = (line.split(" ", 2) for line in lines)
    return {name: (int(launches), int(threads)) for launches, threads, name in parts}


def launches() -> int:
    """Kernels launched so far."""
    return sum(count for count, _ in usage().values())


def reads() -> int:
    """Values that the host has read from the device so far."""
    return int(_library().lae_emulate_reads())


if __name__ == "__main__":
    print(build(*sys.argv[1:]))
