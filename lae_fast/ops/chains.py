"""The operators of amortized Langevin dynamics: typed wrappers over ``torch.ops.lae_fast``.

`lae_fast.ops.chains_ref` states what they compute. All take phi of any shape (empty and 0-d
included), float32 or float64, on the CPU or a CUDA device; tensors that are not contiguous are
handled.
``rng`` is int64 [2] on the same device, (seed, step), both at least 0; potentials are float64 [].
Wrong shapes, dtypes, devices, or a step size or temperature that is not positive and finite raise
`RuntimeError` from the operator itself. Nothing here is differentiable.
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
from torch import Tensor

from lae_fast.ops import chains_ref

_BUILD = "pip install --no-build-isolation -e ."

try:
    from lae_fast import _C
except ImportError as error:
    if importlib.util.find_spec("lae_fast._C") is None:
        raise ImportError(f"lae_fast is not built; build it with `{_BUILD}`") from None
    raise ImportError(f"lae_fast._C does not load ({error}); rebuild it with `{_BUILD}`") from error


def _load_cuda_kernels() -> tuple[ctypes.CDLL | None, str]:
    """Load ``_C_cuda``; return it, or why CUDA tensors cannot use it."""
    if torch.version.cuda is None:
        return None, "this PyTorch is a CPU build"
    files = sorted(Path(_C.__file__).parent.glob("_C_cuda*.so"))
    # A file left over from an earlier build may not fit this one, so `_C` has the word.
    if _C.build_info()["cuda"] is None or not files:
        return None, "lae_fast was built without CUDA kernels"
    try:
        torch.ops.load_library(str(files[0]))  # type: ignore[no-untyped-call]
        library = ctypes.CDLL(str(files[0]))
    except OSError as error:
        return None, f"{files[0].name} does not load: {error}"
    library.lae_cuda_image.restype = ctypes.c_char_p
    return library, ""


def operator(name: str) -> Callable[..., Any]:
    """The operator itself, without the overload resolution of its packet."""
    try:
        operator: Callable[..., Any] = getattr(torch.ops.lae_fast, name).default
    except AttributeError:
        raise ImportError(
            f"lae_fast._C is of an older version and lacks {name}; rebuild it with `{_BUILD}`"
        ) from None
    return operator


_CUDA_LIBRARY, _NO_CUDA_KERNELS = _load_cuda_kernels()
_propose = operator("ald_propose")
_log_ratio = operator("ald_log_ratio")
_step_ = operator("ald_step_")
_propose_rows = operator("ald_propose_rows")
_step_rows_ = operator("ald_step_rows_")


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
def _ask_driver(device: int) -> str:
    try:
        cuda_image(device)
    except RuntimeError as error:
        return str(error)
    return ""


def _obstacle(device: int) -> str:
    """Why tensors on this GPU cannot use the kernels; empty when they can."""
    return _ask_driver(device)


# What `torch.compiler.assume_constant_result` does, without importing the compiler for it: tracing
# does not follow the question to the driver.
_obstacle._dynamo_marked_constant = True  # type: ignore[attr-defined]


def propose(
    phi: Tensor, grad: Tensor, rng: Tensor, step_size: float, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Draw phi' = phi - eta grad + sqrt(2 eta tau) eps with the noise at ``rng``.

    Returns the proposal, like phi and contiguous, and ||eps||^2, float64 []. ``rng`` is not
    advanced.
    """
    if needs_reference(phi):
        return chains_ref.ald_propose(phi, grad, rng, step_size, temperature)
    result: tuple[Tensor, Tensor] = _propose(phi, grad, rng, step_size, temperature)
    return result


def log_ratio(
    phi: Tensor,
    grad: Tensor,
    potential: Tensor,
    proposal: Tensor,
    grad_proposal: Tensor,
    potential_proposal: Tensor,
    step_size: float,
    temperature: float = 1.0,
) -> Tensor:
    """Metropolis-Hastings log ratio of a Langevin proposal, float64 [].

    (V - V') / tau + <phi' - phi, g + g'> / (2 tau) - eta (||g'||^2 - ||g||^2) / (4 tau), each
    element's terms taken and summed in float64. Minus infinity where V', g' or phi' is not finite,
    and in place of any NaN.
    """
    run = chains_ref.ald_log_ratio if needs_reference(phi) else _log_ratio
    result: Tensor = run(
        phi,
        grad,
        potential,
        proposal,
        grad_proposal,
        potential_proposal,
        step_size,
        temperature,
    )
    return result


def step_(
    phi: Tensor,
    grad: Tensor,
    potential: Tensor,
    proposal: Tensor,
    grad_proposal: Tensor,
    potential_proposal: Tensor,
    rng: Tensor,
    info: Tensor,
    step_size: float,
    temperature: float = 1.0,
    mh: bool = True,
) -> None:
    """Decide on the pending proposal, take it or not, and draw the next, without a host sync.

    ``proposal`` was drawn from (phi, grad) with this step size at ``rng`` and evaluated to
    ``potential_proposal`` and ``grad_proposal``. Accepts when log u < min(0, log ratio), u in
    (0, 1] from the accept stream at ``rng``; with ``mh`` false, when all three are finite. Then
    (phi, grad, potential) hold the selected state, ``rng`` the next step, and ``proposal`` the
    proposal drawn from there.

    ``info`` is float64 [4]: log ratio and acceptance (0 or 1) of this step, and two running sums,
    of min(1, exp(log ratio)) and of acceptances.
    """
    run = chains_ref.ald_step_ if needs_reference(phi) else _step_
    run(
        phi,
        grad,
        potential,
        proposal,
        grad_proposal,
        potential_proposal,
        rng,
        info,
        step_size,
        temperature,
        mh,
    )


