"""What the processes of `test_ranks.py` run: ``python ranks_job.py JOB FILE RANK SIZE``.

Each job trains on this rank's share of every batch and returns what the ranks must agree on with a
single process.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import Tensor

from lae_fast.models import VAE
from lae_fast.models.lae import LAE
from lae_fast.models.likelihoods import make_likelihood
from lae_fast.models.mlp import MLP
from lae_fast.ranks import PATIENCE, Ranks
from lae_fast.sampling import ald
from lae_fast.train.trainers.base import IterationStats
from lae_fast.train.trainers.controls import FrozenTrainer, IWAETrainer, VAETrainer
from lae_fast.train.trainers.hoffman import HoffmanTrainer
from lae_fast.train.trainers.lae import LAETrainer

PIXELS, LATENTS, HIDDEN, STEPS = 20, 3, 16, 20
BATCHES = (13, 40, 3)
"""Uneven ones, and one with rows for the first rank alone."""


def _images(n: int, dtype: torch.dtype, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 2, (n, PIXELS), generator=generator).to(dtype)


def _lae(dtype: torch.dtype, *, gaussian_start: bool = False) -> LAE:
    torch.manual_seed(1)
    encoder, decoder = MLP(PIXELS, HIDDEN, None), MLP(LATENTS, HIDDEN, PIXELS)
    return LAE(
        encoder,
        decoder,
        make_likelihood("bernoulli", None),
        HIDDEN,
        LATENTS,
        gaussian_start=gaussian_start,
    ).to(dtype)


def _vae(dtype: torch.dtype) -> VAE:
    torch.manual_seed(1)
    encoder, decoder = MLP(PIXELS, HIDDEN, 2 * LATENTS), MLP(LATENTS, HIDDEN, PIXELS)
    return VAE(encoder, decoder, make_likelihood("bernoulli", None), LATENTS).to(dtype)


def _trainer(kind: str, dtype: torch.dtype, ranks: Ranks):  # type: ignore[no-untyped-def]
    is_vae = kind in ("vae", "iwae", "hoffman")
    model = _vae(dtype) if is_vae else _lae(dtype, gaussian_start=kind == "gaussian")
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    rng = ald.make_rng(3)
    settings = {"ranks": ranks}
    match kind:
        case "image" | "gaussian":
            return LAETrainer(model, optimizer, rng, STEPS, 0.05, 0.1, **settings)
        case "whitened":
            return LAETrainer(model, optimizer, rng, STEPS, 0.02, 0.1, accept="batch", **settings)
        case "plain":
            return LAETrainer(model, optimizer, rng, STEPS, 1e-3, accept="batch", **settings)
        case "vae":
            return VAETrainer(model, optimizer, rng, ranks=ranks)
        case "iwae":
            return IWAETrainer(model, optimizer, rng, 3, ranks=ranks)
        case "hoffman":
            return HoffmanTrainer(model, optimizer, rng, STEPS, 0.05, **settings)
    return FrozenTrainer(model, optimizer, ranks=ranks)


def train(kind: str, dtype: torch.dtype, ranks: Ranks) -> dict[str, Tensor]:
    """The weights and statistics after a few batches."""
    trainer = _trainer(kind, dtype, ranks)
    stats: list[IterationStats] = []
    for k, n in enumerate(BATCHES * 3):
        stats.append(trainer.iteration(_images(n, dtype, k)[ranks.share(n)], n))
    facts = [[s.images, s.loss, s.grad_norm, s.accept_rate, s.accept_prob] for s in stats]
    return dict(trainer.model.state_dict()) | {"stats": torch.tensor(facts, dtype=torch.float64)}


def decisions(dtype: torch.dtype, ranks: Ranks) -> dict[str, Tensor]:
    """1,000 steps on phi: how many of them were accepted in each iteration.

    One chain in float64, in which every decision acts on all that follow. In float32 rounding adds
    up until some decision differs, which no care could avoid, so there every step is an iteration
    and starts at a phi of its own.
    """
    model, n = _lae(dtype), 64
    steps = 50 if dtype == torch.float64 else 1
    generator = torch.Generator().manual_seed(4)
    starts = torch.randn(1000 // steps, *model.phi.shape, generator=generator)
    x = _images(n, dtype, 0)[ranks.share(n)]
    trainer = LAETrainer(
        model,
        torch.optim.SGD(model.parameters(), 0.0),
        ald.make_rng(3),
        steps,
        0.05,
        0.1,
        accept="batch",
        ranks=ranks,
    )
    accepted = []
    for start in starts:
        if dtype == torch.float32:
            model.phi.copy_(0.2 * start)
        accepted.append(round(steps * trainer.iteration(x, n).accept_rate))
    return {"accepted": torch.tensor(accepted), "phi": model.phi.detach().clone()}


def fails_on_one(dtype: torch.dtype, ranks: Ranks) -> dict[str, Tensor]:
    """Potentials that are not finite on the last rank alone; every rank must raise."""
    trainer = _trainer("image", dtype, ranks)
    x = _images(16, dtype, 0)[ranks.share(16)]
    if ranks.rank == ranks.size - 1:
        evaluate = trainer.evaluator.evaluate
        trainer.evaluator.evaluate = lambda x, z: evaluate(x, z * torch.inf)
    try:
        trainer.iteration(x, 16)
    except RuntimeError as error:
        return {"said": torch.tensor(list(str(error).encode()), dtype=torch.uint8)}
    return {}


JOBS: dict[str, Callable[[torch.dtype, Ranks], dict[str, Tensor]]] = {
    kind: lambda dtype, ranks, kind=kind: train(kind, dtype, ranks)  # type: ignore[misc]
    for kind in ("image", "gaussian", "whitened", "plain", "vae", "iwae", "hoffman", "frozen")
} | {"decisions": decisions, "fails_on_one": fails_on_one}


def run(dtype: torch.dtype, ranks: Ranks) -> dict[str, Tensor]:
    """The results of every job, by ``job/name``."""
    return {
        f"{job}/{name}": value
        for job, work in JOBS.items()
        for name, value in work(dtype, ranks).items()
    }


if __name__ == "__main__":
    folder, rank, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/meeting",
        rank=rank,
        world_size=size,
        timeout=PATIENCE,
    )
    for dtype in (torch.float64, torch.float32):
        torch.save(run(dtype, Ranks(rank, size)), f"{folder}/{dtype}-{rank}.pt")
    dist.destroy_process_group()
