"""An iteration without a look from the host; on CUDA, its graph."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from helpers.small_trainers import (
    KINDS,
    MANY_STEPS,
    images,
    other_trainer,
    small_model,
    trainer_of,
)
from lae_fast.errors import TrainingError
from lae_fast.ranks import Ranks
from lae_fast.train import state as resume
from lae_fast.train.determinism import deterministic
from lae_fast.train.trainers import graph
from lae_fast.train.trainers.base import Learner, read_stats
from lae_fast.train.trainers.graph import (
    GraphedTrainer,
    guarded_iteration,
    read_from_device,
    why_not,
)
from lae_fast.train.trainers.lae import LAETrainer


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian", "discretized-logistic"])
@pytest.mark.parametrize("kind", KINDS)
def test_without_a_look_it_is_the_same_iteration(kind: str, likelihood: str) -> None:
    """With eta on the device, too, as the graph reads it."""
    first, second = (other_trainer(kind, likelihood) for _ in range(2))
    read_from_device(second, torch.device("cpu"))
    for seed in range(4):
        x = images(torch.float32, seed=seed)
        one, two = first.iteration(x), read_stats(guarded_iteration(second, x), len(x))
        assert str(one) == str(two)  # NaN, where there is no chain, equals nothing
    for name, value in first.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name]), name


def test_a_gradient_that_is_not_finite_touches_nothing() -> None:
    trainer = trainer_of(small_model("bernoulli", torch.float32))
    trainer.iteration(images(torch.float32))
    with torch.no_grad():
        trainer.model.decoder.last.bias[0] = torch.nan
    before = copy.deepcopy((trainer.model.state_dict(), trainer.optimizer.state_dict()["state"]))
    figures = guarded_iteration(trainer, images(torch.float32))
    with pytest.raises(TrainingError, match="potential is not finite"):
        read_stats(figures, 10)
    after = trainer.model.state_dict(), trainer.optimizer.state_dict()["state"]
    torch.testing.assert_close(after, before, rtol=0, atol=0, equal_nan=True)


def test_where_all_units_have_died_images_train_on_and_phi_stays() -> None:
    """As a VAE trains on; a batch's own coordinates do not exist then, which is an error."""
    for kind in ("image", "gaussian"):
        trainer = dead_trainer(kind)
        before = copy.deepcopy(trainer.model.phi)
        bias = trainer.model.decoder.last.bias
        old = bias.clone()
        for seed in range(3):
            trainer.iteration(images(torch.float32, seed=seed))
        assert torch.equal(trainer.model.phi, before)
        assert bool(bias.isfinite().all())
        assert not torch.equal(bias, old)
    with pytest.raises(TrainingError, match="features are all zero"):
        dead_trainer("whitened").iteration(images(torch.float32))


def dead_trainer(kind: str) -> Learner:
    trainer = other_trainer(kind, "bernoulli")
    with torch.no_grad():
        norm = trainer.model.encoder.blocks[-1].norm
        norm.weight.zero_()
        norm.bias.zero_()
    return trainer


def test_what_speaks_against_a_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = trainer_of(small_model("bernoulli", torch.float32))
    assert why_not(trainer) is None
    trainer.ranks = Ranks(0, 2)
    assert why_not(trainer) == "several processes"
    assert GraphedTrainer(trainer).description.endswith(", no CUDA graph: several processes")
    model = small_model("bernoulli", torch.float32)
    model.decoder = nn.Sequential(model.decoder)
    assert why_not(trainer_of(model)) == "the networks run through autograd"
    monkeypatch.setenv(graph.OFF, "0")
    assert why_not(trainer_of(small_model("bernoulli", torch.float32))) == "LAE_CUDA_GRAPH is 0"


def test_a_capture_that_fails_says_why_and_training_goes_on() -> None:
    """Here it always fails: there is no CUDA, or the tensors are not on it."""
    eager = trainer_of(small_model("bernoulli", torch.float32))
    graphed = GraphedTrainer(trainer_of(small_model("bernoulli", torch.float32)))
    assert graphed.description.endswith(", CUDA graph")
    for seed in range(graph.WARM_UP + 2):
        x = images(torch.float32, seed=seed)
        assert eager.iteration(x) == graphed.iteration(x)
    assert ", no CUDA graph: " in graphed.description
    assert "\n" not in graphed.description


