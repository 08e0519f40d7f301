"""Plants typical CUDA mistakes in a copy of the kernels; each must turn a test red in the emulator.

python tests/tools/cuda_mutants.py [NAME ...]      all of them, or those whose names contain NAME
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from helpers import emulator

FOLDER = emulator.ROOT / "build" / "mutants"


@dataclass(frozen=True)
class Mutant:
    """A mistake: in ``file`` under csrc/cuda, ``old``, which stands there once, becomes ``new``."""

    name: str
    file: str
    old: str
    new: str
    flavour: str = "plain"


BARRIER = "  __syncthreads();\n"
WRITE = "  if (lane == 0) warps[warp] = mine;\n"
MUTANTS = (
    Mutant(
        "no barrier before shared memory is written again",
        "blocks.cuh",
        BARRIER + WRITE,
        WRITE,
        "thread",
    ),
    Mutant(
        "no barrier before shared memory is read",
        "blocks.cuh",
        WRITE + BARRIER,
        WRITE,
        "thread",
    ),
    Mutant(
        "a row moves while others of its team still read it",
        "ald.cu",
        "void sync() const { __syncwarp(); }",
        "void sync() const {}",
        "thread",
    ),
    Mutant(
        "the second launch reads what it overwrites",
        "ald.cu",
        "  move_one_row(a, proposed, *snapshot);",
        "  move_one_row(a, proposed, {load_rng(a.rng, 1), a.potential[0]});",
        "thread",
    ),
    Mutant(
        "the counter is read while a block advances it",
        "ald.cu",
        "const RngKey next = before->next();",
        "const RngKey next = load_rng(a.rng, 1).next();",
        "thread",
    ),
    Mutant(
        "threads without a row read another's",
        "ald.cu",
        "team.sum(real ? row_share(a, row, lane, width) : RowProposal{});",
        "team.sum(row_share(a, real ? row : a.rows - 1, lane, width));",
        "thread",
    ),
    Mutant(
        "one element too far is written",
        "ald.cu",
        "    a.proposal[i] = propose_element(",
        "    a.proposal[i + 1] = propose_element(",
    ),
    Mutant(
        "one pixel too far is read",
        "likelihood.cu",
        "j < a.d; j += blockDim.x",
        "j <= a.d; j += blockDim.x",
    ),
    Mutant(
        "one element too far is read",
        "norm_relu.cu",
        "    for (int64_t i = first + lane; i < end && i < a.n; i += kDeep) {",
        "    for (int64_t i = first + lane; i <= end && i <= a.n; i += kDeep) {",
        "address",
    ),
    Mutant(
        "lanes without a row leave before the shuffles",
        "ald.cu",
        "    const bool real = row < a.rows;\n",
        "    const bool real = row < a.rows;\n    if (!real) break;\n",
    ),
    Mutant(
        "a return before a barrier",
        "norm_relu.cu",
        "  double sum = 0;\n  if (j < a.d) {",
        "  if (j >= a.d) return;\n  double sum = 0;\n  {",
    ),
    Mutant(
        "a barrier that half the threads reach",
        "norm_relu.cu",
        "      __syncthreads();  // the row is complete",
        "      if (threadIdx.x % 2 == 0) __syncthreads();",
    ),
    Mutant(
        "a block that is no multiple of a warp",
        "blocks.cuh",
        "constexpr int kRowThreads = 128;",
        "constexpr int kRowThreads = 40;",
    ),
    Mutant(
        "more threads than a block can have",
        "blocks.cuh",
        "constexpr int kOneBlockThreads = 1024;",
        "constexpr int kOneBlockThreads = 2048;",
    ),
    Mutant(
        "shared memory for too few warps",
        "blocks.cuh",
        "[32 * sizeof(Sums) / sizeof(double)]",
        "[2 * sizeof(Sums) / sizeof(double)]",
    ),
    Mutant(
        "a stride that forgets the other blocks",
        "ald.cu",
        "  const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;\n",
        "  const int64_t stride = blockDim.x;\n",
    ),
    Mutant(
        "a partial sum that nobody wrote",
        "ald.cu",
        "  if (threadIdx.x == 0) partials[blockIdx.x] = proposed;",
        "  if (threadIdx.x == 0 && blockIdx.x > 0) partials[blockIdx.x] = proposed;",
    ),
    Mutant(
        "a shuffle that misses a stage",
        "blocks.cuh",
        "for (int offset = 16; offset > 0; offset /= 2) add(mine",
        "for (int offset = 8; offset > 0; offset /= 2) add(mine",
    ),
    Mutant(
        "the last part of the rows is left out",
        "norm_relu.cu",
        "for (int part = 0; part < parts; ++part)",
        "for (int part = 0; part < parts - 1; ++part)",
    ),
    Mutant(
        "noise of the step before",
        "ald.cu",
        "  const RngKey next = rng.next();\n  propose_share(a.next(), next);",
        "  const RngKey next = rng.next();\n  propose_share(a.next(), rng);",
    ),
)


def prepare(flavour: str) -> Path:
    """A copy of the sources, built once, so that a mutant compiles only what it touches."""
    csrc = FOLDER / flavour / "csrc"
    shutil.rmtree(csrc.parent, ignore_errors=True)  # objects of a mutant may be newer than sources
    shutil.copytree(emulator.ROOT / "csrc", csrc)
    emulator.build(flavour, csrc, csrc.parent)
    return csrc


def is_red(flavour: str) -> bool:
    """Whether the tests notice anything in the library of this flavour."""
    library = str(FOLDER / flavour / "libemulated.so")
    tests = [
        "-x",
        "tests/ops/test_rows.py",
        "tests/ops/test_one_row.py",
        "tests/ops/test_log_ratio.py",
        "tests/ops/test_networks.py",
    ]
    command = [
        "tests/tools/emulate.sh",
        flavour,
        library,
        *(tests if flavour == "plain" else ["-x"]),
    ]
    environment = os.environ | {"PYTHON": sys.executable}
    done = subprocess.run(
        command, cwd=emulator.ROOT, env=environment, capture_output=True, check=False
    )
    return done.returncode != 0


def plant(mutant: Mutant, csrc: Path) -> bool:
    """Whether the tests notice the mistake; it is taken back afterwards."""
    path = csrc / "cuda" / mutant.file
    right = path.read_text()
    if right.count(mutant.old) != 1:
        sys.exit(f"'{mutant.name}' no longer fits {mutant.file}: mend it in {__file__}")
    path.write_text(right.replace(mutant.old, mutant.new))
    try:
        emulator.build(mutant.flavour, csrc, csrc.parent)
        return is_red(mutant.flavour)
    finally:
        path.write_text(right)


def main(names: list[str]) -> int:
    """Plant them all; 1 if one goes unnoticed."""
    chosen = [m for m in MUTANTS if not names or any(name in m.name for name in names)]
    unseen = []
    for flavour in dict.fromkeys(mutant.flavour for mutant in chosen):
        csrc = prepare(flavour)
        if is_red(flavour):
            sys.exit(f"the tests are red in the {flavour} emulator before anything is planted")
        for mutant in (m for m in chosen if m.flavour == flavour):
            noticed = plant(mutant, csrc)
            unseen += [] if noticed else [mutant.name]
            print(f"{'noticed' if noticed else 'MISSED':8} {flavour:8} {mutant.name}", flush=True)
    print(f"{len(chosen) - len(unseen)} of {len(chosen)} mistakes noticed")
    return 1 if unseen else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
