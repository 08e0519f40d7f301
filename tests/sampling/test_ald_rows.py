"""Row-wise chains against laws known in closed form."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from helpers.exact_targets import linear_gaussian, worst_z_scores
from lae_fast import ops
from lae_fast.ops import chains_ref
from lae_fast.sampling import ald
from lae_fast.sampling.diagnostics import effective_sample_size, split_rhat
from lae_fast.sampling.posterior import Chains, sample_per_image

THRESHOLD = 4.5
"""At most 30 scores: a false alarm below 2.1e-4 a test."""


def per_image(seed: int, draws: int = 3000, **settings: object) -> tuple[Chains, float, float]:
    target = linear_gaussian(seed)
    start = torch.zeros(3, 2, dtype=torch.float64)
    chains = sample_per_image(
        target.nll, start, draws=draws, warmup=600, chains=2, seed=seed, **settings
    )
    return chains, *worst_z_scores(chains.latents, target.mean, target.cov)[:2]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_row_samples_its_own_posterior(seed: int) -> None:
    chains, first, second = per_image(seed)
    assert max(first, second) < THRESHOLD
    assert split_rhat(chains.latents).max() < 1.05
    assert 0.45 < chains.accept_prob < 0.7


@pytest.mark.parametrize("seed", [0, 1])
def test_scaled_coordinates_keep_every_posterior(seed: int) -> None:
    scale = torch.tensor([[0.3, 1.0], [0.5, 0.5], [1.2, 0.2]], dtype=torch.float64)
    chains, first, second = per_image(seed, draws=6000, scale=scale)
    assert max(first, second) < THRESHOLD
    plain, _, _ = per_image(seed, draws=2)
    assert chains.step_size > 1.5 * plain.step_size  # in units of the scale


def test_step_sizes_may_differ_between_dimensions() -> None:
    target = linear_gaussian(4)
    sizes = torch.tensor([0.03, 0.2], dtype=torch.float64)
    draws = torch.empty(1, 6000, 3, 2, dtype=torch.float64)

    def potential(z: Tensor) -> tuple[Tensor, Tensor]:
        grad = (z @ target.weight.T - target.x) @ target.weight / target.scale**2 + z
        return target.nll(z) + z.square().sum(1) / 2, grad

    chol = torch.linalg.cholesky(target.cov)
    noise = torch.randn(3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    state = ald.init(target.mean + noise @ chol.T, potential, ald.make_rng(4), sizes)
    for t in range(draws.shape[1]):
        ald.step(state, potential)
        draws[0, t] = state.x
    assert max(worst_z_scores(draws, target.mean, target.cov)[:2]) < THRESHOLD


def test_without_mh_the_law_is_biased_by_the_step_size() -> None:
    """The variance of unadjusted Langevin dynamics on N(0, s^2) is s^2 / (1 - eta / (2 s^2))."""
    errors = []
    for step_size in (0.4, 0.1):
        rows = 4000
        x = torch.randn(rows, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        sizes = torch.tensor([step_size], dtype=torch.float64)

        def normal(z: Tensor) -> tuple[Tensor, Tensor]:
            return z.square().sum(1) / 2, z.clone()

        state = ald.init(x, normal, ald.make_rng(0), sizes)
        total = 0.0
        for t in range(300):
            ald.step(state, normal, mh=False)
            total += float(state.x.var()) if t >= 100 else 0.0
        assert total / 200 == pytest.approx(1 / (1 - step_size / 2), rel=0.03)
        errors.append(total / 200 - 1)
    assert errors[0] > 3 * errors[1] > 0


def test_a_wrong_log_ratio_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the drift's part of the ratio the chain samples another law."""

    def careless(
        x: Tensor,
        grad: Tensor,
        potential: Tensor,
        proposal: Tensor,
        new_grad: Tensor,
        new_potential: Tensor,
        rng: Tensor,
        accepted: Tensor,
        *rest: Any,
        **outputs: object,
    ) -> None:
        decision = (rng, accepted, *rest)
        chains_ref.ald_step_rows_(x, grad, potential, proposal, -grad, new_potential, *decision)
        grad.copy_(torch.where(accepted[:, None], new_grad, grad))

    monkeypatch.setattr(ops, "step_rows_", careless)
    _, first, second = per_image(0)
    assert max(first, second) > 1.5 * THRESHOLD


def test_a_row_whose_proposal_is_not_finite_stays_and_the_others_move() -> None:
    def wall(z: Tensor) -> tuple[Tensor, Tensor]:
        values = z.double().square().sum(1) / 2
        return torch.where(torch.arange(len(z)) == 1, math.nan, values), z.clone()

    sizes = torch.tensor([0.01, 0.01], dtype=torch.float64)
    with pytest.raises(ValueError, match="not finite"):
        ald.init(torch.zeros(3, 2), wall, ald.make_rng(0), sizes)

    def fine(z: Tensor) -> tuple[Tensor, Tensor]:
        return z.double().square().sum(1) / 2, z.clone()

    state = ald.init(torch.zeros(3, 2), fine, ald.make_rng(0), sizes)
    ald.step(state, wall)
    assert state.accepted.tolist()[1] is False
    assert bool((state.x[1] == 0).all())
    assert bool((state.x[[0, 2]] != 0).any())
    assert bool(torch.isfinite(state.proposal).all())


def test_adapting_without_warmup_is_refused() -> None:
    with pytest.raises(ValueError, match="warm-up"):
        sample_per_image(lambda z: z.square().sum(1), torch.zeros(2, 2), draws=10)


def test_preconditioned_chains_mix_where_one_step_size_cannot_and_sample_the_same_law() -> None:
    """Posteriors of scales 1 and 0.01, one of them slanted.

    Means and variances within 5 standard errors: fails one seed in 1e5.
    """
    maps = torch.tensor(
        [[[1.0, 0.0], [0.0, 0.01]], [[0.01, 0.0], [0.0, 1.0]], [[0.5, 0.0], [0.4, 0.2]]],
        dtype=torch.float64,
    )
    precisions = torch.linalg.inv(maps @ maps.mT)

    def nll(z: Tensor) -> Tensor:
        return 0.5 * torch.einsum("ni,nij,nj->n", z, precisions, z)

    def chains(precondition: bool) -> Chains:
        return sample_per_image(
            nll,
            torch.zeros(3, 2, dtype=torch.float64),
            draws=1000,
            warmup=600,
            prior=False,
            seed=2,
            precondition=precondition,
        )

    plain, scaled = chains(False), chains(True)
    assert split_rhat(plain.latents).max() > 1.2
    assert split_rhat(scaled.latents).max() < 1.05
    draws = scaled.latents.flatten(0, 1)
    size = torch.from_numpy(effective_sample_size(scaled.latents))
    variances = (maps @ maps.mT).diagonal(dim1=1, dim2=2)
    assert bool((draws.mean(0).abs() < 5 * (variances / size).sqrt()).all())
    # A variance's standard error is sqrt(2 / n) of it.
    assert bool(((draws.var(0) / variances - 1).abs() < 5 * (2 / size).sqrt()).all())
