"""How the operators meet PyTorch and the user: schemas, fakes, compile, errors, fallbacks."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import lae_fast
from helpers.command_line import ROOT
from helpers.ops_cases import make_rows
from lae_fast.ops import chains, loader, networks

OPERATORS = (
    "ald_propose_rows",
    "ald_step_rows_",
    "norm_relu_",
    "norm_relu_backward_",
    "add_norm_grads_",
    "copy_rows_",
    "bernoulli_grad_",
    "gaussian_grad_",
    "discretized_logistic_grad_",
)


def test_every_operator_has_a_wrapper() -> None:
    declared = {
        name for name in torch._C._dispatch_get_all_op_names() if name.startswith("lae_fast::")
    }
    assert declared == {f"lae_fast::{name}" for name in OPERATORS}
    for name in OPERATORS:
        assert hasattr(chains if name.startswith("ald_") else networks, name.removeprefix("ald_"))


@pytest.mark.slow
def test_a_step_compiles_into_one_graph_and_computes_the_same(device: str) -> None:
    """propose_rows -> evaluate -> step_rows_ under fullgraph; the state is mutated in place."""

    def iterate(tensors: tuple[torch.Tensor, ...]) -> torch.Tensor:
        x, grad, potential, proposal, grad_new, _, rng, accepted, info, step_sizes = tensors
        proposal.copy_(chains.propose_rows(x, grad, rng, step_sizes))
        grad_new.copy_(proposal)
        potential_new = proposal.square().sum(1) / 2
        chains.step_rows_(
            x, grad, potential, proposal, grad_new, potential_new, rng, accepted, info, step_sizes
        )
        return x.sum()

    eager = make_rows((8, 16), torch.float64, device=device)
    compiled = eager.clone()
    compiled_iterate = torch.compile(iterate, fullgraph=True, backend="aot_eager")
    for _ in range(3):
        totals = iterate(eager.tensors()), compiled_iterate(compiled.tensors())
        torch.testing.assert_close(*totals)
        for a, b in zip(eager.tensors(), compiled.tensors(), strict=True):
            torch.testing.assert_close(a, b)
    assert int(compiled.rng[1]) == 3


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", ["grad", "potential", "rng", "accepted", "info", "step_sizes"])
def test_a_tensor_on_another_device_is_named(name: str) -> None:
    rows = make_rows((3, 4), torch.float32, device="cuda")
    setattr(rows, name, getattr(rows, name).cpu())
    with pytest.raises(RuntimeError, match=f"^ald_step_rows_: {name} is on cpu but x is on cuda:0"):
        chains.step_rows_(*rows.tensors())


def test_build_info_says_what_was_built() -> None:
    info = loader.build_info()
    assert info["stable_abi"] == "2.10"
    assert info["instruction_set"]
    assert (info["cuda"] is None) == (not info["cuda_architectures"])


def test_cuda_kernels_load_where_they_were_built() -> None:
    """Loading needs no GPU, so a library that does not link is found out anywhere."""
    built = loader.build_info()["cuda"] is not None
    assert loader.has_cuda_kernels() == (built and torch.version.cuda is not None)
    for op in OPERATORS:  # else these are the references
        assert torch._C._dispatch_has_kernel_for_dispatch_key(f"lae_fast::{op}", "CUDA")


BUILT = """
import ctypes, json, sys, warnings
from pathlib import Path
from types import SimpleNamespace
import torch
from lae_fast import _C

# What PyTorch and the extension were built with is asked once, when the operators are imported.
facts = json.loads(sys.argv[1])
torch.version.cuda, info = "13.0", _C.build_info()
_C.build_info = lambda: info | facts
_C.__file__ = str(Path("_C.so").absolute())
Path("_C_cuda.so").touch()


class Image:
    # Answers as a driver does: GPU 0 runs machine code, 1 compiles PTX, others can run nothing.

    def __call__(self, device, machine, ptx):
        machine._obj.value, ptx._obj.value = ((86, 86), (130, 120), (0, 0))[min(device, 2)]
        return b"no kernel image is available for execution on the device" if device > 1 else None