class FakeCuda:
    """What `torch.cuda` does at a capture whose end fails, PyTorch 2.14's mistake included."""

    def __init__(self) -> None:
        self.stream_now: Any = self.make_stream("default")
        self.events: list[str] = []

    def make_stream(self, name: str = "other") -> Any:
        return SimpleNamespace(name=name, wait_stream=lambda other: None)

    @contextlib.contextmanager
    def stream(self, stream: Any) -> Iterator[None]:
        before, self.stream_now = self.stream_now, stream
        yield
        self.stream_now = before

    @contextlib.contextmanager
    def graph(self, graph: Any, pool: Any) -> Iterator[None]:
        self.stream_now = self.make_stream("capture")
        yield

    def iteration(self, trainer: Learner, x: torch.Tensor, *, follow: bool = True) -> torch.Tensor:
        if self.stream_now.name == "capture":
            raise RuntimeError("operation not permitted when stream is capturing")
        return guarded_iteration(trainer, x, follow=follow)

    def set_stream(self, stream: Any) -> None:
        self.stream_now = stream
        self.events.append(f"back on {stream.name}")

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        fakes = {
            "Stream": self.make_stream,
            "stream": self.stream,
            "graph": self.graph,
            "current_stream": lambda: self.stream_now,
            "set_stream": self.set_stream,
            "synchronize": lambda: self.events.append("waited"),
            "CUDAGraph": object,
            "graph_pool_handle": lambda: (0, 1),
            "current_device": lambda: 0,
        }
        for name, fake in fakes.items():
            monkeypatch.setattr(torch.cuda, name, fake)
        ended = lambda device, pool: self.events.append("pool left")  # noqa: E731
        monkeypatch.setattr(torch._C, "_cuda_endAllocateToPool", ended, raising=False)
        monkeypatch.setattr(graph, "guarded_iteration", self.iteration)


def state_of(trainer: Learner) -> tuple[Any, ...]:
    return trainer.model.state_dict(), trainer.optimizer.state_dict(), trainer.rng


@pytest.mark.parametrize("kind", KINDS)
def test_a_warm_up_and_a_capture_that_fails_leave_no_trace(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda = FakeCuda()
    cuda.install(monkeypatch)
    trainer = other_trainer(kind, "bernoulli")
    trainer.iteration(images(torch.float32))
    before = copy.deepcopy(state_of(trainer))
    with pytest.raises(RuntimeError, match="not permitted"):
        graph.capture(trainer, images(torch.float32))
    assert cuda.events == ["back on default", "waited", "pool left"]
    torch.testing.assert_close(state_of(trainer), before, rtol=0, atol=0)


def test_a_warm_up_that_fails_does_not_advance_the_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeCuda().install(monkeypatch)
    trainer = trainer_of(small_model("bernoulli", torch.float32))
    before = trainer.rng.clone()

    def fails(x: torch.Tensor, images: int) -> None:
        trainer.rng += 7
        raise RuntimeError("out of memory")

    monkeypatch.setattr(trainer, "compute_gradients", fails)
    with pytest.raises(RuntimeError, match="out of memory"):
        graph.capture(trainer, images(torch.float32))
    assert torch.equal(trainer.rng, before)


def test_a_short_batch_is_never_the_one_that_is_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def capture(trainer: LAETrainer, x: torch.Tensor) -> None:
        sizes.append(len(x))
        raise RuntimeError("seen")

    monkeypatch.setattr(graph, "capture", capture)
    graphed = GraphedTrainer(trainer_of(small_model("bernoulli", torch.float32)))
    for n in (*[10] * graph.WARM_UP, 7, 10):
        graphed.iteration(images(torch.float32, n))
    assert sizes == [10]


def test_moments_are_restored_where_they_are() -> None:
    trainer = trainer_of(small_model("bernoulli", torch.float32))
    trainer.iteration(images(torch.float32))
    saved = {k: v.clone() for k, v in resume.tensors(trainer.model, trainer).items()}
    places = {k: v.data_ptr() for k, v in resume.tensors(trainer.model, trainer).items()}
    trainer.iteration(images(torch.float32))
    resume.restore(resume.State(saved, {}), trainer.model, trainer)
    now = resume.tensors(trainer.model, trainer)
    assert {k: v.data_ptr() for k, v in now.items()} == places
    assert all(torch.equal(now[k], saved[k]) for k in saved)


@pytest.mark.parametrize("steps", [2, 3, MANY_STEPS])
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian", "discretized-logistic"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_cuda_kernels_train_as_the_cpu_does(
    emulated: str, kind: str, likelihood: str, steps: int
) -> None:
    """Kernels, states side by side, decisions on the device: nothing but the order of sums."""
    dtype = torch.float64
    here, there = (other_trainer(kind, likelihood, device, dtype) for device in ("cpu", emulated))
    for trainer in (here, there):
        if hasattr(trainer, "steps"):
            trainer.steps = steps
    read_from_device(there, torch.device(emulated))
    for seed in range(3):
        x = images(dtype, seed=seed)
        one = here.iteration(x)
        two = read_stats(guarded_iteration(there, x.to(emulated)), len(x))
        assert two.loss == pytest.approx(one.loss, rel=1e-9)
        assert two.grad_norm == pytest.approx(one.grad_norm, rel=1e-8)
        assert two.accept_rate == pytest.approx(one.accept_rate, nan_ok=True)
    state = there.model.state_dict()
    for name, value in here.model.state_dict().items():
        torch.testing.assert_close(state[name].cpu(), value, rtol=1e-7, atol=1e-8)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("kind", KINDS)
