"""How the small networks of `probe` and `classify` are trained: by Adam, until it stops helping."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim.adam import adam

from lae_fast import progress
from lae_fast.data import ImageSet, batch_indices
from lae_fast.data.sets import fixed_split

CHECK_EVERY = 50
"""Updates between two looks at the validation loss."""
PATIENCE = 4
"""Looks without a lower validation loss after which the learning rate falls, or training ends."""
DECAY, DECAYS = 0.2, 1
"""By how much the learning rate falls each time, and how often, before training ends."""
VALIDATION_FRACTION = 0.1
LEAST_VALIDATION = 20
"""Fewer images say too little of when to stop: then every update that is allowed is made."""
MOST_VALIDATION = 2000


@dataclass(frozen=True)
class Fit:
    """How long to train.

    Attributes:
        epochs: exactly so many; None trains until the validation loss stops falling.
        most_updates: in the latter case, at most so many optimiser updates.
        batch_size, learning_rate: of Adam.
        seed: of the order of batches.
    """

    epochs: int | None
    most_updates: int
    batch_size: int
    learning_rate: float
    seed: int


def can_validate(count: int) -> bool:
    """Whether a tenth of so many training images says when to stop."""
    return count * VALIDATION_FRACTION >= LEAST_VALIDATION


def split(images: ImageSet, fit: Fit) -> tuple[ImageSet, ImageSet | None]:
    """The images to train on, and those to validate on.

    The latter are a fixed tenth; None where the number of epochs is given, or images are few.
    """
    if fit.epochs is not None or not can_validate(len(images)):
        return images, None
    kept, held_out = fixed_split(len(images), VALIDATION_FRACTION)
    return images.subset(kept), images.subset(held_out[:MOST_VALIDATION])


def fit_network(
    network: nn.Module,
    loss_of: Callable[[Tensor], Tensor],
    count: int,
    fit: Fit,
    *,
    device: torch.device | str,
    validate: Callable[[], float] | None,
    after_epoch: Callable[[], None] = lambda: None,
) -> int:
    """Train a network; it is left with the weights of the lowest validation loss, if there is one.

    Args:
        network: what is trained; in training mode whenever ``loss_of`` is called.
        loss_of: the loss of a batch, from the positions of its images.
        count: how many images there are.
        fit: how long.
        device: of the positions.
        validate: the validation loss; needed unless the number of epochs is given or all updates
            are to be made.
        after_epoch: called after each epoch.

    Returns:
        how many updates were made.
    """
    optimizer = _Adam(network, fit.learning_rate)
    most = math.inf if fit.epochs is not None else fit.most_updates
    expected = fit.most_updates
    if fit.epochs is not None:
        expected = fit.epochs * math.ceil(count / fit.batch_size)
    best = _Best(network)
    updates = epoch = decays = 0
    while updates < most and epoch != fit.epochs:
        network.train()
        for index in batch_indices(
            count, fit.batch_size, seed=fit.seed, epoch=epoch, device=device
        ):
            optimizer.step(loss_of(index))
            updates += 1
            progress.tell(updates / max(1, expected))
            if validate is not None and updates % CHECK_EVERY == 0:
                best.take(validate())
                network.train()
                if best.stale >= PATIENCE:
                    best.restore()
                    if decays == DECAYS:
                        return updates
                    decays += 1
                    optimizer.learning_rate *= DECAY
            if updates >= most:
                break
        epoch += 1
        after_epoch()
    best.restore()
    return updates


class _Adam:
    """`torch.optim.Adam` step by step: its class takes three seconds to make its first step.

    (It imports the compiler that would compile it.)
    """

    def __init__(self, network: nn.Module, learning_rate: float) -> None:
        self.learning_rate = learning_rate
        self.weights: list[Tensor] = list(network.parameters())
        self.means, self.squares = ([torch.zeros_like(w) for w in self.weights] for _ in range(2))
        self.steps = [torch.tensor(0.0) for _ in self.weights]

    def step(self, loss: Tensor) -> None:
        """Follow the gradient of a loss."""
        grads = list(torch.autograd.grad(loss, self.weights))
        with torch.no_grad():
            adam(
                self.weights,
                grads,
                self.means,
                self.squares,
                [],
                self.steps,
                amsgrad=False,
                beta1=0.9,
                beta2=0.999,
                lr=self.learning_rate,
                weight_decay=0.0,
                eps=1e-8,
                maximize=False,
            )


class _Best:
    """Remembers the weights with the lowest validation loss."""

    def __init__(self, network: nn.Module) -> None:
        self.network, self.loss, self.stale = network, math.inf, 0
        self._weights: dict[str, Tensor] = {}

    def take(self, loss: float) -> None:
        """Note the present validation loss."""
        self.stale += 1
        if loss < self.loss:
            self.loss, self.stale = loss, 0
            self._weights = {k: v.clone() for k, v in self.network.state_dict().items()}

    def restore(self) -> None:
        """Go back to the best weights, if any were noted, and count afresh."""
        self.stale = 0
        if self._weights:
            self.network.load_state_dict(self._weights)