ctypes.CDLL = lambda path: SimpleNamespace(lae_cuda_image=Image())
torch.ops.load_library = lambda path: None
from lae_fast.ops import chains, chains_ref, loader, networks

rng, sizes = torch.tensor([7, 3]), torch.full((3,), 0.1, dtype=torch.float64)
x = torch.linspace(-1, 1, 6).view(2, 3)


def has_kernels(key):
    names = [name for name in torch._C._dispatch_get_all_op_names() if name[:8] == "lae_fast"]
    has = torch._C._dispatch_has_kernel_for_dispatch_key
    return len(names) == 9, [has(name, key) for name in names]


def called(key, times=2):
    # Whether the kernel of a device does as the reference does, and every warning.
    op, key = torch.ops.lae_fast.ald_propose_rows.default, getattr(torch._C.DispatchKey, key)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        got = [op._op_dk(key, x, x, rng, sizes, 1.0) for _ in range(times)]
    wanted = chains_ref.ald_propose_rows(x, x, rng, sizes)
    same = [bool(torch.allclose(one, wanted, atol=1e-6)) for one in got]
    return same, [str(warning.message) for warning in said]

"""


def with_another_build(folder: Path, code: str, **facts: Any) -> Any:
    """What ``code`` leaves in ``found``, in a process whose extension was built with ``facts``."""
    code += "\nprint(json.dumps(found))"
    words = [sys.executable, "-c", BUILT + code, json.dumps(facts)]
    environ = os.environ | {"PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run(
        words, cwd=folder, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_without_cuda_kernels_one_warning_says_that_the_reference_runs(tmp_path: Path) -> None:
    code = """
found = {"registered": has_kernels("CUDA"), "CUDA": called("CUDA"), "CPU": called("CPU")}
"""
    found = with_another_build(tmp_path, code, cuda=None)
    assert found["registered"] == [True, [True] * 9]
    same, (said,) = found["CUDA"]
    assert same == [True, True]
    assert "built without CUDA kernels; CUDA tensors run" in said
    assert found["CPU"] == [[True, True], []]


def test_a_gpu_that_no_image_fits_runs_the_reference(tmp_path: Path) -> None:
    code = """
before = has_kernels("CUDA")
loader.prepare_gpu(0)
fits = has_kernels("CUDA")
loader.prepare_gpu(2)
loader.prepare_gpu(3)  # fits as little: the references are there already
found = {
    "images": [loader.cuda_image(device) for device in (0, 1)],
    "kernels": [loader.has_cuda_kernels(device) for device in (None, 0, 1, 2)],
    "registered": [before, fits, has_kernels("CUDA")],
    "called": called("CUDA"),
}
"""
    found = with_another_build(tmp_path, code, cuda="13.0", cuda_architectures=["8.6", "12.0+PTX"])
    assert found["images"] == [["8.6", "8.6"], ["13.0", "12.0"]]
    assert found["kernels"] == [True, True, True, False]
    # The library that would have registered its kernels is not a real one.
    assert [any(has) for _, has in found["registered"]] == [False, False, True]
    assert all(found["registered"][2][1])
    same, (said,) = found["called"]
    assert same == [True, True]
    assert "which GPU 2 cannot run (no kernel image" in said


def test_importing_the_operators_leaves_the_compiler_out() -> None:
    """It would take two seconds."""
    code = "import sys, lae_fast.ops; sys.exit('torch._dynamo' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_missing_build_is_one_line_that_names_the_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "lae_fast._C", None)
    monkeypatch.delattr(lae_fast, "_C", raising=False)
    with pytest.raises(ImportError) as caught:
        runpy.run_path(loader.__file__)
    assert "pip install --no-build-isolation -e ." in str(caught.value)
    assert "\n" not in str(caught.value)
