"""What several processes cost: ``torchrun --nproc-per-node N benchmarks/ranks.py [--json]``.

Prints, for the trainers of both decisions, an iteration of the whole batch in one process, of one
rank's share without any message, and of all ranks together; the collectives of an iteration and
their bytes; and what a message costs by its size.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch

from lae_fast.models.lae import mlp_lae
from lae_fast.models.likelihoods import make_likelihood
from lae_fast.ranks import ALONE, Ranks, join
from lae_fast.sampling import ald
from lae_fast.train.trainers.lae import LAETrainer

PIXELS, LATENTS = 784, 8
KINDS = ("image", "batch")
SIZES = (64, 16_384, 1 << 20, 8 << 20)
"""Bytes of a message."""


def trainer(kind: str, hidden: int, steps: int, ranks: Ranks) -> LAETrainer:
    torch.manual_seed(0)
    model = mlp_lae(PIXELS, LATENTS, hidden, make_likelihood("bernoulli", None)).to(ranks.device)
    optimizer = torch.optim.Adam(model.parameters(), 1e-4, fused=True)
    rng = ald.make_rng(0, ranks.device)
    return LAETrainer(model, optimizer, rng, steps, 1e-3, 0.1, accept=kind, ranks=ranks)


def seconds(work: Callable[[], object], ranks: Ranks, rounds: int) -> float:
    """Median over rounds that all ranks begin together."""
    took = []
    for _ in range(rounds + 1):
        ranks.broadcast(torch.zeros(1, device=ranks.device))
        _wait(ranks)
        began = time.perf_counter()
        work()
        _wait(ranks)
        took.append(time.perf_counter() - began)
    return statistics.median(took[1:])


def _wait(ranks: Ranks) -> None:
    if ranks.device.type == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--json", action="store_true", help="one JSON object, times in seconds")
    options = parser.parse_args()
    with join() as ranks:
        found = {kind: measure(kind, options, ranks) for kind in KINDS}
        messages = {size: message(size, 5 * options.rounds, ranks) for size in SIZES}
        if ranks.leads and options.json:
            print(json.dumps(found | {"messages": messages}))
        elif ranks.leads:
            print(f"{ranks.size} ranks, {ranks.device}, {torch.get_num_threads()} threads each")
            for kind, figures in found.items():
                print(in_words(kind, figures))
            for size, took in messages.items():
                print(f"sum of {size:>8} bytes: {took * 1e6:.0f} us")


def measure(kind: str, options: argparse.Namespace, ranks: Ranks) -> dict[str, float]:
    """Seconds of the whole batch alone, of a share alone, and of all together; messages, bytes."""
    x = torch.rand(options.batch, PIXELS, device=ranks.device)
    part = x[ranks.share(len(x))].contiguous()
    alone = trainer(kind, options.hidden, options.steps, ALONE)
    shared = trainer(kind, options.hidden, options.steps, ranks)
    figures = {
        "whole": seconds(lambda: alone.iteration(x), ranks, options.rounds),
        "share": seconds(lambda: alone.iteration(part), ranks, options.rounds),
    }
    calls, sent = ranks.calls, ranks.bytes_sent
    shared.iteration(part, len(x))
    figures |= {"messages": ranks.calls - calls, "bytes": ranks.bytes_sent - sent}
    together = seconds(lambda: shared.iteration(part, len(x)), ranks, options.rounds)
    return figures | {"together": together}


def message(size: int, rounds: int, ranks: Ranks) -> float:
    data = torch.zeros(size // 4, device=ranks.device)
    return seconds(lambda: ranks.sum_(data), ranks, rounds)


def in_words(kind: str, figures: dict[str, float]) -> str:
    whole, share, together = (figures[name] for name in ("whole", "share", "together"))
    return (
        f"accept per {kind}: whole batch {whole * 1e3:.1f} ms, share {share * 1e3:.1f} ms, "
        f"together {together * 1e3:.1f} ms ({whole / together:.2f}x); "
        f"{figures['messages']:.0f} messages, {figures['bytes'] / 1e6:.2f} MB"
    )


if __name__ == "__main__":
    main()
