"""Algorithm 1: samples of the posterior p(z_i | x_i) of a data set under a fixed decoder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lae_fast.devices import normal
from lae_fast.sampling import ald
from lae_fast.sampling import rows as langevin
from lae_fast.sampling.adaptation import DualAveraging
from lae_fast.sampling.whitening import Coordinates, make_coordinates

CHAIN_SEED_STRIDE = 0x9E3779B97F4A7C15 >> 1


@dataclass(frozen=True)
class Chains:
    """Result of `sample_posterior`.

    Attributes:
        latents: draws of z after warm-up, ``(chains, draws, n, d_z)``.
        accept_rate: share of proposals taken after warm-up, one a chain.
        accept_prob: mean of min(1, a) after warm-up, one a chain.
        step_size: eta after warm-up, one a chain.
    """

    latents: Tensor
    accept_rate: tuple[float, ...]
    accept_prob: tuple[float, ...]
    step_size: tuple[float, ...]


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
) -> Chains:
    """Run amortized Langevin dynamics on phi and return the latents it visits.

    When the features have full row rank (n <= d_h), Metropolis-Hastings makes the stationary law
    of z exactly the product of the posteriors; otherwise z is confined to the features' span.

    Args:
        nll: maps z ``(n, d_z)`` to ``-log p(x_i | z_i)``, ``(n,)``; differentiable.
        features: h, ``(n, d_h)``, float32 or float64.
        latent_dim: d_z.
        draws: kept states a chain.
        warmup: steps before them, dropped; with ``step_size=None`` they adapt it.
        thin: Langevin steps a kept state.
        chains: independent chains.
        step_size: eta, or None to adapt it towards ``target_accept`` during warm-up and freeze it.
        temperature: tau; the law is that of ``exp(-V / tau)``.
        prior: whether V includes ``||z||^2 / 2``.
        mh: accept/reject; without it the law is off by O(eta).
        whiten: run in whitened coordinates (same law, faster mixing); ``damping`` as in
            `lae_fast.sampling.whitening.Whitened`.
        phi: starting point ``(d_z, d_h)``, or one a chain ``(chains, d_z, d_h)``; by default z
            starts at standard normal draws.
        seed: of start and noise.

    Raises:
        ValueError: nothing to adapt with (``step_size=None`` and no warm-up), features that cannot
            be whitened, or a potential that is not finite at the start.
    """
    _check_adaptation(step_size, warmup)
    coordinates = make_coordinates(features, damping if whiten else None)
    if coordinates.check is not None and bool(coordinates.check.isnan()):
        raise ValueError("cannot whiten: the features are all zero or not finite")
    w = coordinates.features

    def potential(u: Tensor) -> tuple[Tensor, Tensor]:
        z = (w @ u.T).requires_grad_()
        with torch.enable_grad():
            value = nll(z).sum(dtype=torch.float64)
            if prior:
                value = value + 0.5 * z.square().sum(dtype=torch.float64)
        (grad,) = torch.autograd.grad(value, z)
        return value.detach(), grad.T @ w

    latents = features.new_empty(chains, draws, features.shape[0], latent_dim)
    rates, probs, etas = [], [], []
    for chain in range(chains):
        chain_seed = (seed + chain * CHAIN_SEED_STRIDE) % 2**63
        first = phi[chain] if phi is not None and phi.dim() == 3 else phi
        u = _start(coordinates, latent_dim, first, chain_seed)
        rng = ald.make_rng(chain_seed, features.device)
        state = ald.init(u, potential, rng, step_size or 0.01, temperature)
        _warm_up(state, potential, warmup, mh, target_accept if step_size is None else None)
        state.reset_info()
        for draw in range(draws):
            for _ in range(thin):
                ald.step(state, potential, mh=mh)
            torch.matmul(w, state.phi.T, out=latents[chain, draw])
        steps = max(1, draws * thin)
        rates.append(state.info.accepted_sum / steps)
        probs.append(state.info.accept_prob_sum / steps)
        etas.append(state.step_size)
    return Chains(latents, tuple(rates), tuple(probs), tuple(etas))


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
    precondition: bool = False,
    seed: int = 0,
) -> Chains:
    """Sample every posterior p(z_i | x_i) by Langevin chains of its own, all advanced together.

    This is Algorithm 1 in data coordinates: the law is that of `sample_posterior` for features of
    full row rank, whatever the features, and each image accepts on its own.

    Args:
        nll: maps z ``(n, d_z)`` to ``-log p(x_i | z_i)``, ``(n,)``; differentiable.
        start: z around which the chains start, ``(n, d_z)``, or one a chain ``(chains, n, d_z)``.
        draws, warmup, thin, chains, step_size, target_accept, temperature, prior, mh: as in
            `sample_posterior`.
        spread: standard deviation of the starts around ``start``; wider than the posterior, so
            that split R-hat can tell chains that have not forgotten their start.
        precondition: let the warm-up estimate a covariance for every image and run its chain where
            that is the identity, so that one step size, then in units of the posteriors' own
            variances, serves narrow and wide posteriors alike.
        seed: of starts and noise.

    Raises:
        ValueError: as in `sample_posterior`.
    """
    _check_adaptation(step_size, warmup)
    n, d = start.shape[-2:]

    def potential(z: Tensor) -> tuple[Tensor, Tensor]:
        z = z.detach().requires_grad_()
        with torch.enable_grad():
            values = torch.cat([nll(part) for part in torch.split(z, n)]).double()
            if prior:
                values = values + 0.5 * z.square().sum(1, dtype=torch.float64)
        (grad,) = torch.autograd.grad(values.sum(), z)
        return values.detach(), grad

    noise = normal((chains * n, d), torch.Generator().manual_seed(seed), start)
    z = start.expand(chains, n, d).reshape(chains * n, d) + spread * noise
    rows = _Rows(potential, z, ald.make_rng(seed, z.device), step_size, temperature, mh)
    if precondition:
        for share in WINDOWS:
            rows.adapt(int(warmup * share / 2), target_accept)
            rows.rescale(rows.covariance(int(warmup * share / 2), chains))
        warmup = int(warmup * (1 - sum(WINDOWS)))
    rows.adapt(warmup, target_accept)
    state = rows.state
    state.info.values.zero_()
    latents = start.new_empty(chains, draws, n, d)
    for draw in range(draws):
        rows.walk(thin)
        latents[:, draw] = rows.z.view(chains, n, d)
    steps = max(1, draws * thin)
    rate, prob = state.info.accepted_sum / steps, state.info.accept_prob_sum / steps
    eta = float(state.step_sizes[0])
    return Chains(latents, (rate,) * chains, (prob,) * chains, (eta,) * chains)


WINDOWS = (0.1, 0.2, 0.3)
"""Shares of the warm-up after which covariances are estimated, each time from better chains."""


class _Rows:
    """Chains that are rows of ``z_i = L_i u_i``, and the Langevin chain of u.

    The maps' Jacobians are constant, so the law of z does not depend on them.
    """

    def __init__(
        self,
        potential: langevin.RowPotential,
        z: Tensor,
        rng: Tensor,
        step_size: float | None,
        temperature: float,
        mh: bool,
    ) -> None:
        self._of_z, self.rng, self.temperature, self.mh = potential, rng, temperature, mh
        self.fixed = step_size is not None
        eta = step_size or 0.01 * temperature
        self.sizes = z.new_full((z.shape[1],), eta, dtype=torch.float64)
        self.factor = torch.eye(z.shape[1], dtype=z.dtype, device=z.device)
        self._start(z)

    @property
    def z(self) -> Tensor:
        return self._of_u(self.state.x)

    def potential(self, u: Tensor) -> tuple[Tensor, Tensor]:
        values, grad = self._of_z(self._of_u(u))
        return values, (grad.unsqueeze(1) @ self.factor).squeeze(1)

    def walk(self, steps: int) -> None:
        for _ in range(steps):
            langevin.step(self.state, self.potential, mh=self.mh)

    def adapt(self, steps: int, target: float) -> None:
        """Walk, and settle on a step size that accepts as often as ``target``."""
        if self.fixed:
            return self.walk(steps)
        eta = DualAveraging(0.01 * self.temperature, target)
        for _ in range(steps):
            info = langevin.step(self.state, self.potential, mh=self.mh)
            self.state.set_step_sizes(self.sizes.fill_(eta.update(info.accept_prob)))
        self.state.set_step_sizes(self.sizes.fill_(eta.freeze()))
        return None

    def covariance(self, steps: int, chains: int) -> Tensor:
        """Walk; the covariance of z within chains, common to the chains of an image.

        Shrunk towards its diagonal, since draws are few and resemble each other.
        """
        draws = torch.stack([self._next() for _ in range(max(2, steps))])
        centred = (draws - draws.mean(0)).view(len(draws), chains, -1, draws.shape[-1])
        cov = torch.einsum("tcni,tcnj->nij", centred, centred) / (len(draws) * chains)
        variance = cov.diagonal(dim1=1, dim2=2)
        share = len(draws) / (len(draws) + 10.0 * draws.shape[-1])
        least = 1e-6 * float(variance.mean())
        diagonal = torch.diag_embed((1 - share) * variance + least)
        return (share * cov + diagonal).repeat(chains, 1, 1)

    def rescale(self, covariance: Tensor) -> None:
        """Go on from the same z in coordinates in which this is the identity."""
        z, self.factor = self.z, torch.linalg.cholesky(covariance)
        self._start(z)

    def _of_u(self, u: Tensor) -> Tensor:
        return (self.factor @ u.unsqueeze(2)).squeeze(2)

    def _next(self) -> Tensor:
        self.walk(1)
        return self.z

    def _start(self, z: Tensor) -> None:
        u = torch.linalg.solve_triangular(self.factor, z.unsqueeze(2), upper=False).squeeze(2)
        self.state = langevin.init(u, self.potential, self.rng, self.sizes, self.temperature)


def _check_adaptation(step_size: float | None, warmup: int) -> None:
    if step_size is None and warmup < 1:
        raise ValueError("adapting the step size needs warm-up steps: pass warmup or step_size")


def _start(coordinates: Coordinates, latent_dim: int, phi: Tensor | None, seed: int) -> Tensor:
    if phi is not None:
        return coordinates.to_chain(phi)
    w = coordinates.features
    z = normal((len(w), latent_dim), torch.Generator().manual_seed(seed), w)
    # The u of least norm with w u^T = z where the features allow it, else the nearest.
    u: Tensor = torch.linalg.pinv(w) @ z
    return u.T.contiguous()


def _warm_up(
    state: ald.State, potential: ald.Potential, steps: int, mh: bool, target: float | None
) -> None:
    adaptation = None if target is None else DualAveraging(state.step_size, target)
    for _ in range(steps):
        before = state.info.accept_prob_sum
        info = ald.step(state, potential, mh=mh)
        if adaptation is not None:
            state.set_step_size(adaptation.update(info.accept_prob_sum - before))
    if adaptation is not None:
        state.set_step_size(adaptation.freeze())
