"""Algorithm 1: samples of the posterior p(z_i | x_i) of a data set under a fixed decoder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lae_fast import progress
from lae_fast.ops.devices import normal
from lae_fast.progress import Report
from lae_fast.sampling import ald
from lae_fast.sampling.adaptation import DualAveraging
from lae_fast.sampling.whitening import make_coordinates

WINDOWS = (0.1, 0.2, 0.3)
"""Shares of the warm-up after which covariances are estimated, each time from better chains."""
FIRST_STEP_SIZE = 0.01
"""Where adaptation starts, times the temperature."""


@dataclass(frozen=True)
class Chains:
    """Draws from the posteriors, and how the chains that drew them behaved after warm-up.

    Attributes:
        latents: draws of z, ``(chains, draws, n, d_z)``.
        accept_rate: share of proposals taken.
        accept_prob: mean of min(1, a), which equals it on average.
        step_size: eta, the same for all chains.
    """

    latents: Tensor
    accept_rate: float
    accept_prob: float
    step_size: float


def sample_posterior(
    nll: Callable[[Tensor], Tensor],
    features: Tensor,
    latent_dim: int,
    *,
    draws: int,
    warmup: int = 0,
    thin: int = 1,
    chains: int = 4,
    step_size: float | None = None,
    target_accept: float = 0.574,
    temperature: float = 1.0,
    prior: bool = True,
    mh: bool = True,
    whiten: bool = True,
    damping: float = 1e-3,
    phi: Tensor | None = None,
    seed: int = 0,
    report: Report | None = None,
) -> Chains:
    """Run amortized Langevin dynamics on phi and return the latents that it visits.

    When the features have full row rank (n <= d_h), Metropolis-Hastings makes the stationary law
    of z exactly the product of the posteriors. Otherwise z is confined to the features' span.

    Args:
        nll: maps z ``(n, d_z)`` to ``-log p(x_i | z_i)``, ``(n,)``; differentiable.
        features: h, ``(n, d_h)``, float32 or float64.
        latent_dim: d_z.
        draws: states to keep per chain.
        warmup: steps before them, dropped; with ``step_size=None`` they adapt it.
        thin: Langevin steps per kept state.
        chains: independent chains of phi.
        step_size: eta, or None to adapt it towards ``target_accept`` during warm-up and freeze it.
        temperature: tau; the law is that of ``exp(-V / tau)``.
        prior: whether V includes ``||z||^2 / 2``.
        mh: accept/reject; without it the law is off by O(eta).
        whiten: run in whitened coordinates (same law, faster mixing); ``damping`` as in
            `lae_fast.sampling.whitening.Whitened`.
        phi: starting point ``(d_z, d_h)``, or one per chain ``(chains, d_z, d_h)``; by default z
            starts at standard normal draws.
        seed: of start and noise.
        report: is told the share of the steps that is done, from 0 to 1.

    Raises:
        ValueError: nothing to adapt with (``step_size=None`` and no warm-up), features that cannot
            be whitened, or a potential that is not finite at the start.
    """
    _check_adaptation(step_size, warmup)
    coordinates = make_coordinates(features, damping if whiten else None)
    if coordinates.check is not None and bool(coordinates.check.isnan()):
        raise ValueError("cannot whiten: the features are all zero or not finite")
    w = coordinates.features
    n, width = w.shape

    def latents(u: Tensor) -> Tensor:
        return w @ u.view(chains, latent_dim, width).mT

    def potential(u: Tensor) -> tuple[Tensor, Tensor]:
        values, grad = _evaluate(nll, latents(u), prior)
        return values.sum(1), (grad.mT @ w).view(chains, -1)

    if phi is not None:
        u = coordinates.to_chain(phi).expand(chains, latent_dim, width)
    else:
        z = normal((chains, n, latent_dim), torch.Generator().manual_seed(seed), w)
        # The u of least norm with w u^T = z where the features allow it, else the nearest.
        u = (torch.linalg.pinv(w) @ z).mT
    # Contiguous: a start that all chains share is one row of memory until it is copied.
    u = u.reshape(chains, -1).contiguous()
    with progress.heard(report):
        warming, drawing = progress.parts(warmup, draws * thin)
        rows = _Rows(potential, u, seed, step_size, temperature, mh)
        with warming:
            rows.adapt(warmup, target_accept)
        with drawing:
            return rows.draw(draws, thin, latents)


def sample_per_image(
    nll: Callable[[Tensor], Tensor],
    start: Tensor,
    *,
    draws: int,
    warmup: int = 0,
    thin: int = 1,
    chains: int = 4,
    step_size: float | None = None,
    target_accept: float = 0.574,
    temperature: float = 1.0,
    prior: bool = True,
    mh: bool = True,
    spread: float = 1.0,
    scale: Tensor | None = None,
    precondition: bool = False,
    seed: int = 0,
    report: Report | None = None,
) -> Chains:
    """Sample every posterior p(z_i | x_i) by Langevin chains of its own, all advanced together.

    This is Algorithm 1 in data coordinates. The law is that of `sample_posterior` for features of
    full row rank, whatever the features, and each image accepts on its own.

    Args:
        nll: maps z ``(n, d_z)`` to ``-log p(x_i | z_i)``, ``(n,)``; differentiable.
        start: z around which the chains start, ``(n, d_z)``, or one per chain ``(chains, n, d_z)``.
        draws, warmup, thin, chains, step_size, target_accept, temperature, prior, mh: as in
            `sample_posterior`.
        spread: standard deviation of the starts around ``start``; wider than the posterior, so
            that split R-hat can tell chains that have not forgotten their start.
        scale: run each chain on ``z / scale``, ``(n, d_z)``; the step size is in those units.
        precondition: let the warm-up estimate a covariance per image and run each image's chain
            where that covariance is the identity, so that one step size, then in units of the
            posteriors' own variances, serves narrow and wide posteriors alike.
        seed: of starts and noise.
        report: as in `sample_posterior`.

    Raises:
        ValueError: as in `sample_posterior`.
    """
    _check_adaptation(step_size, warmup)
    n, d = start.shape[-2:]

    def latents(z: Tensor) -> Tensor:
        return z.view(chains, n, d)

    def potential(z: Tensor) -> tuple[Tensor, Tensor]:
        values, grad = _evaluate(nll, latents(z), prior)
        return values.view(-1), grad.view(-1, d)

    noise = normal((chains * n, d), torch.Generator().manual_seed(seed), start)
    z = start.expand(chains, n, d).reshape(chains * n, d) + spread * noise
    factor = None if scale is None else torch.diag_embed(scale).repeat(chains, 1, 1)
    windows = WINDOWS if precondition else ()
    last = int(warmup * (1 - sum(windows)))
    with progress.heard(report):
        *warming, settling, drawing = progress.parts(
            *(warmup * share for share in windows), last, draws * thin
        )
        rows = _Rows(potential, z, seed, step_size, temperature, mh, factor)
        for share, window in zip(windows, warming, strict=True):
            with window:
                rows.adapt(int(warmup * share / 2), target_accept)
                rows.precondition(int(warmup * share / 2), chains)
        with settling:
            rows.adapt(last, target_accept)
        with drawing:
            return rows.draw(draws, thin, latents)


def _check_adaptation(step_size: float | None, warmup: int) -> None:
    if step_size is None and warmup < 1:
        raise ValueError("adapting the step size needs warm-up steps: pass warmup or step_size")


def _evaluate(nll: Callable[[Tensor], Tensor], z: Tensor, prior: bool) -> tuple[Tensor, Tensor]:
    """V, float64 ``(chains, n)``, and its gradient at z ``(chains, n, d_z)``."""
    z = z.detach().requires_grad_()
    with torch.enable_grad():
        values = torch.stack([nll(part) for part in z]).double()
        if prior:
            values = values + 0.5 * z.square().sum(2, dtype=torch.float64)
    (grad,) = torch.autograd.grad(values.sum(), z)
    return values.detach(), grad


class _Rows:
    """Chains that are the rows of a tensor x, in coordinates u with ``x_i = L_i u_i``.

    `precondition` sets L_i anew. The maps' Jacobians are constant, so the law of x does not depend
    on them.

    Args:
        potential: V of x ``(rows, d)`` and its gradient.
        x: the start.
        seed: of the noise.
        step_size: eta, or None to adapt it.
        temperature: tau.
        mh: whether to accept and reject.
        factor: L, lower triangular, ``(rows, d, d)``; None for the identity.
    """

    def __init__(
        self,
        potential: ald.Potential,
        x: Tensor,
        seed: int,
        step_size: float | None,
        temperature: float,
        mh: bool,
        factor: Tensor | None = None,
    ) -> None:
        self._of_x, self.temperature, self.mh = potential, temperature, mh
        self.rng = ald.make_rng(seed, x.device)
        self.adapts = step_size is None
        self.step_size = step_size or FIRST_STEP_SIZE * temperature
        self.factor = factor
        self._start(x)

    @property
    def x(self) -> Tensor:
        return self._of_u(self.state.x)

    def walk(self, steps: int) -> None:
        for _ in range(steps):
            ald.step(self.state, self._potential, mh=self.mh)

    def adapt(self, steps: int, target: float) -> None:
        """Walk, and settle on a step size that accepts as often as ``target``."""
        if not self.adapts:
            return self.walk(steps)
        averaging = DualAveraging(FIRST_STEP_SIZE * self.temperature, target)
        for _ in progress.steps(range(steps)):
            info = ald.step(self.state, self._potential, mh=self.mh)
            self.state.set_step_size(averaging.update(info.accept_prob))
        self.step_size = averaging.freeze()
        return self.state.set_step_size(self.step_size)

    def draw(self, draws: int, thin: int, latents: Callable[[Tensor], Tensor]) -> Chains:
        """Walk, and keep the latents ``(chains, n, d_z)`` of every ``thin``-th state."""
        info = self.state.info
        info.reset()
        chains, *shape = latents(self.x).shape
        kept = self.state.x.new_empty(chains, draws, *shape)
        for draw in progress.steps(range(draws)):
            self.walk(thin)
            kept[:, draw] = latents(self.x)
        steps = max(1, draws * thin)
        rate, prob = info.accepted_sum / steps, info.accept_prob_sum / steps
        return Chains(kept, rate, prob, self.step_size)

    def precondition(self, steps: int, chains: int) -> None:
        """Walk, and go on in coordinates in which each image's covariance is the identity."""
        draws = []
        for _ in range(max(2, steps)):
            self.walk(1)
            draws.append(self.x.clone())
        x = self.x
        covariance = _covariance(torch.stack(draws), chains)
        self.factor = torch.linalg.cholesky(covariance).repeat(chains, 1, 1)
        self._start(x)

    def _start(self, x: Tensor) -> None:
        u = x
        if self.factor is not None:
            u = torch.linalg.solve_triangular(self.factor, x.unsqueeze(2), upper=False).squeeze(2)
        self.state = ald.init(u, self._potential, self.rng, self.step_size, self.temperature)

    def _of_u(self, u: Tensor) -> Tensor:
        return u if self.factor is None else (self.factor @ u.unsqueeze(2)).squeeze(2)

    def _potential(self, u: Tensor) -> tuple[Tensor, Tensor]:
        values, grad = self._of_x(self._of_u(u))
        if self.factor is not None:
            grad = (grad.unsqueeze(1) @ self.factor).squeeze(1)
        return values, grad


def _covariance(draws: Tensor, chains: int) -> Tensor:
    """Covariance of each image's latents within chains, ``(n, d_z, d_z)``.

    Shrunk towards its diagonal, since draws are few and resemble each other.

    Args:
        draws: ``(steps, chains n, d_z)``.
        chains: how many of them each image has; their draws are pooled.
    """
    steps, _, d = draws.shape
    centred = (draws - draws.mean(0)).view(steps, chains, -1, d)
    cov = torch.einsum("tcni,tcnj->nij", centred, centred) / (steps * chains)
    variance = cov.diagonal(dim1=1, dim2=2)
    share = steps / (steps + 10.0 * d)
    least = 1e-6 * float(variance.mean())
    return share * cov + torch.diag_embed((1 - share) * variance + least)
