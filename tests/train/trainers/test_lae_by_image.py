"""The trainer with a decision for every image, against the algorithm written out naively."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor

from helpers.small_trainers import (
    CASES,
    IMAGE_STEP_SIZES,
    STEPS,
    Frozen,
    gradients,
    images,
    small_model,
    step_by_formula,
)
from lae_fast.errors import TrainingError
from lae_fast.models.lae import LAE
from lae_fast.ops import chains_ref
from lae_fast.sampling import ald
from lae_fast.sampling.whitening import RidgeMap
from lae_fast.train.trainers.lae import LAETrainer
from lae_fast.train.trainers.passes import AutogradEvaluator, ExplicitEvaluator

DAMPING = 0.1


def naive(
    model: LAE, x: Tensor, rng: Tensor, step_size: float, *, mh: bool
) -> tuple[Tensor, Tensor, list[float]]:
    """Algorithm 2 image by image, textbook log-ratio, graphs of all retained states held.

    Returns the new phi, the mean potential, and the share of images accepted in each step.
    """
    features = model.encoder(x)
    h = features.detach()
    ridge = RidgeMap(h, DAMPING)(torch.eye(len(h), dtype=h.dtype))

    def at(z: Tensor) -> tuple[Tensor, Tensor]:
        z = z.detach().requires_grad_()
        value = model.likelihood.nll(model.decoder(z), x).double() + z.square().sum(1) / 2
        return value.detach(), torch.autograd.grad(value.sum(), z)[0]

    start = h @ model.phi.T
    z, total, shares = start, torch.zeros((), dtype=torch.float64), []
    for _ in range(STEPS):
        z, accepted = step_by_formula(at, z, rng, step_size, mh=mh)
        shares.append(float(accepted.double().mean()))
        # z as a function of theta and psi: phi_t h, with the residual held where it is.
        phi = model.phi + (z - start).T @ ridge
        point = (features - h) @ phi.T + z
        nll = model.likelihood.nll(model.decoder(point), x).double()
        total = total + (nll + point.square().sum(1) / 2).sum() / STEPS
    total.backward()
    return model.phi + (z - start).T @ ridge, total.detach(), shares


@pytest.mark.parametrize(("likelihood", "scale", "step_size"), CASES)
@pytest.mark.parametrize("mh", [True, False])
@pytest.mark.parametrize("evaluator", [ExplicitEvaluator, AutogradEvaluator])
def test_gradient_equals_autograd_of_the_written_out_objective(
    likelihood: str,
    scale: float | None,
    step_size: float,
    mh: bool,
    evaluator: type[ExplicitEvaluator] | type[AutogradEvaluator],
) -> None:
    """float64, 1e-10 relative to the largest gradient entry, rejected images among them."""
    model = small_model(likelihood, torch.float64, scale)
    x, eta = images(torch.float64), IMAGE_STEP_SIZES[step_size]
    plain, rng = copy.deepcopy(model), ald.make_rng(3)
    phi, mean_potential, shares = naive(plain, x, rng, eta, mh=mh)
    trainer = LAETrainer(
        model,
        Frozen(model),
        ald.make_rng(3),
        STEPS,
        eta,
        DAMPING,
        mh=mh,
        evaluator=evaluator(model.decoder, model.likelihood),
    )
    stats = trainer.iteration(x)
    assert 0.2 < stats.accept_prob < 1
    if mh:
        assert 0.2 < sum(shares) / STEPS < 0.95
    assert stats.accept_rate == pytest.approx(sum(shares) / STEPS)
    assert stats.loss * len(x) == pytest.approx(float(mean_potential), rel=1e-12)
    torch.testing.assert_close(model.phi, phi, rtol=1e-10, atol=1e-11)
    assert torch.equal(trainer.rng, rng)
    want, got = gradients(plain), gradients(model)
    assert got.keys() == want.keys()
    for name in want:
        bound = 1e-10 * float(want[name].abs().max()) + 1e-300
        assert float((got[name] - want[name]).abs().max()) <= bound, name


@pytest.mark.parametrize("evaluator", [ExplicitEvaluator, AutogradEvaluator])
def test_the_encoder_can_follow_the_potential_at_its_own_latents(
    evaluator: type[ExplicitEvaluator] | type[AutogradEvaluator],
) -> None:
    """The body's gradient is that of V(phi h); the decoder's, phi and figures are as ever."""
    first, second = (small_model("bernoulli", torch.float64) for _ in range(2))
    plain, x, stats = copy.deepcopy(first), images(torch.float64), []
    for model, where in ((first, "start"), (second, "chain")):
        trainer = LAETrainer(
            model,
            Frozen(model),
            ald.make_rng(3),
            STEPS,
            0.02,
            DAMPING,
            evaluator=evaluator(model.decoder, model.likelihood),
            encoder_gradient=where,
        )
        stats.append(trainer.iteration(x))
    z = plain.encoder(x) @ plain.phi.T
    value = plain.likelihood.nll(plain.decoder(z), x).sum() + z.square().sum() / 2
    value.backward()
    want, chain, got = gradients(plain), gradients(second), gradients(first)
    for name in got:
        wanted = want[name] if name.startswith("encoder") else chain[name]
        torch.testing.assert_close(got[name], wanted, rtol=1e-9, atol=1e-10)
    assert torch.equal(first.phi, second.phi)
    assert (stats[0].loss, stats[0].accept_rate) == (stats[1].loss, stats[1].accept_rate)


@pytest.mark.parametrize(("n", "width"), [(5, 9), (12, 7)])
def test_ridge_map_is_the_ridge_regression_of_a_move(n: int, width: int) -> None:
    generator = torch.Generator().manual_seed(0)
    h = torch.randn(n, width, dtype=torch.float64, generator=generator)
    move = torch.randn(n, 2, dtype=torch.float64, generator=generator)
    gram = h @ h.T
    shift = 0.1 * gram.diagonal().mean() * torch.eye(n, dtype=torch.float64)
    want = (torch.linalg.inv(gram + shift) @ move).T @ h
    torch.testing.assert_close(RidgeMap(h, 0.1)(move), want)


def test_without_damping_phi_takes_over_the_whole_move() -> None:
    """Full row rank: the latents after the batch are phi h, amortized Langevin dynamics proper."""
    model = small_model("bernoulli", torch.float64)
    x = images(torch.float64)[:6]
    plain = copy.deepcopy(model)
    h, start = model.encoder(x).detach(), model.encode(x).detach()
    trainer = LAETrainer(model, Frozen(model), ald.make_rng(3), 1, 0.1, 1e-12, mh=False)
    trainer.iteration(x)
    value = plain.likelihood.nll(plain.decoder(z := start.clone().requires_grad_()), x).sum()
    (grad,) = torch.autograd.grad(value + z.square().sum() / 2, z)
    noise = chains_ref.normal(start.shape, ald.make_rng(3), torch.float64)
    want = start - 0.1 * grad + math.sqrt(0.2) * noise
    torch.testing.assert_close(h @ model.phi.T, want, rtol=1e-6, atol=1e-6)


def test_a_potential_that_is_not_finite_stops_before_the_weights_are_touched() -> None:
    model = small_model("bernoulli", torch.float32)
    with torch.no_grad():
        model.decoder.last.bias[0] = torch.nan
    before = copy.deepcopy(model.state_dict())
    trainer = LAETrainer(
        model, torch.optim.Adam(model.parameters()), ald.make_rng(0), STEPS, 1e-3, DAMPING
    )
    with pytest.raises(TrainingError, match="not finite"):
        trainer.iteration(images(torch.float32))
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0, equal_nan=True)
