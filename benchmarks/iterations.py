"""One training iteration of Algorithm 2 in several ways, all the same mathematics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from baselines import synchronise
from torch import Tensor

from lae_fast.models.lae import LAE, mlp_lae
from lae_fast.models.likelihoods import Bernoulli
from lae_fast.models.vae import VAE, mlp_vae
from lae_fast.sampling import ald
from lae_fast.train.trainers.base import Learner
from lae_fast.train.trainers.controls import VAETrainer
from lae_fast.train.trainers.graph import WARM_UP, GraphedTrainer
from lae_fast.train.trainers.lae import LAETrainer
from lae_fast.train.trainers.passes import AutogradEncoder, AutogradEvaluator
from lae_fast.train.trainers.reference import naive_gradients
from lae_fast.train.trainers.states import TOGETHER

STEP_SIZE, IMAGE_STEP_SIZE, DAMPING = 1e-3, 0.05, 0.1
Run = Callable[[], object]


@dataclass(frozen=True)
class Setting:
    """Sizes of an iteration; images are random, weights as initialised."""

    steps: int
    batch: int = 512
    hidden: int = 256
    latents: int = 8
    pixels: int = 784
    mh: bool = True

    def __str__(self) -> str:
        mh = "MH" if self.mh else "no MH"
        return f"batch {self.batch}, hidden {self.hidden}, T={self.steps}, {mh}"

    def model(self, device: str) -> LAE:
        torch.manual_seed(0)
        return mlp_lae(self.pixels, self.latents, self.hidden, Bernoulli()).to(device)

    def images(self, device: str) -> Tensor:
        return torch.rand(self.batch, self.pixels, device=device)


def naive(setting: Setting, device: str) -> Run:
    """V and its gradient at phi and at phi' every step, T graphs held."""
    model, x = setting.model(device), setting.images(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, fused=True)

    def run() -> None:
        optimizer.zero_grad()
        phi, *_ = naive_gradients(
            model, x, steps=setting.steps, step_size=STEP_SIZE, damping=DAMPING, mh=setting.mh
        )
        optimizer.step()
        model.phi.copy_(phi)

    return run


def carried(setting: Setting, device: str, *, compiled: bool = False) -> Run:
    """Autograd with one evaluation per step, the state's value and gradient carried along."""
    model = setting.model(device)
    decoder = torch.compile(model.decoder, dynamic=False) if compiled else model.decoder
    trainer = _batch_trainer(setting, model, device)
    trainer.evaluator = AutogradEvaluator(decoder, model.likelihood)
    trainer.encoder = AutogradEncoder(model.encoder)
    x = setting.images(device)
    return lambda: trainer.iteration(x)


def fused(setting: Setting, device: str) -> Run:
    """The trainer with one decision per batch."""
    return _iterating(_batch_trainer(setting, setting.model(device), device), setting, device)


def per_image(setting: Setting, device: str) -> Run:
    """The trainer with one decision per image, each of its kernels launched by the host."""
    return _iterating(_image_trainer(setting, device), setting, device)


def fused_graph(setting: Setting, device: str) -> Run:
    """`fused` as one CUDA graph."""
    return _graphed(_batch_trainer(setting, setting.model(device), device), setting, device)


def per_image_graph(setting: Setting, device: str) -> Run:
    """`per_image` as one CUDA graph."""
    return _graphed(_image_trainer(setting, device), setting, device)


def as_trained(setting: Setting, device: str) -> Run:
    """What ``lae train`` runs: one decision per image, on CUDA as one graph."""
    return (per_image_graph if device == "cuda" else per_image)(setting, device)


def vae(setting: Setting, device: str) -> Run:
    """The VAE's trainer, on the explicit networks."""
    return _iterating(_vae_trainer(setting, device), setting, device)


def vae_graph(setting: Setting, device: str) -> Run:
    """`vae` as one CUDA graph."""
    return _graphed(_vae_trainer(setting, device), setting, device)


def _iterating(trainer: Learner | GraphedTrainer, setting: Setting, device: str) -> Run:
    x = setting.images(device)
    return lambda: trainer.iteration(x)


def _graphed(trainer: Learner, setting: Setting, device: str) -> Run:
    """The trainer's iterations replayed.

    Raises:
        RuntimeError: they cannot be captured.
    """
    graphed = GraphedTrainer(trainer)
    run = _iterating(graphed, setting, device)
    for _ in range(WARM_UP + 1):
        run()
    if graphed.trouble is not None:
        raise RuntimeError(f"no CUDA graph: {graphed.trouble}")
    return run


