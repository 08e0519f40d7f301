"""How well a model's frozen latents predict the classes: a probe of ReLU and one linear layer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lae_fast.data import ImageSet, batch_indices
from lae_fast.errors import ConfigError
from lae_fast.models import Model
from lae_fast.ops.devices import device_of, normal


@dataclass(frozen=True)
class ProbeResult:
    """Accuracies in [0, 1] and cross-entropies in nats, after the last epoch."""

    train_accuracy: float
    train_loss: float
    accuracy: float
    loss: float


@torch.no_grad()
def latent_law(model: Model, images: ImageSet) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of q(z | x) for every image, each ``(n, d_z)``.

    They lie on the device of the model's weights.
    """
    means, stds = zip(*(there.law(x) for there, x in model.over(images)), strict=True)
    return torch.cat(means), torch.cat(stds)


def draw(law: tuple[Tensor, Tensor], generator: torch.Generator) -> Tensor:
    """One draw ``(n, d_z)`` from Gaussians, of their means and standard deviations ``(n, d_z)``."""
    mean, std = law
    return mean + std * normal(mean.shape, generator, mean)


def train_probe(
    model: Model,
    train: ImageSet,
    held_out: ImageSet,
    *,
    epochs: int = 10,
    batch_size: int = 1024,
    learning_rate: float = 1e-4,
    scale: bool = False,
    seed: int = 0,
) -> ProbeResult:
    """Train the probe on latents drawn from q(z | x), and measure it on those of held-out images.

    Args:
        model: encodes the images; it is not changed.
        train, held_out: images with labels.
        epochs, batch_size, learning_rate: of Adam.
        scale: first divide every latent by its standard deviation over the training images, so
            that how fast the probe learns does not depend on the latents' scale.
        seed: of weights, order and draws.

    Raises:
        ConfigError: the data set has fewer than two classes.
    """
    classes, device = require_labels(train), device_of(model)
    train, held_out = train.to(device), held_out.to(device)
    law, held_law = latent_law(model, train), latent_law(model, held_out)
    if scale:
        unit = law[0].std(0).clamp(min=1e-12)
        law, held_law = ((mean / unit, std / unit) for mean, std in (law, held_law))
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        probe = nn.Sequential(nn.ReLU(), nn.Linear(law[0].shape[1], classes)).to(device)
    optimizer = torch.optim.Adam(probe.parameters(), lr=learning_rate)
    for epoch in range(epochs):
        for index in batch_indices(len(train), batch_size, seed=seed, epoch=epoch, device=device):
            z = draw((law[0][index], law[1][index]), generator)
            loss = F.cross_entropy(probe(z), train.labels[index])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
    fitted = _measure(probe, draw(law, generator), train.labels)
    tested = _measure(probe, draw(held_law, generator), held_out.labels)
    return ProbeResult(*fitted, *tested)


def require_labels(images: ImageSet) -> int:
    """The number of classes of images, at least two.

    Raises:
        ConfigError: there are fewer.
    """
    if len(images.class_names) < 2:
        raise ConfigError("the data set has no classes to tell apart; give one with labels")
    return len(images.class_names)


@torch.no_grad()
def _measure(probe: nn.Module, z: Tensor, labels: Tensor) -> tuple[float, float]:
    logits = probe(z)
    accuracy = float((logits.argmax(1) == labels).double().mean())
    return accuracy, float(F.cross_entropy(logits, labels))
