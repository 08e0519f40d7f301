"""The compiled libraries, and what runs an operator on each device.

`lae_fast._C` declares the operators and holds their CPU kernels, ``_C_cuda`` the CUDA kernels.
Where CUDA tensors cannot use these, the references run instead.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

_BUILD = "pip install --no-build-isolation -e ."

try:
    from lae_fast import _C
except ImportError as error:
    if importlib.util.find_spec("lae_fast._C") is None:
        raise ImportError(f"lae_fast is not built; build it with `{_BUILD}`") from None
    raise ImportError(f"lae_fast._C does not load ({error}); rebuild it with `{_BUILD}`") from error

Operator = Callable[..., Any]


def _load_cuda_kernels() -> tuple[ctypes.CDLL | None, str]:
    """Load ``_C_cuda``; return it, or why CUDA tensors cannot use it."""
    if torch.version.cuda is None:
        return None, "this PyTorch is a CPU build"
    files = sorted(Path(_C.__file__).parent.glob("_C_cuda*.so"))
    # A file of an earlier build may lie there, so `_C` says whether this build made one.
    if _C.build_info()["cuda"] is None or not files:
        return None, "lae_fast was built without CUDA kernels"
    try:
        torch.ops.load_library(str(files[0]))  # type: ignore[no-untyped-call]
        library = ctypes.CDLL(str(files[0]))
    except OSError as error:
        return None, f"{files[0].name} does not load: {error}"
    library.lae_cuda_image.restype = ctypes.c_char_p
    return library, ""


_CUDA_LIBRARY, _NO_CUDA_KERNELS = _load_cuda_kernels()
_IMPLEMENTATIONS = torch.library.Library("lae_fast", "IMPL")  # type: ignore[no-untyped-call]
_REFERENCES: dict[str, Operator] = {}
"""By operator: those not registered for CUDA tensors, because the kernels are."""


def operator(name: str, reference: Operator, fake: Operator | None = None) -> Operator:
    """The operator, ready for every device and for `torch.compile`.

    Args:
        name: in ``torch.ops.lae_fast``.
        reference: what CUDA tensors run where no CUDA kernels were loaded.
        fake: returns what the operator returns, without values; None for one that returns nothing.
    """
    try:
        operator: Operator = getattr(torch.ops.lae_fast, name).default
    except AttributeError:
        raise ImportError(
            f"lae_fast._C is of an older version and lacks {name}; rebuild it with `{_BUILD}`"
        ) from None
    torch.library.register_fake(f"lae_fast::{name}", fake or _returns_nothing)
    if _NO_CUDA_KERNELS:
        _run_on_cuda(name, reference, _NO_CUDA_KERNELS)
    else:
        _REFERENCES[name] = reference
    return operator


def _returns_nothing(*args: Any, **kwargs: Any) -> None:
    return None


def _run_on_cuda(name: str, reference: Operator, obstacle: str) -> None:
    """Let CUDA tensors run the reference of an operator; its first call warns of the obstacle."""

    def run(*args: Any, **kwargs: Any) -> Any:
        _warn_once(obstacle)
        return reference(*args, **kwargs)

    _IMPLEMENTATIONS.impl(name, run, "CUDA")  # type: ignore[no-untyped-call]


@functools.cache
def _warn_once(obstacle: str) -> None:
    warnings.warn(
        f"{obstacle}; CUDA tensors run the slower reference. "
        "Rebuild where nvcc is, with LAE_BUILD_CUDA=1.",
        stacklevel=2,
    )


def prepare_gpu(device: int) -> None:
    """Make the operators work on this GPU: where no built kernel fits it, by their references.

    The references then serve every GPU of the process: PyTorch chooses an operator's implementation
    by the kind of device. Asking the driver what fits makes a CUDA context on the GPU.

    Args:
        device: the GPU's index.
    """
    if has_cuda_kernels(device):
        return
    for name, reference in _REFERENCES.items():
        _run_on_cuda(name, reference, _obstacle(device))
    _REFERENCES.clear()


def build_info() -> _C.BuildInfo:
    """What the extension was built with, and the instruction set that it runs here."""
    return _C.build_info()


def has_cuda_kernels(device: int | None = None) -> bool:
    """Whether CUDA tensors run the fused kernels rather than the reference.

    Args:
        device: index of a GPU that must be able to run them; None asks no GPU.
    """
    return not (_NO_CUDA_KERNELS if device is None else _obstacle(device))


def cuda_image(device: int) -> tuple[str, str]:
    """The architectures of the kernels that a GPU runs: of their machine code, and of its source.

    They are equal, ("8.6", "8.6"), where machine code for the card was built; where the driver
    compiles it from PTX at the first use, the second is the PTX's.

    Raises:
        RuntimeError: this GPU can run none of what was built, or nothing was built.
    """
    if _CUDA_LIBRARY is None:
        raise RuntimeError(_NO_CUDA_KERNELS)
    machine, ptx = ctypes.c_int(), ctypes.c_int()
    error = _CUDA_LIBRARY.lae_cuda_image(device, ctypes.byref(machine), ctypes.byref(ptx))
    if error:
        built = ", ".join(_C.build_info()["cuda_architectures"])
        raise RuntimeError(
            f"the CUDA kernels were built for {built}, which GPU {device} cannot run "
            f"({error.decode()})"
        )
    return _version(machine.value), _version(ptx.value)


def _version(number: int) -> str:
    return f"{number // 10}.{number % 10}"


@functools.cache
def _obstacle(device: int) -> str:
    """Why tensors on this GPU cannot use the kernels; empty when they can."""
    try:
        cuda_image(device)
    except RuntimeError as error:
        return str(error)
    return ""
