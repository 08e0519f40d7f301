"""How much of the classes a model's latents hold: ReLU and one linear layer on frozen latents."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lae_fast.data import ImageSet, batch_indices, to_pixels
from lae_fast.errors import ConfigError
from lae_fast.models import VAE, Model
from lae_fast.models.lae import EVALUATION_STD
from lae_fast.ops.devices import device_of, normal

CHUNK = 2048


@dataclass(frozen=True)
class ProbeResult:
    """Accuracies in [0, 1] and cross-entropies in nats, after the last epoch."""

    train_accuracy: float
    train_loss: float
    accuracy: float
    loss: float

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


@torch.no_grad()
def latent_law(model: Model, images: ImageSet) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the encoder's latents of images, each ``(n, d_z)``.

    They lie where the model's weights are.

    The VAE's own Gaussian; for the LAE N(phi g(x), 0.05^2), as published.
    """
    means, stds = [], []
    for chunk, labels in images.to(device_of(model)).chunks(CHUNK):
        there, x = model.given(labels), to_pixels(chunk)
        if isinstance(there, VAE):
            mean, log_std = there.posterior(x)
            stds.append(torch.exp(log_std))
        else:
            mean = there.encode(x)
            stds.append(torch.full_like(mean, EVALUATION_STD))
        means.append(mean)
    return torch.cat(means), torch.cat(stds)


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
    """Train the probe on drawn latents and measure it on drawn latents of held-out images.

    The defaults are the report's (tables 4 to 6).

    Args:
        model: gives the latents; not changed.
        train, held_out: images with labels.
        epochs, batch_size, learning_rate: of Adam.
        scale: divide every latent by its standard deviation over the training images first, which
            takes the latents' scale out of how fast the probe learns.
        seed: of weights, order and draws.

    Raises:
        ConfigError: there are no labels.
    """
    classes, device = require_labels(train), device_of(model)
    train, held_out = train.to(device), held_out.to(device)
    law, held_law = latent_law(model, train), latent_law(model, held_out)
    if scale:
        unit = law[0].std(0).clamp(min=1e-12)
        law, held_law = ((mean / unit, std / unit) for mean, std in (law, held_law))
    generator = torch.Generator().manual_seed(seed)
    probe = _make_probe(law[0].shape[1], classes, seed).to(device)
    optimizer = torch.optim.Adam(probe.parameters(), lr=learning_rate)
    for epoch in range(epochs):
        for index in batch_indices(len(train), batch_size, seed=seed, epoch=epoch, device=device):
            z = _draw((law[0][index], law[1][index]), generator)
            loss = F.cross_entropy(probe(z), train.labels[index])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    fitted = _measure(probe, _draw(law, generator), train.labels)
    tested = _measure(probe, _draw(held_law, generator), held_out.labels)
    return ProbeResult(*fitted, *tested)


def require_labels(images: ImageSet) -> int:
    """The number of classes.

    Raises:
        ConfigError: fewer than two.
    """
    if len(images.class_names) < 2:
        raise ConfigError("the data set has no classes to tell apart; give one with labels")
    return len(images.class_names)


def _make_probe(latent_dim: int, classes: int, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.ReLU(), nn.Linear(latent_dim, classes))


def _draw(law: tuple[Tensor, Tensor], generator: torch.Generator) -> Tensor:
    mean, std = law
    return mean + std * normal(mean.shape, generator, mean)


@torch.no_grad()
def _measure(probe: nn.Module, z: Tensor, labels: Tensor) -> tuple[float, float]:
    logits = probe(z)
    accuracy = float((logits.argmax(1) == labels).double().mean())
    return accuracy, float(F.cross_entropy(logits, labels))
