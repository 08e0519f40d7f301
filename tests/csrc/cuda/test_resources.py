"""What the compiled kernels ask of a multiprocessor, on every architecture that was built."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from helpers import emulator
from helpers.layer_cases import RUNS, make_layer
from helpers.ops_cases import DTYPES, make_extras, make_rows
from lae_fast import ops
from lae_fast.ops import loader, networks

pytestmark = pytest.mark.cuda

REGISTERS = 65536  # of a block, on every architecture
SHARED = 48 * 1024
SPILLED = 16  # bytes of a thread's stack: a register or two around a barrier


class Resources(NamedTuple):
    """Of a kernel on an architecture; registers are per thread, stack and shared in bytes."""

    architecture: str
    kernel: str
    registers: int
    stack: int
    shared: int


def cuobjdump() -> str | None:
    """The toolkit's own, or the one that comes with Triton, and so with PyTorch for CUDA."""
    found = shutil.which("cuobjdump")
    triton = find_spec("triton")
    if found is None and triton is not None and triton.origin is not None:
        bundled = Path(triton.origin).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
        found = str(bundled) if bundled.exists() else None
    return found


def short(name: str) -> str:
    """`rows_step_kernel<float, WarpTeam>`, however a compiler writes the rest."""
    name = re.sub(r"(\{anonymous\}|\(anonymous namespace\))::|\b(lae|cuda)::", "", name)
    return re.sub(r"^void ", "", name).split("(")[0]


def compiled() -> list[Resources]:
    tool, library = cuobjdump(), list(Path(loader._C.__file__).parent.glob("_C_cuda*.so"))
    if tool is None or not ops.has_cuda_kernels() or shutil.which("c++filt") is None:
        pytest.skip("no CUDA kernels were built, or no cuobjdump and c++filt to read them")
    dump = [tool, "--dump-resource-usage", str(library[0])]
    mangled = subprocess.run(dump, capture_output=True, text=True, check=True).stdout
    text = subprocess.run(["c++filt"], input=mangled, capture_output=True, text=True, check=True)
    return list(_parse(text.stdout))


def _parse(text: str) -> Iterator[Resources]:
    architecture = kernel = ""
    for line in text.splitlines():
        if found := re.match(r"arch = (\S+)", line):
            architecture = found[1]
        elif found := re.match(r" Function (.*):$", line):
            kernel = short(found[1])
        elif found := re.search(r"REG:(\d+) STACK:(\d+) SHARED:(\d+)", line):
            yield Resources(architecture, kernel, *map(int, found.groups()))


def launch_everything(device: str) -> dict[str, int]:
    """Threads of the largest block of every kernel, from its largest launches."""
    with emulator.counting_only():
        for dtype in DTYPES:
            for shape in ((2048, 8), (20_001, 8), (32, 512), (300, 300), (1, 16384), (1, 70_001)):
                rows = make_rows(shape, dtype, device=device)
                ops.propose_rows(*rows.drift())
                rows, extras = make_extras(rows, 2, True, "contiguous")
                ops.step_rows_(*rows.tensors(), **extras)
            for layer_shape in ((33, 1024), (3000, 300)):
                for run in RUNS:
                    run(networks, make_layer(layer_shape, dtype, device=device, seed=1))
        layer = make_layer((50, 7), torch.float32, device=device, seed=1)
        networks.copy_rows_([layer.a], [layer.b], layer.chosen)
    return {short(name): threads for name, (_, threads) in emulator.usage().items()}


def test_every_kernel_fits_every_architecture(emulated: str) -> None:
    """A block's registers, rounded up as they are given out, and its shared memory."""
    threads = launch_everything(emulated)
    found = compiled()
    kernels = {resources.kernel for resources in found} - {"probe_kernel"}
    assert kernels == set(threads)
    assert len(found) == len({r.architecture for r in found}) * (len(kernels) + 1)
    for use in found:
        granted = (use.registers + 7) // 8 * 8
        assert granted * threads.get(use.kernel, 1) <= REGISTERS, use
        assert use.shared <= SHARED, use
        assert use.stack <= SPILLED, use


def test_a_kernel_that_asks_for_too_much_is_seen() -> None:
    text = """arch = sm_80
 Function void lae::cuda::(anonymous namespace)::propose_kernel<double>(lae::cuda::Args<double>):
  REG:70 STACK:40 SHARED:768 LOCAL:0 CONSTANT[0]:448
"""
    (use,) = _parse(text)
    assert use == Resources("sm_80", "propose_kernel<double>", 70, 40, 768)
    assert (use.registers + 7) // 8 * 8 * 1024 > REGISTERS
