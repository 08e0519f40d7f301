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
from helpers.ops_cases import DTYPES, Case, make_case
from lae_fast.ops import chains, chains_ref

NAMESPACE = torch.ops.lae_fast


def call(name: str, case: Case, step_size: Any = 0.1, temperature: Any = 1.0) -> Any:
    """The operator itself, without its wrapper."""
    if name == "ald_propose":
        return NAMESPACE.ald_propose(case.phi, case.grad, case.rng, step_size, temperature)
    if name == "ald_log_ratio":
        return NAMESPACE.ald_log_ratio(*case.evaluated(), step_size, temperature)
    return NAMESPACE.ald_step_(*case.tensors(), step_size, temperature, True)


OPERATORS = ("ald_propose", "ald_log_ratio", "ald_step_")


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", ["contiguous", "transposed"])
def test_opcheck(device: str, layout: str, dtype: torch.dtype) -> None:
    case = make_case((4, 6), dtype, device=device, layout=layout)
    torch.library.opcheck(NAMESPACE.ald_propose.default, (case.phi, case.grad, case.rng, 0.1, 1.0))
    torch.library.opcheck(NAMESPACE.ald_log_ratio.default, (*case.evaluated(), 0.1, 1.0))
    for mh in (True, False):
        torch.library.opcheck(NAMESPACE.ald_step_.default, (*case.tensors(), 0.1, 1.0, mh))


@pytest.mark.slow
def test_a_step_compiles_into_one_graph_and_computes_the_same(device: str) -> None:
    """propose -> evaluate -> step_ under fullgraph; the state is mutated in place."""

    def iterate(case_tensors: tuple[torch.Tensor, ...]) -> torch.Tensor:
        phi, grad, potential, proposal, grad_new, _, rng, info = case_tensors
        proposal.copy_(chains.propose(phi, grad, rng, 0.1)[0])
        grad_new.copy_(proposal)
        # Not copied into the case's tensor: PyTorch 2.13 drops a copy into a 0-d float64 input.
        potential_new = proposal.square().sum() / 2
        chains.step_(phi, grad, potential, proposal, grad_new, potential_new, rng, info, 0.1)
        return phi.sum()

    eager = make_case((8, 16), torch.float64, device=device)
    compiled = eager.clone()
    compiled_iterate = torch.compile(iterate, fullgraph=True, backend="aot_eager")
    for _ in range(3):
        totals = iterate(eager.tensors()), compiled_iterate(compiled.tensors())
        torch.testing.assert_close(*totals)
        for a, b in zip(eager.tensors(), compiled.tensors(), strict=True):
            torch.testing.assert_close(a, b)
    assert int(compiled.rng[1]) == 3


@pytest.mark.parametrize("op", OPERATORS)
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_step_size_and_temperature_must_be_positive_and_finite(
    device: str, op: str, value: float
) -> None:
    case = make_case((3, 4), torch.float32, device=device)
    with pytest.raises(RuntimeError, match=rf"^{op}: step_size must be positive and finite, not"):
        call(op, case, step_size=value)
    with pytest.raises(RuntimeError, match=rf"^{op}: temperature must be positive and finite, not"):
        call(op, case, temperature=value)


def _bad(case: Case, name: str, kind: str) -> torch.Tensor:
    tensor: torch.Tensor = getattr(case, name)
    if kind == "shape":
        return torch.zeros((2, 2), dtype=tensor.dtype, device=tensor.device)
    return tensor.to(torch.int32)


USED = {
    "ald_propose": ("grad", "rng"),
    "ald_log_ratio": ("grad", "potential", "proposal", "grad_proposal", "potential_proposal"),
    "ald_step_": (
        "grad",
        "potential",
        "proposal",
        "grad_proposal",
        "potential_proposal",
        "rng",
        "info",
    ),
}


@pytest.mark.parametrize("kind", ["shape", "dtype"])
@pytest.mark.parametrize(("op", "name"), [(op, name) for op in OPERATORS for name in USED[op]])
def test_a_wrong_argument_is_named_with_what_is_wrong(
    device: str, op: str, name: str, kind: str
) -> None:
    case = make_case((3, 4), torch.float32, device=device)
    setattr(case, name, _bad(case, name, kind))
    before = case.clone()
    with pytest.raises(RuntimeError) as caught:
        call(op, case)
    message = str(caught.value)
    assert message.startswith(f"{op}: {name} has {kind} ")
    assert ("[2, 2]" if kind == "shape" else "int32") in message
    assert "must be" in message
    assert "\n" not in message.strip()
    for now, then in zip(case.tensors(), before.tensors(), strict=True):
        assert torch.equal(now, then)


