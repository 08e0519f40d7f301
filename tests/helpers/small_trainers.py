"""Models of twenty pixels and three latents, their images and their trainers."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from lae_fast.models.lae import LAE
from lae_fast.models.likelihoods import make_likelihood
from lae_fast.models.mlp import MLP
from lae_fast.models.vae import VAE, mlp_vae
from lae_fast.ops import chains_ref
from lae_fast.sampling import ald
from lae_fast.train.trainers.base import Learner
from lae_fast.train.trainers.controls import FrozenTrainer, IWAETrainer, VAETrainer
from lae_fast.train.trainers.hoffman import HoffmanTrainer
from lae_fast.train.trainers.lae import LAETrainer

STEPS, MANY_STEPS = 6, 20
# (likelihood, scale, step size that accepts some and rejects some of the six proposals)
CASES = [
    ("bernoulli", None, 0.05),
    ("gaussian", None, 0.002),
    ("gaussian", 0.5, 0.05),
    ("discretized-logistic", None, 0.002),
]
IMAGE_STEP_SIZES = {0.05: 0.15, 0.002: 0.004}
"""The longer steps that one image's chain bears, by those of the whole batch in `CASES`."""
KINDS = ["image", "gaussian", "whitened", "plain", "vae", "iwae", "hoffman", "frozen"]


class Frozen(torch.optim.SGD):
    """Leaves the weights alone, so that the gradients of an iteration can be read."""

    def __init__(self, model: LAE) -> None:
        super().__init__(model.parameters(), lr=0.0)


def small_model(
    likelihood: str,
    dtype: torch.dtype,
    scale: float | None = None,
    *,
    gaussian_start: bool = False,
) -> LAE:
    torch.manual_seed(1)
    model = LAE(
        MLP(20, 16, None),
        MLP(3, 16, 20),
        make_likelihood(likelihood, scale),
        feature_dim=16,
        latent_dim=3,
        gaussian_start=gaussian_start,
    ).to(dtype)
    for p in model.parameters():
        p.data += 0.1 * torch.randn_like(p)
    return model


def images(dtype: torch.dtype, n: int = 10, seed: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, 20), generator=generator).to(dtype) / 255


def small_vae(likelihood: str, *, explicit: bool, dtype: torch.dtype = torch.float64) -> VAE:
    torch.manual_seed(1)
    model = mlp_vae(20, 3, 16, make_likelihood(likelihood)).to(dtype)
    for p in model.parameters():
        p.data += 0.1 * torch.randn_like(p)
    if not explicit:
        model.encoder, model.decoder = nn.Sequential(model.encoder), nn.Sequential(model.decoder)
    return model


def step_by_formula(
    at: Callable[[Tensor], tuple[Tensor, Tensor]],
    z: Tensor,
    rng: Tensor,
    step_size: float,
    *,
    mh: bool = True,
) -> tuple[Tensor, Tensor]:
    """A Langevin step of every row as in the textbook, with the kernels' noise.

    ``at`` gives V and its gradient. Returns the new rows, and which of them accepted.
    """
    value, grad = at(z)
    noise = chains_ref.normal(z.shape, rng, z.dtype)
    proposal = z - step_size * grad + math.sqrt(2 * step_size) * noise
    new_value, new_grad = at(proposal)
    reverse = (z - proposal + step_size * new_grad).square().sum(1)
    log_ratio = value - new_value - reverse / (4 * step_size) + noise.square().sum(1) / 2
    uniforms = chains_ref.uniforms(len(z), rng)
    accepted = torch.log(uniforms) < log_ratio if mh else torch.ones(len(z), dtype=torch.bool)
    rng[1] += 1
    return torch.where(accepted[:, None], proposal, z), accepted


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def trainer_of(model: LAE, device: str = "cpu") -> LAETrainer:
    adam = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True, capturable=device == "cuda")
    return LAETrainer(model, adam, ald.make_rng(3, torch.device(device)), MANY_STEPS, 0.02, 0.1)


def other_trainer(
    kind: str, likelihood: str, device: str = "cpu", dtype: torch.dtype = torch.float32
) -> Learner:
    is_vae = kind in ("vae", "iwae", "hoffman")
    model: nn.Module = (
        small_vae(likelihood, explicit=True, dtype=dtype)
        if is_vae
        else small_model(likelihood, dtype, gaussian_start=kind == "gaussian")
    )
    model.to(device)
    if kind in ("image", "gaussian"):
        return trainer_of(model, device)
    cuda, rng = device == "cuda", ald.make_rng(3, device)
    adam = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True, capturable=cuda)
    match kind:
        case "vae":
            return VAETrainer(model, adam, rng)
        case "iwae":
            return IWAETrainer(model, adam, rng, 3)
        case "hoffman":
            return HoffmanTrainer(model, adam, rng, MANY_STEPS, 0.02)
        case "frozen":
            return FrozenTrainer(model, adam)
    damping = 0.1 if kind == "whitened" else None
    return LAETrainer(model, adam, rng, MANY_STEPS, 1e-3, damping, accept="batch")
