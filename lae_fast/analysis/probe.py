"""How well a model's frozen latents predict the classes: a probe of one linear layer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lae_fast.analysis.fitting import Fit, fit_network, split
from lae_fast.data import ImageSet
from lae_fast.errors import ConfigError
from lae_fast.models import Model
from lae_fast.ops.devices import device_of, normal

NEAR = 0.1
"""An accuracy is near chance below this share of the way from chance to 1."""


@dataclass(frozen=True)
class ProbeResult:
    """Accuracies in [0, 1] and cross-entropies in nats, at the end; ``updates`` of Adam."""

    train_accuracy: float
    train_loss: float
    accuracy: float
    loss: float
    updates: int = 0


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
    epochs: int | None = None,
    updates: int = 3000,
    batch_size: int = 1024,
    learning_rate: float = 3e-2,
    draws: bool = False,
    relu: bool = False,
    scale: bool = True,
    seed: int = 0,
) -> ProbeResult:
    """Train the probe on the latents of images, and measure it on those of held-out images.

    Args:
        model: encodes the images; it is not changed.
        train, held_out: images with labels.
        epochs, updates: exactly so many epochs; without them, until the loss on a tenth of the
            training images stops falling, and at most so many updates.
        batch_size, learning_rate: of Adam.
        draws: take latents drawn from q(z | x) instead of its mean.
        relu: put a ReLU before the layer.
        scale: first divide every latent by its standard deviation over the training images, so
            that how fast the probe learns does not depend on the latents' scale.
        seed: of weights, order and draws.

    Raises:
        ConfigError: the data set has fewer than two classes.
    """
    classes, device = require_labels(train), device_of(model)
    fit = Fit(epochs, updates, batch_size, learning_rate, seed)
    train, validation = split(train.to(device), fit)
    held_out = held_out.to(device)
    law, held_law = latent_law(model, train), latent_law(model, held_out)
    valid_law = None if validation is None else latent_law(model, validation)
    if scale:
        unit = law[0].std(0).clamp(min=1e-12)
        law, held_law = _scaled(law, unit), _scaled(held_law, unit)
        valid_law = None if valid_law is None else _scaled(valid_law, unit)
    generator = torch.Generator().manual_seed(seed)

    def latents(of: tuple[Tensor, Tensor]) -> Tensor:
        return draw(of, generator) if draws else of[0]

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layer = nn.Linear(law[0].shape[1], classes)
        probe = nn.Sequential(*([nn.ReLU()] if relu else []), layer).to(device)

    def loss_of(index: Tensor) -> Tensor:
        z = latents((law[0][index], law[1][index]))
        return F.cross_entropy(probe(z), train.labels[index])

    def validate() -> float:
        assert validation is not None
        assert valid_law is not None
        return _measure(probe, latents(valid_law), validation.labels)[1]

    done = fit_network(
        probe,
        loss_of,
        len(train),
        fit,
        device=device,
        validate=None if validation is None else validate,
    )
    fitted = _measure(probe, latents(law), train.labels)
    tested = _measure(probe, latents(held_law), held_out.labels)
    return ProbeResult(*fitted, *tested, done)


def near_chance(accuracy: float, images: ImageSet) -> bool:
    """Whether an accuracy on these images is hardly above that of always naming one class."""
    chance = float(torch.bincount(images.labels).max()) / len(images)
    return accuracy < chance + NEAR * (1 - chance)


def require_labels(images: ImageSet) -> int:
    """The number of classes of images, at least two.

    Raises:
        ConfigError: there are fewer.
    """
    if len(images.class_names) < 2:
        raise ConfigError("the data set has no classes to tell apart; give one with labels")
    return len(images.class_names)


def _scaled(law: tuple[Tensor, Tensor], unit: Tensor) -> tuple[Tensor, Tensor]:
    return law[0] / unit, law[1] / unit


@torch.no_grad()
def _measure(probe: nn.Module, z: Tensor, labels: Tensor) -> tuple[float, float]:
    logits = probe(z)
    accuracy = float((logits.argmax(1) == labels).double().mean())
    return accuracy, float(F.cross_entropy(logits, labels))
