"""A classifier trained on images and their generated neighbours (Bisht 2023, Algorithm 3).

Every image of a batch comes with N neighbours: decoded draws of q(z | x) of a frozen generative
model, with the image's label. The loss is the mean over all N + 1 copies.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lae_fast.analysis.fitting import Fit, fit_network, split
from lae_fast.analysis.probe import draw, latent_law, require_labels
from lae_fast.analysis.saved import SavedRun, held_out_images, load_splits
from lae_fast.data import ImageSet, to_pixels
from lae_fast.errors import CheckpointError
from lae_fast.models import Model
from lae_fast.models.classifier import ConvClassifier
from lae_fast.ops.devices import device_of
from lae_fast.runs import checkpoint
from lae_fast.runs.files import own_folder

CHUNK = 2048
"""Images scored together."""
PUBLISHED_BATCH = 128
"""Of Bisht (2023); names of classifiers leave it out."""


@dataclass(frozen=True)
class Score:
    """How well a classifier does on held-out images.

    Attributes:
        accuracy: share of the images that are classified correctly.
        balanced_accuracy: mean over classes of that share.
        loss: -log p(label), nats per image.
        curve: accuracy on held-out images after each epoch, where their number is given; else on
            validation images, at every look at them.
        updates: of Adam.
    """

    accuracy: float
    balanced_accuracy: float
    loss: float
    curve: tuple[float, ...] = field(default=())
    updates: int = 0


class Neighbours:
    """Draws N neighbours of images: decoded draws of q(z | x).

    Args:
        model: the generative model; it is not changed. Neighbours lie on its device.
        images: the images that have neighbours.
        count: N.
        seed: of the draws.
    """

    def __init__(self, model: Model, images: ImageSet, count: int, seed: int) -> None:
        self.model, self.count, self.shape = model, count, images.image_shape
        self.law = latent_law(model, images)
        self.labels = images.labels.to(device_of(model))
        self.generator = torch.Generator().manual_seed(seed)

    @torch.no_grad()
    def of(self, index: Tensor) -> Tensor:
        """Neighbours of the images at ``index`` ``(n,)``: ``(N n, c, h, w)``: all n, N times."""
        mean, std = (t[index].repeat(self.count, 1) for t in self.law)
        z = draw((mean, std), self.generator)
        return self.model.given(self.labels[index]).decode(z).view(-1, *self.shape)


@dataclass(frozen=True)
class Recipe:
    """How a classifier is trained.

    Attributes:
        neighbours: N, per image.
        epochs: exactly so many; None trains until the loss on a tenth of the training images
            stops falling.
        updates: at most so many, where the number of epochs is not given.
        batch_size, learning_rate: of Adam; neighbours come on top.
        per_class: most training images per class; None trains on all.
        imbalance: share of its images that the last class keeps, the classes before it
            geometrically more; None keeps all.
        seed: of weights, order, dropout and draws.
    """

    neighbours: int = 0
    epochs: int | None = None
    updates: int = 5000
    batch_size: int = 64
    learning_rate: float = 1e-2
    per_class: int | None = None
    imbalance: float | None = None
    seed: int = 0

    @property
    def name(self) -> str:
        """The name under which a run folder keeps this classifier."""
        span = f"updates{self.updates}" if self.epochs is None else f"epochs{self.epochs}"
        parts = [f"n{self.neighbours}", span, f"rate{self.learning_rate:g}"]
        parts += [f"batch{self.batch_size}"] if self.batch_size != PUBLISHED_BATCH else []
        parts += [f"few{self.per_class}"] if self.per_class else []
        parts += [f"imbalance{self.imbalance:g}"] if self.imbalance else []
        return "-".join([*parts, f"seed{self.seed}"])

    def thinned(self, images: ImageSet) -> ImageSet:
        """The images that the classifier is trained on."""
        if self.imbalance is not None:
            images = imbalanced(images, self.imbalance, self.seed)
        return images if self.per_class is None else few_labels(images, self.per_class, self.seed)

    def work(self, images: Callable[[], ImageSet]) -> int:
        """How many images and neighbours the training passes through the classifier, at most.

        The training images are asked for only where epochs are counted.
        """
        count = self.updates * self.batch_size
        if self.epochs is not None:
            count = self.epochs * len(self.thinned(images()))
        return count * (self.neighbours + 1)


def obtain(
    run: SavedRun,
    recipe: Recipe,
    data_dir: str | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> tuple[ConvClassifier, dict[str, Any]]:
    """The classifier of a recipe for a run: from the run folder if it is there, else trained now.

    Args:
        run: has the generative model, the data set, and the folder that keeps classifiers.
        recipe: how to train.
        data_dir: folder of the data set, if it has moved since the run's training.
        say: receives a line when a training begins.

    Returns:
        the classifier, on the device of the run's model, and its `Score` as plain values, with
        ``train_images``.
    """
    known = load_classifier(run.path, recipe.name)
    if known is not None:
        return known[0].to(device_of(run.model)), known[1]["score"]
    say(f"training the classifier {recipe.name} of {run.path.name}")
    train = recipe.thinned(load_splits(run.config, data_dir).train)
    model, found = train_classifier(
        train,
        held_out_images(run.config, data_dir),
        generator=run.model,
        neighbours=recipe.neighbours,
        epochs=recipe.epochs,
        updates=recipe.updates,
        batch_size=recipe.batch_size,
        learning_rate=recipe.learning_rate,
        seed=recipe.seed,
        device=device_of(run.model),
    )
    score_values = {"train_images": len(train)} | asdict(found)
    about = {"image_shape": train.image_shape, "classes": len(train.class_names)}
    save_classifier(run.path, recipe.name, model, about | {"score": score_values})
    return model, score_values


def train_classifier(
    train: ImageSet,
    held_out: ImageSet,
    *,
    generator: Model | None = None,
    neighbours: int = 0,
    epochs: int | None = None,
    updates: int = 5000,
    batch_size: int = 64,
    learning_rate: float = 1e-2,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> tuple[ConvClassifier, Score]:
    """A classifier trained by Algorithm 3, and its score.

    Args:
        train, held_out: images with labels.
        generator: model whose neighbours join the batches; needed for ``neighbours > 0``.
        neighbours: N, per image.
        epochs, updates: exactly so many epochs; without them, until the loss on a tenth of the
            training images stops falling, and at most so many updates.
        batch_size, learning_rate: of Adam.
        seed: of weights, order, dropout and draws.
        device: where to compute, and where the generator's weights are.

    Raises:
        ConfigError: fewer than two classes, or images too small to classify.
    """
    classes = require_labels(train)
    fit = Fit(epochs, updates, batch_size, learning_rate, seed)
    train, validation = split(train.to(device), fit)
    held_out = held_out.to(device)
    near = None
    if neighbours:
        if generator is None:
            raise ValueError("neighbours need a generative model")
        near = Neighbours(generator, train, neighbours, seed)
    curve: list[float] = []

    def loss_of(index: Tensor) -> Tensor:
        x, labels = as_pictures(train.images[index]), train.labels[index]
        if near is not None:
            x, labels = torch.cat([x, near.of(index)]), labels.repeat(neighbours + 1)
        return F.nll_loss(model(x), labels)

    def validate() -> float:
        assert validation is not None
        found = score(model, validation)
        curve.append(found.accuracy)
        return found.loss

    def after_epoch() -> None:
        if epochs is not None:
            curve.append(score(model, held_out).accuracy)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ConvClassifier(train.image_shape, classes).to(device)
        if epochs is None:  # a quarter faster; other rounding than published figures have
            model = model.to(memory_format=torch.channels_last)
        done = fit_network(
            model,
            loss_of,
            len(train),
            fit,
            device=device,
            validate=None if validation is None else validate,
            after_epoch=after_epoch,
        )
    last = score(model, held_out)
    return model.eval(), replace(last, curve=tuple(curve), updates=done)


@torch.no_grad()
def score(model: ConvClassifier, images: ImageSet) -> Score:
    """How well a classifier does on images; it is left in evaluation mode."""
    model.eval()
    images = images.to(device_of(model))
    parts = [model(as_pictures(chunk)) for chunk, _ in images.chunks(CHUNK)]
    log_probs = torch.cat(parts)
    right = (log_probs.argmax(1) == images.labels).double()
    counts = torch.bincount(images.labels)
    shares = torch.bincount(images.labels, weights=right)[counts > 0] / counts[counts > 0]
    loss = F.nll_loss(log_probs, images.labels)
    return Score(float(right.mean()), float(shares.mean()), float(loss))


def as_pictures(images: Tensor) -> Tensor:
    """Bytes ``(n, c, h, w)`` as floats in [0, 1] of the same shape."""
    return to_pixels(images).view(images.shape)


def few_labels(images: ImageSet, per_class: int, seed: int = 0) -> ImageSet:
    """At most ``per_class`` images of every class, drawn at random."""
    return _keep(images, [per_class] * len(images.class_names), seed)


def imbalanced(images: ImageSet, ratio: float, seed: int = 0) -> ImageSet:
    """All images of the first class, the share ``ratio`` of the last, geometrically between."""
    classes = require_labels(images)
    sizes = torch.bincount(images.labels, minlength=classes).tolist()
    shares = [ratio ** (k / (classes - 1)) for k in range(classes)]
    counts = [max(1, round(n * share)) for n, share in zip(sizes, shares, strict=True)]
    return _keep(images, counts, seed)


def _keep(images: ImageSet, counts: list[int], seed: int) -> ImageSet:
    generator = torch.Generator().manual_seed(seed)
    kept = []
    for label, count in enumerate(counts):
        members = (images.labels == label).nonzero()[:, 0]
        kept.append(members[torch.randperm(len(members), generator=generator)[:count]])
    return images.subset(torch.cat(kept).sort().values)


def save_classifier(run: Path, name: str, model: ConvClassifier, about: dict[str, Any]) -> None:
    """Write a classifier into the folder ``classifiers`` of a run."""
    checkpoint.write(own_folder(run, "classifiers"), name, model.state_dict(), about)


def load_classifier(run: Path, name: str) -> tuple[ConvClassifier, dict[str, Any]] | None:
    """A classifier that `save_classifier` wrote, with its ``about``; None if there is none.

    Raises:
        CheckpointError: it cannot be read.
    """
    if not is_kept(run, name):
        return None
    folder = run / "classifiers"
    tensors, about = checkpoint.read(folder, name)
    try:
        channels, height, width = about["image_shape"]
        model = ConvClassifier((channels, height, width), about["classes"])
        model.load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, RuntimeError, json.JSONDecodeError) as error:
        raise CheckpointError(
            f"the classifier '{name}' of {run} is corrupt; delete {folder} to train it again"
        ) from error
    return model.eval(), about


def is_kept(run: Path, name: str) -> bool:
    """Whether a run folder has a classifier of this name."""
    return (run / "classifiers" / "checkpoints" / f"{name}.json").exists()
