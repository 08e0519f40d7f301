"""What an iteration asks of a GPU and of its host: launches, and nothing that waits."""

from __future__ import annotations

import collections
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from helpers import emulator
from helpers.small_trainers import KINDS, images, other_trainer
from lae_fast.models.lae import mlp_lae
from lae_fast.models.likelihoods import make_likelihood
from lae_fast.sampling import ald
from lae_fast.train.trainers.base import Learner
from lae_fast.train.trainers.graph import guarded_iteration, read_from_device
from lae_fast.train.trainers.lae import LAETrainer

pytestmark = pytest.mark.cuda

VIEWS = {
    "_reshape_alias",
    "_unsafe_view",
    "alias",
    "as_strided",
    "detach",
    "diagonal",
    "expand",
    "permute",
    "reshape",
    "select",
    "slice",
    "split",
    "split_with_sizes",
    "squeeze",
    "t",
    "transpose",
    "unbind",
    "unsqueeze",
    "view",
}
NO_LAUNCH = VIEWS | {
    "_record_function_enter_new",
    "_record_function_exit",
    "empty",
    "empty_like",
    "empty_strided",
    "is_same_size",
    "lift_fresh",
    "new_empty",
    "new_empty_strided",
}
SEVERAL = {
    "_foreach_norm": 2,
    "cholesky_solve": 6,
    "linalg_cholesky_ex": 4,
    "linalg_solve_triangular": 4,
}
"""Launches of PyTorch's operators that take more than one: estimates, to the safe side."""
WAITS = {"_local_scalar_dense", "equal", "is_nonzero", "masked_select", "nonzero", "unique"}
STEPS, IMAGES = 50, 512


class Dispatched(TorchDispatchMode):
    """Counts PyTorch's operators, and notes those that a host would wait for or feed."""

    def __init__(self, device: str) -> None:
        super().__init__()
        self.device, self.bad = device, collections.Counter[str]()
        self.operators = collections.Counter[str]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        namespace, name = func._schema.name.split("::")
        if namespace == "aten" and name not in NO_LAUNCH:
            self.operators[name] += 1
        tensors = [t for t in tree_leaves((args, kwargs, result)) if isinstance(t, torch.Tensor)]
        elsewhere = {t.device.type for t in tensors} - {self.device}
        if name in WAITS or elsewhere:
            self.bad[f"{name} {sorted(elsewhere)}"] += 1
        return result

    def launches(self) -> int:
        """Of PyTorch's own kernels."""
        return sum(SEVERAL.get(name, 1) * count for name, count in self.operators.items())


def published_trainer(decision: str, device: str) -> Learner:
    torch.manual_seed(0)
    model = mlp_lae(784, 8, 256, make_likelihood("bernoulli")).to(device)
    adam = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True, capturable=True)
    rng = ald.make_rng(3, device)
    step_size = 0.02 if decision == "image" else 1e-3
    return LAETrainer(model, adam, rng, STEPS, step_size, 0.1, accept=decision)


@pytest.mark.parametrize(("decision", "most"), [("image", 1000), ("batch", 1055)])
def test_launches_of_an_iteration(emulated: str, decision: str, most: int) -> None:
    """T = 50, batch 512: twice as many make an iteration on a GPU as slow again."""
    trainer = published_trainer(decision, emulated)
    read_from_device(trainer, torch.device(emulated))
    x = torch.rand(IMAGES, 784).to(emulated)
    with emulator.counting_only():
        guarded_iteration(trainer, x)  # makes the moments
        before = emulator.launches()
        with Dispatched(emulated) as dispatched:
            guarded_iteration(trainer, x)
        ours = emulator.launches() - before
    assert ours > STEPS
    assert dispatched.launches() > STEPS
    assert ours + dispatched.launches() <= most


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian", "discretized-logistic"])
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_in_an_iteration_waits_for_the_device(
    emulated: str, kind: str, likelihood: str
) -> None:
    """No value is read, nothing is copied from the CPU: what a CUDA graph must not contain."""
    trainer = other_trainer(kind, likelihood, emulated)
    read_from_device(trainer, torch.device(emulated))
    x = images(torch.float32).to(emulated)
    guarded_iteration(trainer, x)  # makes moments and gradients
    before = emulator.reads()
    with Dispatched(emulated) as dispatched:
        guarded_iteration(trainer, x)
    assert emulator.reads() == before
    assert not dispatched.bad


def test_a_host_that_reads_is_noticed(emulated: str) -> None:
    value = torch.ones(3, device=emulated)
    before = emulator.reads()
    with Dispatched(emulated) as dispatched:
        assert float(value.sum()) == 3
        value.copy_(torch.zeros(3))
    assert emulator.reads() == before + 1
    assert len(dispatched.bad) >= 2