def vae_autograd(setting: Setting, device: str) -> Run:
    """Its bound, written out."""
    model, x = _vae(setting, device), setting.images(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, fused=True)

    def run() -> None:
        optimizer.zero_grad(set_to_none=False)
        nll, kl = model.terms(x, torch.randn(len(x), setting.latents, device=device))
        (nll + kl).sum().backward()
        torch.nn.utils.get_total_norm([p.grad for p in model.parameters()])
        optimizer.step()

    return run


def _vae(setting: Setting, device: str) -> VAE:
    torch.manual_seed(0)
    return mlp_vae(setting.pixels, setting.latents, setting.hidden, Bernoulli()).to(device)


def _adam(model: LAE | VAE) -> torch.optim.Adam:
    """The optimiser of ``lae train``."""
    on_cuda = next(model.parameters()).is_cuda
    return torch.optim.Adam(model.parameters(), lr=1e-4, fused=True, capturable=on_cuda)


def _vae_trainer(setting: Setting, device: str) -> VAETrainer:
    model = _vae(setting, device)
    return VAETrainer(model, _adam(model), ald.make_rng(0, device))


def _image_trainer(setting: Setting, device: str) -> LAETrainer:
    model = setting.model(device)
    return LAETrainer(
        model,
        _adam(model),
        ald.make_rng(0, device),
        setting.steps,
        IMAGE_STEP_SIZE,
        DAMPING,
        mh=setting.mh,
    )


def _batch_trainer(setting: Setting, model: LAE, device: str) -> LAETrainer:
    return LAETrainer(
        model,
        _adam(model),
        ald.make_rng(0, device),
        setting.steps,
        STEP_SIZE,
        DAMPING,
        accept="batch",
        mh=setting.mh,
    )


def retained_states(setting: Setting, device: str, iterations: int = 4) -> int:
    """Weight-gradient products that an iteration of `fused` needs, on average, rounded.

    On CUDA, where no decision is looked at, those of every step.
    """
    if device == "cuda":
        return setting.steps
    trainer = _batch_trainer(setting, setting.model(device), device)
    add, count = trainer.evaluator.add_weight_grads, 0

    def counted(*args: object) -> None:
        nonlocal count
        count += 1
        add(*args)

    trainer.evaluator.add_weight_grads = counted
    x = setting.images(device)
    for _ in range(iterations):
        trainer.iteration(x)
    return round(count / iterations)


def products(setting: Setting, device: str, retained: int) -> Run:
    """The bare matrix products of an iteration: the floor.

    Encoder forward, backward and weights once; decoder forward and data-backward for the start and
    every step; its weight products for the retained states, on CUDA of `TOGETHER` states at once.
    """
    h, n = setting.hidden, setting.batch
    together = max(1, min(TOGETHER, retained)) if device == "cuda" else 1

    def rand(*shape: int) -> Tensor:
        return torch.rand(shape, device=device)

    x, a = rand(n, setting.pixels), rand(n * together, h)
    encoder = [(rand(h, setting.pixels), x), (rand(h, h), a), (rand(h, h), a)]
    decoder = [(rand(h, setting.latents), rand(n * together, setting.latents)), (rand(h, h), a)]
    decoder += [(rand(h, h), a), (rand(setting.pixels, h), a)]
    outs = {len(w): rand(n * together, len(w)) for w, _ in encoder + decoder}
    backs = {w.shape[1]: rand(n, w.shape[1]) for w, _ in encoder + decoder}
    grads = {id(w): torch.zeros_like(w) for w, _ in encoder + decoder}

    def forward(layers: list[tuple[Tensor, Tensor]]) -> None:
        for w, i in layers:
            torch.mm(i[:n], w.T, out=outs[len(w)][:n])

    def backward(layers: list[tuple[Tensor, Tensor]]) -> None:
        for w, _ in layers:
            torch.mm(outs[len(w)][:n], w, out=backs[w.shape[1]])

    def weights(layers: list[tuple[Tensor, Tensor]], states: int = 1) -> None:
        rows = n * states
        for w, i in layers:
            grads[id(w)].addmm_(outs[len(w)][:rows].T, i[:rows], alpha=1e-9)

    def run() -> None:
        forward(encoder)
        for _ in range(setting.steps + 1):
            forward(decoder)
            backward(decoder)
        for first in range(0, retained, together):
            weights(decoder, min(together, retained - first))
        backward(encoder[1:])
        weights(encoder)

    return run


def captured(run: Run) -> Run:
    """``run`` as one CUDA graph."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        run()  # libraries load their kernels at the first call, which a capture forbids
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


def waiting(run: Run, device: str) -> Run:
    """``run``, and the device's end of it."""

    def whole() -> None:
        run()
        synchronise(device)

    return whole
