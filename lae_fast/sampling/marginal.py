"""Held-out log-likelihood on equal terms, for any decoder: importance sampling and AIS.

Both estimate ``log p(x_i)`` of the model ``z ~ N(0, I), x | z ~ p(. | decoder(z))``, whatever
trained it, so that models are compared by what they generate and not by their own bounds. In
expectation both are lower bounds of the truth, and tighter with more samples. For images that the
model drew itself, AIS backwards gives an upper bound, too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from lae_fast import progress
from lae_fast.ops.devices import normal
from lae_fast.sampling import ald
from lae_fast.sampling.adaptation import DualAveraging

REFINE_STEPS, TEMPERATURES, CHAINS = 200, 500, 4
"""Defaults: steps that refine a proposal, rises of the temperature, estimates that are averaged."""
BACKWARD = 3
"""How many times as long an evaluation with its gradient takes as one without."""
Nll = Callable[[Tensor], Tensor]
"""Maps z ``(n, d_z)`` to -log p(x_i | z_i), ``(n,)``, nats; differentiable."""


@dataclass(frozen=True)
class Estimate:
    """Estimates of -log p(x_i).

    Attributes:
        nll: ``(n,)``, nats per image.
        effective: share of the samples that carry the estimate, ``(n,)``; near 0 is a warning.
    """

    nll: Tensor
    effective: Tensor

    @property
    def mean(self) -> float:
        """Mean over images, nats."""
        return float(self.nll.mean())

    @property
    def standard_error(self) -> float:
        """Of the mean, over images."""
        return float(self.nll.std()) / math.sqrt(len(self.nll))


@dataclass(frozen=True)
class GaussianProposal:
    """A diagonal Gaussian for every image: ``mean`` and ``std``, each ``(n, d_z)``."""

    mean: Tensor
    std: Tensor


def refine_proposal(
    nll: Nll,
    start: Tensor,
    *,
    steps: int = REFINE_STEPS,
    learning_rate: float = 0.05,
    seed: int = 0,
) -> GaussianProposal:
    """Fit each image's Gaussian to its posterior by maximising its own evidence lower bound.

    That removes the amortisation gap of the encoder that gave ``start`` ``(n, d_z)``, so models
    with good and bad encoders are judged by their decoders alone.
    """
    generator = torch.Generator().manual_seed(seed)
    mean = start.detach().clone().requires_grad_()
    log_std = torch.full_like(mean, -1.5).requires_grad_()
    optimizer = torch.optim.Adam([mean, log_std], lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in progress.steps(range(steps)):
        z = mean + torch.exp(log_std) * normal(mean.shape, generator, mean)
        loss = (nll(z) + 0.5 * z.square().sum(1) - log_std.sum(1)).sum()
        mean.grad, log_std.grad = torch.autograd.grad(loss, [mean, log_std])
        optimizer.step()
        schedule.step()
    return GaussianProposal(mean.detach(), torch.exp(log_std.detach()))


def refined_importance_sampling(
    batches: Iterable[tuple[Nll, Tensor]],
    *,
    samples: int,
    refine_steps: int = REFINE_STEPS,
    seed: int = 0,
) -> Estimate:
    """-log p(x_i) of all batches' images by importance sampling with refined proposals.

    Args:
        batches: of images: their -log p(x_i | z_i), and the ``start`` for `refine_proposal`.
        samples: draws per image.
        refine_steps: steps for which each image's proposal is refined.
        seed: of the draws, the same for every batch.
    """
    found = []
    for conditional, start in batches:
        refining, sampling = progress.parts(BACKWARD * refine_steps, samples)
        with refining:
            proposal = refine_proposal(conditional, start, steps=refine_steps, seed=seed)
        with sampling:
            found.append(importance_sampling(conditional, proposal, samples=samples, seed=seed))
    nll, effective = torch.cat([p.nll for p in found]), torch.cat([p.effective for p in found])
    return Estimate(nll, effective)


@torch.no_grad()
def importance_sampling(
    nll: Nll,
    proposal: GaussianProposal,
    *,
    samples: int = 5000,
    widen: float = 1.2,
    seed: int = 0,
) -> Estimate:
    """-log p(x_i) by importance sampling (Burda et al. 2016, with a proposal per image).

    Args:
        nll: -log p(x_i | z_i).
        proposal: from `refine_proposal`.
        samples: draws per image.
        widen: factor on the proposal's standard deviation; a Gaussian fitted by its bound is
            narrower than the posterior, and too narrow a proposal has heavy-tailed weights.
        seed: of the draws.
    """
    generator = torch.Generator().manual_seed(seed)
    mean, std = proposal.mean, proposal.std * widen
    log_std = torch.log(std).sum(1)
    total = torch.full((len(mean),), -math.inf, dtype=torch.float64, device=mean.device)
    square = total.clone()
    for _ in progress.steps(range(samples)):
        noise = normal(mean.shape, generator, mean)
        z = mean + std * noise
        log_ratio = 0.5 * (noise.square() - z.square()).sum(1) + log_std - nll(z)
        total = torch.logaddexp(total, log_ratio.double())
        square = torch.logaddexp(square, 2 * log_ratio.double())
    effective = torch.exp(2 * total - square) / samples
    return Estimate(math.log(samples) - total, effective)


def annealed_importance_sampling(
    nll: Nll,
    shape: tuple[int, int],
    *,
    temperatures: int = TEMPERATURES,
    chains: int = CHAINS,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Estimate:
    """-log p(x_i) by AIS (Neal 2001) with Langevin transitions, from the prior to the posterior.

    At inverse temperature ``b`` the law is ``exp(-b nll(z) - ||z||^2 / 2)``; ``b`` rises along a
    sigmoid (Wu et al. 2017) and each rise is followed by one Metropolis-adjusted Langevin step. Its
    size at each temperature is that of a chain that came before, and adapted it to its acceptance.

    Args:
        nll: -log p(x_i | z_i).
        shape: ``(n, d_z)``.
        temperatures: rises of b.
        chains: independent estimates per image, averaged on the scale of p(x).
        seed: of the draws.
        dtype: of z.
        device: where to compute.
    """
    like = torch.empty(0, dtype=dtype, device=device)
    log_weights = _Path(nll, temperatures).rises(shape, like, chains, seed)
    total = torch.logsumexp(log_weights, 0)
    effective = torch.exp(2 * total - torch.logsumexp(2 * log_weights, 0)) / chains
    return Estimate(math.log(chains) - total, effective)


@dataclass(frozen=True)
class Bounds:
    """Bounds of -log p(x_i), each in expectation, nats per image; both ``(n,)``."""

    lower: Tensor
    upper: Tensor


def bidirectional_bounds(
    nll: Nll, z: Tensor, *, temperatures: int = TEMPERATURES, chains: int = CHAINS, seed: int = 0
) -> Bounds:
    """-log p(x_i) of simulated images from both sides: bidirectional Monte Carlo.

    AIS from the prior to the posterior errs upwards. For an image that the model itself drew from a
    latent, that latent is an exact sample of its posterior, and AIS from there back to the prior
    errs downwards (Grosse et al. 2015). The truth lies between, and so does the error of AIS.

    Args:
        nll: -log p(x_i | z_i), of images drawn from p(x | z).
        z: the latents that they were drawn from, ``(n, d_z)``, themselves draws from the prior.
        temperatures, chains, seed: as in `annealed_importance_sampling`.
    """
    path = _Path(nll, temperatures)
    rising, falling = progress.parts(chains + 1, chains)
    with rising:
        up = path.rises(z.shape, z, chains, seed)
    # Other seeds: where both went the same way, their errors would not be independent.
    back = range(seed + chains + 1, seed + 2 * chains + 1)
    with falling:
        down = torch.stack([path.fall(z, chain) for chain in progress.steps(back)])
    return Bounds(
        lower=torch.logsumexp(-down, 0) - math.log(chains),
        upper=math.log(chains) - torch.logsumexp(up, 0),
    )


class _Path:
    """From the prior to the posterior and back, with the same transitions both ways.

    Args:
        nll: -log p(x_i | z_i).
        temperatures: rises of the inverse temperature.
    """

    def __init__(self, nll: Nll, temperatures: int) -> None:
        self.nll = nll
        grid = torch.sigmoid(torch.linspace(-4, 4, temperatures + 1, dtype=torch.float64))
        betas: list[float] = ((grid - grid[0]) / (grid[-1] - grid[0])).tolist()
        self.rungs = list(pairwise(betas))
        self.step_sizes: list[float] = []

    def rises(self, shape: Sequence[int], like: Tensor, chains: int, seed: int) -> Tensor:
        """`rise` from as many draws of the prior as there are chains, ``(chains, n)``.

        Args:
            shape: of the latents, ``(n, d_z)``.
            like: says which dtype and device.
            chains: how many, after one that finds the step sizes.
            seed: of the first chain; each has the next.
        """

        def prior(chain: int) -> Tensor:
            return normal(shape, torch.Generator().manual_seed(chain), like)

        adapting, rising = progress.parts(1, chains)
        with adapting:
            self.adapt(prior(seed + chains), seed + chains)
        own = progress.steps(range(seed, seed + chains))
        with rising:
            return torch.stack([self.rise(prior(k), k) for k in own])

    def adapt(self, z: Tensor, seed: int) -> None:
        """Find a step size for each temperature, on the way up from draws of the prior.

        They must not depend on the chains that are weighted: a step that has looked at where its
        chain went leaves its law unchanged no more.
        """
        step_size = DualAveraging(0.05, cap=1.0)
        rng, points = ald.make_rng(seed, z.device), _Points(self.nll, z)
        for _, beta in progress.steps(self.rungs):
            self.step_sizes.append(step_size.step_size)
            step_size.update(points.move(beta, step_size.step_size, rng))

    def rise(self, z: Tensor, seed: int) -> Tensor:
        """Log weights of chains from draws of the prior, float64 ``(n,)``: on average p(x_i)."""
        rng, points = ald.make_rng(seed, z.device), _Points(self.nll, z)
        log_weights = torch.zeros_like(points.values)
        rungs = zip(self.rungs, self.step_sizes, strict=True)
        for (before, after), step_size in progress.steps(rungs, len(self.rungs)):
            log_weights -= (after - before) * points.values
            points.move(after, step_size, rng)
        return log_weights

    def fall(self, z: Tensor, seed: int) -> Tensor:
        """Log weights of the reverse of `rise`, from the posterior: 1 / weight averages 1 / p(x_i).

        The steps are reversible, so backwards they are the same steps.
        """
        rng, points = ald.make_rng(seed, z.device), _Points(self.nll, z)
        log_weights = torch.zeros_like(points.values)
        rungs = zip(reversed(self.rungs), reversed(self.step_sizes), strict=True)
        for (before, after), step_size in progress.steps(rungs, len(self.rungs)):
            points.move(after, step_size, rng)
            log_weights -= (after - before) * points.values
        return log_weights


class _Points:
    """Latents ``(n, d_z)`` that move, with -log p(x_i | z_i) and its gradient."""

    def __init__(self, nll: Nll, z: Tensor) -> None:
        self.nll, self.z = nll, z.clone()
        self.values, self.grad = _value_and_grad(nll, self.z)

    def move(self, beta: float, step_size: float, rng: Tensor) -> float:
        """A step that leaves the law at ``beta`` as it is; the mean acceptance probability."""
        state = ald.begin(self.z, beta * self.values, beta * self.grad, rng, step_size, prior=1.0)
        values, grad = _value_and_grad(self.nll, state.proposal)
        info = ald.advance(state, beta * values, beta * grad)
        self.values = torch.where(state.accepted, values, self.values)
        self.grad = torch.where(state.accepted[:, None], grad, self.grad)
        return info.accept_prob


def _value_and_grad(nll: Nll, z: Tensor) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        values = nll(z)
    (grad,) = torch.autograd.grad(values.sum(), z)
    return values.detach().double(), grad