@pytest.mark.parametrize("op", OPERATORS)
def test_phi_must_be_float32_or_float64(device: str, op: str) -> None:
    case = make_case((3, 4), torch.float32, device=device)
    case.phi = case.phi.half()
    with pytest.raises(RuntimeError, match="phi has dtype float16; it must be float32 or float64"):
        call(op, case)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize(("op", "name"), [(op, name) for op in OPERATORS for name in USED[op]])
def test_a_tensor_on_another_device_is_named(op: str, name: str) -> None:
    case = make_case((3, 4), torch.float32, device="cuda")
    setattr(case, name, getattr(case, name).cpu())
    with pytest.raises(RuntimeError, match=f"^{op}: {name} is on cpu but phi is on cuda:0"):
        call(op, case)


def test_build_info_says_what_was_built() -> None:
    info = chains.build_info()
    assert info["stable_abi"] == "2.10"
    assert info["instruction_set"]
    assert (info["cuda"] is None) == (not info["cuda_architectures"])


def test_cuda_kernels_load_where_they_were_built() -> None:
    """Loading needs no GPU, so a library that does not link is found out anywhere."""
    built = chains.build_info()["cuda"] is not None
    assert chains.has_cuda_kernels() == (built and torch.version.cuda is not None)
    if chains.has_cuda_kernels():
        for op in (*OPERATORS, "ald_propose_rows", "ald_step_rows_"):
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
    # Answers as a driver does: GPU 0 runs machine code, 1 compiles PTX, 2 can run nothing.

    def __call__(self, device, machine, ptx):
        machine._obj.value, ptx._obj.value = ((86, 86), (130, 120), (0, 0))[device]
        return b"no kernel image is available for execution on the device" if device == 2 else None


ctypes.CDLL = lambda path: SimpleNamespace(lae_cuda_image=Image())
torch.ops.load_library = lambda path: None
from lae_fast.ops import chains


def asked(device):
    # Whether tensors of a GPU take the reference, asked twice, and every warning.
    tensor = SimpleNamespace(is_cuda=True, device=torch.device("cuda", device))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        answers = [chains.needs_reference(tensor) for _ in range(2)]
    return answers, [str(warning.message) for warning in said]

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
    code = "found = [asked(0), asked(1), chains.needs_reference(torch.zeros(2))]"
    found = with_another_build(tmp_path, code, cuda=None)
    first, second, cpu = found
    assert first[0] == second[0] == [True, True]
    assert not cpu
    (said,) = first[1] + second[1]
    assert "built without CUDA kernels; CUDA tensors run" in said


def test_where_the_kernels_cannot_run_the_reference_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chains, "needs_reference", lambda phi: True)
    case = make_case((3, 4), torch.float32)
    plain = case.clone()
    wanted = chains_ref.ald_propose(case.phi, case.grad, case.rng, 0.1)[0]
    assert torch.equal(chains.propose(case.phi, case.grad, case.rng, 0.1)[0], wanted)
    chains.step_(*case.tensors(), 0.1)
    chains_ref.ald_step_(*plain.tensors(), 0.1)
    assert torch.equal(case.proposal, plain.proposal)
    with pytest.raises(RuntimeError, match="step_size must be positive and finite"):
        chains.propose(case.phi, case.grad, case.rng, -1.0)


def test_a_gpu_that_no_image_fits_runs_the_reference(tmp_path: Path) -> None:
    """And the driver, whose answer is a constant, is not traced by the compiler."""
    code = """
compiled = torch.compile(
    lambda x: x + x if chains.has_cuda_kernels(0) else x, fullgraph=True, backend="eager"
)
found = {
    "images": [chains.cuda_image(device) for device in (0, 1)],
    "kernels": [chains.has_cuda_kernels(device) for device in (None, 0, 1, 2)],
    "asked": [asked(device) for device in (0, 2)],
    "compiled": compiled(torch.ones(3)).tolist(),
}
"""
    found = with_another_build(tmp_path, code, cuda="13.0", cuda_architectures=["8.6", "12.0+PTX"])
    assert found["images"] == [["8.6", "8.6"], ["13.0", "12.0"]]
    assert found["kernels"] == [True, True, True, False]
    (good, nothing), (bad, (said,)) = found["asked"]
    assert (good, nothing, bad) == ([False, False], [], [True, True])
    assert "which GPU 2 cannot run (no kernel image" in said
    assert found["compiled"] == [2.0, 2.0, 2.0]


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
        runpy.run_path(chains.__file__)
    assert "pip install --no-build-isolation -e ." in str(caught.value)
    assert "\n" not in str(caught.value)
