"""The trainer of Algorithm 2 against the algorithm written out naively."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from helpers.small_trainers import CASES, STEPS, Frozen, gradients, images, small_model
from lae_fast.errors import TrainingError
from lae_fast.models.lae import LAE
from lae_fast.models.likelihoods import Bernoulli, make_likelihood
from lae_fast.sampling import ald
from lae_fast.train.trainers.lae import LAETrainer
from lae_fast.train.trainers.passes import (
    AutogradEncoder,
    AutogradEvaluator,
    ExplicitEncoder,
    ExplicitEvaluator,
    make_encoder,
    make_evaluator,
)
from lae_fast.train.trainers.reference import counter_noise, naive_gradients


def trainer_for(model: LAE, step_size: float, **settings: object) -> LAETrainer:
    return LAETrainer(
        model=model,
        optimizer=Frozen(model),
        rng=ald.make_rng(3),
        steps=STEPS,
        step_size=step_size,
        accept="batch",
        **settings,
    )


@pytest.mark.parametrize(("likelihood", "scale", "step_size"), CASES)
@pytest.mark.parametrize("mh", [True, False])
@pytest.mark.parametrize("damping", [None, 0.1])
@pytest.mark.parametrize("evaluator", [ExplicitEvaluator, AutogradEvaluator])
def test_gradient_equals_autograd_of_the_written_out_objective(
    likelihood: str,
    scale: float | None,
    step_size: float,
    mh: bool,
    damping: float | None,
    evaluator: Callable[..., ExplicitEvaluator | AutogradEvaluator],
) -> None:
    """float64, 1e-10 relative to the largest gradient entry, rejected steps among them."""
    model = small_model(likelihood, torch.float64, scale)
    x = images(torch.float64)
    naive = copy.deepcopy(model)
    rng = ald.make_rng(3)
    phi, mean_potential, decisions = naive_gradients(
        naive, x, steps=STEPS, step_size=step_size, draw=counter_noise(rng), mh=mh, damping=damping
    )
    trainer = trainer_for(
        model,
        step_size,
        mh=mh,
        damping=damping,
        evaluator=evaluator(model.decoder, model.likelihood),
    )
    stats = trainer.iteration(x)
    assert stats.accept_rate == pytest.approx(sum(decisions) / STEPS)
    assert stats.loss * len(x) == pytest.approx(float(mean_potential), rel=1e-12)
    torch.testing.assert_close(model.phi, phi, rtol=1e-10, atol=1e-11)
    assert torch.equal(trainer.rng, rng)
    want = gradients(naive)
    got = gradients(model)
    assert got.keys() == want.keys()
    for name in want:
        bound = 1e-10 * float(want[name].abs().max()) + 1e-300
        assert float((got[name] - want[name]).abs().max()) <= bound, name


def test_the_cases_above_contain_rejected_and_accepted_steps() -> None:
    seen = []
    for likelihood, scale, step_size in CASES:
        model = small_model(likelihood, torch.float64, scale)
        seen += naive_gradients(
            model,
            images(torch.float64),
            steps=STEPS,
            step_size=step_size,
            draw=counter_noise(ald.make_rng(3)),
            damping=0.1,
        )[2]
    assert 0.2 < sum(seen) / len(seen) < 0.9


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian", "discretized-logistic"])
def test_float32_error_is_within_twice_autograds(likelihood: str) -> None:
    """Against float64 with the same weights; no decision may differ, so a tiny step size.

    In root mean square over several batches: that of one batch is a matter of luck, and of the
    processor's order of summation.
    """
    errors = {"naive": 0.0, "explicit": 0.0}
    for seed in range(8):
        truth = small_model(likelihood, torch.float32).double()
        _naive(truth, images(torch.float64, seed=seed), seed)
        want = gradients(truth)
        for name in errors:
            model, x = small_model(likelihood, torch.float32), images(torch.float32, seed=seed)
            if name == "naive":
                _naive(model, x, seed)
            else:
                trainer = trainer_for(model, 1e-5, mh=False)
                trainer.rng.copy_(ald.make_rng(seed))
                trainer.iteration(x)
            got = gradients(model)
            errors[name] += sum(float((got[k].double() - want[k]).norm() ** 2) for k in want)
    assert errors["explicit"] <= 4 * errors["naive"]


def _naive(model: LAE, x: Tensor, seed: int) -> None:
    draw = counter_noise(ald.make_rng(seed))
    naive_gradients(model, x, steps=STEPS, step_size=1e-5, draw=draw, mh=False)


def test_published_setting_is_a_temperature_without_prior() -> None:
    """Step 1e-3 on the summed loss and noise sqrt(2e-3 / n): temperature 1/n, prior off."""
    model = small_model("bernoulli", torch.float64)
    x = images(torch.float64)
    before, start = model.phi.clone(), copy.deepcopy(model)
    trainer = trainer_for(model, 1e-3, mh=False, prior=False, temperature=1 / len(x))
    trainer.steps = 1
    trainer.iteration(x)
    phi = before.clone().requires_grad_()
    loss = start.likelihood.nll(start.decoder(start.encoder(x) @ phi.T), x).sum()
    (grad,) = torch.autograd.grad(loss, phi)
    noise = (model.phi - before + 1e-3 * grad) / (2e-3 / len(x)) ** 0.5
    # 48 standard normals: their mean square is within 1 +- 0.9 but for odds below 1e-5.
    assert 0.1 < float(noise.square().mean()) < 1.9


def test_phi_is_moved_by_langevin_steps_alone_and_weights_by_the_optimiser() -> None:
    model = small_model("bernoulli", torch.float64)
    before = copy.deepcopy(model.state_dict())
    trainer_for(model, 1e-3, damping=0.1).iteration(images(torch.float64))
    after = model.state_dict()
    changed = {k for k in before if not torch.equal(before[k], after[k])}
    assert changed == {"phi"}  # the optimiser of these tests has learning rate 0


def test_a_potential_that_is_not_finite_stops_before_the_weights_are_touched() -> None:
    model = small_model("bernoulli", torch.float32)
    with torch.no_grad():
        model.decoder.last.bias[0] = torch.nan
    before = copy.deepcopy(model.state_dict())
    trainer = trainer_for(model, 1e-3)
    trainer.optimizer = torch.optim.Adam(model.parameters())
    with pytest.raises(TrainingError, match="not finite"):
        trainer.iteration(images(torch.float32))
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0, equal_nan=True)


def test_the_evaluator_is_chosen_by_what_the_decoder_is() -> None:
    model = small_model("bernoulli", torch.float32)
    assert isinstance(make_evaluator(model.decoder, model.likelihood), ExplicitEvaluator)
    own = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 20))
    assert isinstance(make_evaluator(own, model.likelihood), AutogradEvaluator)

    class OwnLikelihood(Bernoulli):
        """Its `nll` may be anything, so the fused gradient of its parent may be wrong."""

    assert isinstance(make_evaluator(model.decoder, OwnLikelihood()), AutogradEvaluator)
    assert isinstance(make_encoder(model.encoder), ExplicitEncoder)
    assert isinstance(make_encoder(own), AutogradEncoder)


def test_your_own_modules_train() -> None:
    torch.manual_seed(0)
    model = LAE(
        nn.Sequential(nn.Linear(20, 12), nn.Tanh()),
        nn.Sequential(nn.Linear(3, 12), nn.Tanh(), nn.Linear(12, 20)),
        make_likelihood("bernoulli"),
        feature_dim=12,
        latent_dim=3,
    )
    trainer = LAETrainer(
        model,
        torch.optim.Adam(model.parameters(), lr=1e-2),
        ald.make_rng(0),
        steps=3,
        step_size=1e-3,
        damping=0.1,
        accept="batch",
    )
    x = images(torch.float32)
    losses = [trainer.iteration(x).loss for _ in range(80)]
    assert losses[-1] < losses[0] - 1


def test_alive_decoder_passes_do_not_grow_with_the_number_of_steps() -> None:
    """At most the current state's and the proposal's are held, whatever T is."""
    model = small_model("bernoulli", torch.float32)
    trainer = trainer_for(model, 1e-4, damping=0.1)
    trainer.steps = 40
    import weakref

    alive: list[weakref.ref[object]] = []
    most = 0
    evaluate = trainer.evaluator.evaluate

    def counted(x: Tensor, z: Tensor) -> object:
        nonlocal most
        evaluation = evaluate(x, z)
        alive.append(weakref.ref(evaluation))
        most = max(most, sum(ref() is not None for ref in alive))
        return evaluation

    trainer.evaluator.evaluate = counted
    trainer.iteration(images(torch.float32))
    assert len(alive) == 41
    assert most <= 2


@pytest.mark.parametrize("accept", ["batch", "image"])
def test_buffers_are_used_again(accept: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two evaluations' worth, whatever T is and however many iterations ran."""
    model = small_model("gaussian", torch.float32)
    trainer = LAETrainer(
        model=model,
        optimizer=Frozen(model),
        rng=ald.make_rng(3),
        steps=7,
        step_size=1e-3,
        damping=0.1,
        accept=accept,
    )
    new_saved, made = model.decoder.new_saved, []
    monkeypatch.setattr(model.decoder, "new_saved", lambda n: made.append(n) or new_saved(n))
    for n in (10, 10, 10, 6, 10):
        trainer.iteration(images(torch.float32, n))
    # The batch of another size made them give way once.
    assert made == [10, 10, 6, 6, 10, 10]