def propose_rows(
    x: Tensor,
    grad: Tensor,
    rng: Tensor,
    step_sizes: Tensor,
    temperature: float = 1.0,
    first_row: int = 0,
) -> Tensor:
    """Draw x' = x - eta grad + sqrt(2 eta tau) eps for chains that are the rows of x ``(n, d)``.

    ``step_sizes`` is eta, float64, one per dimension ``(d,)`` or one for all ``(1,)``, positive and
    finite (on CUDA the values are not checked: looking at them would wait for the device). The
    noise is that of `propose`; where x is a part of a larger batch, ``first_row``, a multiple of
    four, is its first row's place there, and the noise is that of the whole.
    """
    run = chains_ref.ald_propose_rows if needs_reference(x) else _propose_rows
    result: Tensor = run(x, grad, rng, step_sizes, temperature, first_row)
    return result


def step_rows_(
    x: Tensor,
    grad: Tensor,
    potential: Tensor,
    proposal: Tensor,
    grad_proposal: Tensor,
    potential_proposal: Tensor,
    rng: Tensor,
    accepted: Tensor,
    info: Tensor,
    step_sizes: Tensor,
    temperature: float = 1.0,
    mh: bool = True,
    first_row: int = 0,
    *,
    prior: float = 0.0,
    latents: Tensor | None = None,
    next_proposal: Tensor | None = None,
    x_trace: Tensor | None = None,
    grad_trace: Tensor | None = None,
) -> None:
    """`step_` for n chains, the rows of x ``(n, d)``, each with its own decision.

    ``potential`` is float64 ``(n,)``; ``accepted`` (bool ``(n,)``) receives the decisions. ``info``
    is float64 [5]: the mean over rows of min(1, exp(log ratio)) and the share accepted, of this
    step; and the running sums of both, and of the potentials after each step. ``first_row`` is that
    of `propose_rows`.

    Args:
        potential_proposal: float64 ``(n m,)``: each row's potential is the sum of its m terms.
        prior: weight of a Gaussian prior, ``prior ||z||^2 / 2``, which is added to the proposals'
            potential, and where z is x itself to ``grad_proposal`` too.
        latents: z, of x's dtype, as many elements for every row, where it is not x; their part of
            the gradient is the caller's to add.
        next_proposal: receives the next proposal; ``proposal`` does, when not given.
        x_trace, grad_trace: like x; also receive the point and the gradient after the step.
    """
    run = chains_ref.ald_step_rows_ if needs_reference(x) else _step_rows_
    run(
        x,
        grad,
        potential,
        proposal,
        grad_proposal,
        potential_proposal,
        rng,
        accepted,
        info,
        step_sizes,
        temperature,
        mh,
        first_row,
        prior,
        latents,
        next_proposal,
        x_trace,
        grad_trace,
    )


def needs_reference(phi: Tensor) -> bool:
    """Whether this tensor's device has no kernels here; the first time, a warning says so."""
    if not phi.is_cuda:
        return False
    obstacle = _obstacle(phi.device.index)
    if obstacle:
        _warn_once(obstacle)
    return bool(obstacle)


@functools.cache
def _warn_once(obstacle: str) -> None:
    warnings.warn(
        f"{obstacle}; CUDA tensors run the slower reference. "
        "Rebuild where nvcc is, with LAE_BUILD_CUDA=1.",
        stacklevel=4,
    )


@torch.library.register_fake("lae_fast::ald_propose")  # type: ignore[untyped-decorator]
def _(
    phi: Tensor, grad: Tensor, rng: Tensor, step_size: float, temperature: float
) -> tuple[Tensor, Tensor]:
    proposal = torch.empty(phi.shape, dtype=phi.dtype, device=phi.device)
    return proposal, torch.empty((), dtype=torch.float64, device=phi.device)


@torch.library.register_fake("lae_fast::ald_log_ratio")  # type: ignore[untyped-decorator]
def _(
    phi: Tensor,
    grad: Tensor,
    potential: Tensor,
    proposal: Tensor,
    grad_proposal: Tensor,
    potential_proposal: Tensor,
    step_size: float,
    temperature: float,
) -> Tensor:
    return torch.empty((), dtype=torch.float64, device=phi.device)


@torch.library.register_fake("lae_fast::ald_step_")  # type: ignore[untyped-decorator]
def _(
    phi: Tensor,
    grad: Tensor,
    potential: Tensor,
    proposal: Tensor,
    grad_proposal: Tensor,
    potential_proposal: Tensor,
    rng: Tensor,
    info: Tensor,
    step_size: float,
    temperature: float,
    mh: bool,
) -> None:
    return None


@torch.library.register_fake("lae_fast::ald_propose_rows")  # type: ignore[untyped-decorator]
def _(
    x: Tensor,
    grad: Tensor,
    rng: Tensor,
    step_sizes: Tensor,
    temperature: float,
    first_row: int = 0,
) -> Tensor:
    return torch.empty(x.shape, dtype=x.dtype, device=x.device)


@torch.library.register_fake("lae_fast::ald_step_rows_")  # type: ignore[untyped-decorator]
def _(
    x: Tensor,
    grad: Tensor,
    potential: Tensor,
    proposal: Tensor,
    grad_proposal: Tensor,
    potential_proposal: Tensor,
    rng: Tensor,
    accepted: Tensor,
    info: Tensor,
    step_sizes: Tensor,
    temperature: float,
    mh: bool,
    first_row: int = 0,
    prior: float = 0.0,
    latents: Tensor | None = None,
    next_proposal: Tensor | None = None,
    x_trace: Tensor | None = None,
    grad_trace: Tensor | None = None,
) -> None:
    return None
