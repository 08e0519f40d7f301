"""Anomaly detection: which images a model reconstructs badly or finds unlikely."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from lae_fast import progress
from lae_fast.data import ImageSet
from lae_fast.errors import DataError
from lae_fast.models import Model
from lae_fast.ops.devices import normal
from lae_fast.sampling.marginal import refined_importance_sampling

SCORES = ("mse", "elbo", "likelihood")
DEVIATIONS = 2.0
"""Standard deviations from the familiar images' mean score to the threshold."""
CHUNK = 500
"""Images scored together."""


@dataclass(frozen=True)
class Detection:
    """How well a score tells foreign images from familiar ones.

    Attributes:
        score: one of `SCORES`.
        auroc: area under the receiver operating characteristic; 1 is perfect.
        threshold: ends of the interval mean +- 2 standard deviations of the score, over the half
            of the familiar images that it is fitted to.
        familiar_kept: share of the other familiar images inside the interval.
        foreign_found: share of the foreign images outside the interval.
        familiar_mean, foreign_mean: mean scores.
    """

    score: str
    auroc: float
    threshold: tuple[float, float]
    familiar_kept: float
    foreign_found: float
    familiar_mean: float
    foreign_mean: float


def detect(
    model: Model, familiar: ImageSet, foreign: ImageSet, score: str = "mse", *, seed: int = 0
) -> Detection:
    """Fit a threshold to half of ``familiar``; test it on the other half and on ``foreign``.

    Args:
        model: scores the images; it is not changed.
        familiar: held-out images of the training's data set, at least 4.
        foreign: images of the same shape from elsewhere.
        score: one of `SCORES`; see `anomaly_scores`.
        seed: of the scores' draws.

    Raises:
        DataError: the images are of different shapes, or too few.
    """
    if familiar.image_shape != foreign.image_shape:
        raise DataError(
            f"the foreign images are {foreign.image_shape} and the model's are "
            f"{familiar.image_shape} (channels, height, width); give images of the same shape"
        )
    if len(familiar) < 4 or len(foreign) < 1:
        raise DataError(
            f"there are {len(familiar)} familiar and {len(foreign)} foreign images; give at least "
            "4 and 1"
        )
    from sklearn.metrics import roc_auc_score

    near, far = progress.parts(len(familiar), len(foreign))
    with near:
        values = anomaly_scores(model, familiar, score, seed=seed)
    fitted, kept = values[: len(values) // 2], values[len(values) // 2 :]
    with far:
        out = anomaly_scores(model, foreign, score, seed=seed)
    middle, reach = float(fitted.mean()), DEVIATIONS * float(fitted.std())
    truth = torch.cat([torch.zeros(len(kept)), torch.ones(len(out))])
    return Detection(
        score,
        float(roc_auc_score(truth.numpy(), torch.cat([kept, out]).numpy())),
        (middle - reach, middle + reach),
        float(((kept - middle).abs() <= reach).double().mean()),
        float(((out - middle).abs() > reach).double().mean()),
        float(kept.mean()),
        float(out.mean()),
    )


def anomaly_scores(model: Model, images: ImageSet, score: str = "mse", *, seed: int = 0) -> Tensor:
    """Score of every image, ``(n,)`` float64 on the CPU; higher is stranger.

    - ``mse``: mean squared error per pixel of the reconstruction from the mean latents;
    - ``elbo``: one-sample -log p(x | z) plus the model's prior term, nats;
    - ``likelihood``: importance-sampled -log p(x), nats, with a proposal refined for each image.
    """
    batches = progress.steps(model.over(images, CHUNK), -(-len(images) // CHUNK))
    if score == "likelihood":
        starts = ((partial(there.nll, x), there.encode(x)) for there, x in batches)
        found = refined_importance_sampling(starts, samples=200, refine_steps=100, seed=seed)
        return found.nll.cpu()
    generator = torch.Generator().manual_seed(seed)
    parts = []
    with torch.no_grad():
        for there, x in batches:
            if score == "mse":
                parts.append((there.decode(there.encode(x)) - x).square().mean(1))
            else:
                noise = normal((len(x), model.latent_dim), generator, x)
                reconstruction, prior = there.terms(x, noise)
                parts.append(reconstruction + prior)
    return torch.cat(parts).double().cpu()


def rotated(images: ImageSet) -> ImageSet:
    """The images turned by a quarter: a foreign set that needs no download.

    Raises:
        DataError: the images are not square.
    """
    if images.image_shape[1] != images.image_shape[2]:
        raise DataError("only square images can be turned by a quarter; name another data set")
    turned = images.images.rot90(dims=(2, 3)).contiguous()
    return ImageSet(turned, images.labels, images.class_names)
