"""White-box projected gradient descent in the L-infinity ball (Madry et al. 2018).

`PUBLISHED` is the attack of Bisht (2023). `CONVERGED` is a fair test: random starts, restarts, and
more and smaller steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lae_fast import progress
from lae_fast.analysis.classify import as_pictures
from lae_fast.data import ImageSet
from lae_fast.ops.devices import device_of

EPSILONS = (0.01, 0.1, 0.2, 0.3)
CHUNK = 250
"""Images attacked together: few enough that a step's tensors stay in one core's cache."""


@dataclass(frozen=True)
class Attack:
    """How hard an attack tries.

    Attributes:
        steps: gradient steps per start.
        step_size: size of a step, in pixel units; None is ``2.5 epsilon / steps``, with which the
            steps can cross the ball.
        random_start: start uniformly inside the ball instead of at the image.
        restarts: independent starts; each image keeps the one with the largest loss.
    """

    steps: int = 40
    step_size: float | None = 0.01
    random_start: bool = False
    restarts: int = 1


PUBLISHED = Attack()
CONVERGED = Attack(steps=100, step_size=None, random_start=True, restarts=5)


@dataclass(frozen=True)
class AttackResult:
    """Accuracy in [0, 1] and cross-entropy in nats per image, under attack of one radius."""

    epsilon: float
    accuracy: float
    loss: float


def attack_images(
    model: nn.Module, x: Tensor, labels: Tensor, epsilon: float, how: Attack, *, seed: int = 0
) -> Tensor:
    """Adversarial images, shaped like ``x``: each pixel within ``epsilon`` of it, in [0, 1].

    Args:
        model: maps ``(n, c, h, w)`` in [0, 1] to log-probabilities or logits; in evaluation mode.
        x: images ``(n, c, h, w)``.
        labels: their true classes, ``(n,)``.
        epsilon: radius, in pixel units.
        how: how hard to try.
        seed: of random starts.
    """
    generator = torch.Generator().manual_seed(seed)
    worst, worst_loss = x, torch.full((len(x),), -torch.inf, device=x.device)
    for _ in progress.steps(range(how.restarts)):
        start = x
        if how.random_start:
            # Drawn on the CPU, so that a seed gives the same starts on every device.
            noise = torch.rand(x.shape, generator=generator).to(x.device) * 2 - 1
            start = (x + epsilon * noise).clamp(0, 1)
        found = _descend(model, x, labels, start, epsilon, how)
        loss = _hurt(model, found, labels)
        better = loss > worst_loss
        worst = torch.where(better[:, None, None, None], found, worst)
        worst_loss = torch.where(better, loss, worst_loss)
    return worst


def attack(
    model: nn.Module,
    images: ImageSet,
    how: Attack = PUBLISHED,
    *,
    epsilons: tuple[float, ...] = EPSILONS,
    seed: int = 0,
) -> list[AttackResult]:
    """Accuracy and loss of a classifier on attacked images, for every radius."""
    results = []
    for epsilon in progress.steps(epsilons):
        right = loss = 0.0
        chunks = images.to(device_of(model)).chunks(CHUNK)
        for pixels, labels in progress.steps(chunks, -(-len(images) // CHUNK)):
            # Convolutions of so few channels are half again as fast with the channels last.
            x = as_pictures(pixels).contiguous(memory_format=torch.channels_last)
            x = attack_images(model, x, labels, epsilon, how, seed=seed)
            with torch.no_grad():
                scores = model(x)
            right += float((scores.argmax(1) == labels).sum())
            loss += float(F.cross_entropy(scores, labels, reduction="sum"))
        results.append(AttackResult(epsilon, right / len(images), loss / len(images)))
    return results


def _descend(
    model: nn.Module, x: Tensor, labels: Tensor, start: Tensor, epsilon: float, how: Attack
) -> Tensor:
    step_size = 2.5 * epsilon / how.steps if how.step_size is None else how.step_size
    low, high = (x - epsilon).clamp(min=0), (x + epsilon).clamp(max=1)
    point = start
    for _ in progress.steps(range(how.steps)):
        point = point.detach().requires_grad_()
        loss = F.cross_entropy(model(point), labels, reduction="sum")
        (grad,) = torch.autograd.grad(loss, point)
        point = (point.detach() + step_size * grad.sign()).clamp(low, high)
    return point


@torch.no_grad()
def _hurt(model: nn.Module, x: Tensor, labels: Tensor) -> Tensor:
    """Loss of every image; images that fool the model have more than those that do not."""
    scores = model(x)
    wrong = scores.argmax(1) != labels
    loss: Tensor = F.cross_entropy(scores, labels, reduction="none") + 1e6 * wrong
    return loss