def test_a_graph_trains_as_its_kernels_do(kind: str) -> None:
    eager = other_trainer(kind, "bernoulli", "cuda")
    graphed = GraphedTrainer(other_trainer(kind, "bernoulli", "cuda"))
    for seed in range(12):
        n = 7 if seed % 5 == 4 else 10
        eager.step_size = graphed.step_size = 0.02 / (1 + seed)
        x = images(torch.float32, n, seed).cuda()
        one, two = eager.iteration(x), graphed.iteration(x)
        assert two.loss == pytest.approx(one.loss, rel=1e-4)
    assert graphed.description.endswith(", CUDA graph")
    for name, value in eager.model.state_dict().items():
        torch.testing.assert_close(graphed.model.state_dict()[name], value, rtol=1e-3, atol=1e-4)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("kind", KINDS)
def test_a_graph_gives_the_bits_of_its_kernels(kind: str) -> None:
    """The same kernels in the same order, where only deterministic ones are allowed."""
    with deterministic(True):
        eager = other_trainer(kind, "bernoulli", "cuda")
        graphed = GraphedTrainer(other_trainer(kind, "bernoulli", "cuda"))
        for seed in range(12):
            n = 7 if seed % 5 == 4 else 10
            eager.step_size = graphed.step_size = 0.02 / (1 + seed)
            x = images(torch.float32, n, seed).cuda()
            one, two = eager.iteration(x), graphed.iteration(x)
            assert str(one) == str(two)  # NaN, where there is no chain, equals nothing
    assert graphed.description.endswith(", CUDA graph")
    torch.testing.assert_close(state_of(graphed.eager), state_of(eager), rtol=0, atol=0)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("kind", KINDS)
def test_after_a_capture_that_failed_training_goes_on(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    eager = other_trainer(kind, "bernoulli", "cuda")
    graphed = GraphedTrainer(other_trainer(kind, "bernoulli", "cuda"))

    def reads(trainer: Learner, x: torch.Tensor, *, follow: bool = True) -> torch.Tensor:
        figures = guarded_iteration(trainer, x, follow=follow)
        figures.tolist()  # a capture does not survive it
        return figures

    monkeypatch.setattr(graph, "guarded_iteration", reads)
    here = torch.cuda.current_stream()
    for seed in range(graph.WARM_UP + 4):
        x = images(torch.float32, seed=seed).cuda()
        assert eager.iteration(x) == graphed.iteration(x)
    assert ", no CUDA graph: " in graphed.description
    assert torch.cuda.current_stream() == here
