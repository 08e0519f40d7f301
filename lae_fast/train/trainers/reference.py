"""Algorithm 2 written straightforwardly from its formulas: the yardstick for truth and speed.

Every step evaluates V and its gradient afresh at phi and at phi', keeps the graph of each
retained state's potential, and differentiates their mean at the end. The log-ratio is the
textbook one, with the reverse proposal's mean at phi'. Nothing is shared with the fast path but
the model and the coordinates.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from lae_fast.models.lae import LAE
from lae_fast.ops import chains_ref
from lae_fast.sampling.whitening import make_coordinates

Draw = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Maps phi to the noise of a step, like phi, and the uniform in (0, 1] that decides it, 0-d."""


def torch_noise(phi: Tensor) -> tuple[Tensor, Tensor]:
    """PyTorch's own generator: what straightforward code uses."""
    uniform = 1 - torch.rand((), dtype=torch.float64, device=phi.device)
    return torch.randn_like(phi), uniform


def counter_noise(rng: Tensor) -> Draw:
    """The noise that the fused kernels draw from ``rng``, which is advanced."""

    def draw(phi: Tensor) -> tuple[Tensor, Tensor]:
        result = chains_ref.normal(phi.shape, rng, phi.dtype), chains_ref.uniform(rng)
        rng[1] += 1
        return result

    return draw


def naive_gradients(
    model: LAE,
    x: Tensor,
    *,
    steps: int,
    step_size: float,
    draw: Draw = torch_noise,
    mh: bool = True,
    temperature: float = 1.0,
    prior: bool = True,
    damping: float | None = None,
) -> tuple[Tensor, Tensor, list[bool]]:
    """Run T Langevin steps and add the gradient of ``1/T sum_t V_t`` to ``parameter.grad``.

    Arguments are as in `lae_fast.train.trainers.lae.LAETrainer`.

    Returns:
        the new phi ``(d_z, d_h)`` (the model's is left alone), the mean potential of the batch,
        and each step's decision.
    """
    features = model.encoder(x)
    coordinates = make_coordinates(features.detach(), damping)

    def at(u: Tensor) -> tuple[Tensor, Tensor]:
        """V at u with its graph over theta and psi, and its gradient with respect to u."""
        u = u.detach().requires_grad_()
        z = features @ coordinates.to_phi(u).T
        value = model.nll(x, z).sum(dtype=torch.float64)
        if prior:
            value = value + 0.5 * z.square().sum(dtype=torch.float64)
        (grad,) = torch.autograd.grad(value, u, retain_graph=True)
        return value, grad

    u = coordinates.to_chain(model.phi)
    total = torch.zeros((), dtype=torch.float64, device=x.device)
    decisions = []
    for _ in range(steps):
        noise, uniform = draw(u)
        value, grad = at(u)
        proposal = u - step_size * grad + math.sqrt(2 * step_size * temperature) * noise
        new_value, new_grad = at(proposal)
        log_ratio = (
            (value.detach() - new_value.detach()) / temperature
            - (u - proposal + step_size * new_grad).square().sum() / (4 * step_size * temperature)
            + noise.square().sum() / 2
        )
        accept = bool(torch.log(uniform) < log_ratio) if mh else bool(torch.isfinite(new_value))
        decisions.append(accept)
        if accept:
            u, value = proposal, new_value
        total = total + value / steps
    total.backward()  # type: ignore[no-untyped-call]
    return coordinates.to_phi(u).detach(), total.detach(), decisions
