"""Likelihoods of an image given the decoder's output, for pixels in [0, 1].

Each gives the negative log-likelihood of every image (nats, differentiable), the same with its
gradients in one fused pass (for the explicit backward), the mean image, and draws.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lae_fast.models.mlp import grad_of
from lae_fast.ops import networks
from lae_fast.ops.devices import normal, uniform

LEVELS = 256
"""Grey levels of an image; a pixel's bin is 1 / (LEVELS - 1) wide."""


class Likelihood(nn.Module):
    """Base: subclasses define `nll` and `mean`, and those in `FUSED` also `fused_grad_`.

    ``output`` and ``x`` are ``(n, d)``, pixels in [0, 1].
    """

    def nll(self, output: Tensor, x: Tensor) -> Tensor:
        """-log p(x | output) of every image, ``(n,)``, nats."""
        raise NotImplementedError

    def fused_grad_(self, output: Tensor, bias: Tensor, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """`nll` at ``output + bias``, and its derivatives; ``output`` becomes the gradient.

        Returns:
            the values, float64 ``(n,)``, and their derivatives with respect to the logarithm of the
            scale, float64 ``(n,)``, or None without a scale.
        """
        raise NotImplementedError

    def add_scale_grad(self, by_scale: Tensor | None, weight: float) -> None:
        """Add ``weight`` times the sum of `fused_grad_`'s derivatives to the scale's ``grad``."""

    def mean(self, output: Tensor) -> Tensor:
        """E[x | output], clamped to [0, 1]."""
        raise NotImplementedError

    def draw(self, output: Tensor, generator: torch.Generator) -> Tensor:
        """x drawn from p(x | output), with a generator of the CPU."""
        raise NotImplementedError


class Bernoulli(Likelihood):
    """Independent Bernoulli pixels; ``output`` is the logit.

    For grey pixels this is the binary cross-entropy: a score, not a normalised density.
    """

    def nll(self, output: Tensor, x: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(output, x, reduction="none").sum(1)

    @torch.no_grad()
    def fused_grad_(self, output: Tensor, bias: Tensor, x: Tensor) -> tuple[Tensor, Tensor | None]:
        return networks.bernoulli_grad_(output, bias, x), None

    def mean(self, output: Tensor) -> Tensor:
        return torch.sigmoid(output)

    def draw(self, output: Tensor, generator: torch.Generator) -> Tensor:
        return (uniform(output.shape, generator, output) < torch.sigmoid(output)).to(output.dtype)


class _Scaled(Likelihood):
    """A likelihood with one scale for all pixels, fixed, or learned through its logarithm."""

    initial_scale = 0.1

    def __init__(self, scale: float | None) -> None:
        super().__init__()
        log_scale = torch.tensor(math.log(self.initial_scale if scale is None else scale))
        self.learned = scale is None
        if self.learned:
            self.log_scale = nn.Parameter(log_scale)
        else:
            self.register_buffer("log_scale", log_scale)

    def add_scale_grad(self, by_scale: Tensor | None, weight: float) -> None:
        if self.learned:
            assert by_scale is not None
            grad_of(self.log_scale).add_(by_scale.sum(), alpha=weight)

    def mean(self, output: Tensor) -> Tensor:
        return output.clamp(0.0, 1.0)


class Gaussian(_Scaled):
    """Independent Gaussian pixels; ``output`` is the mean, ``scale`` the standard deviation."""

    def nll(self, output: Tensor, x: Tensor) -> Tensor:
        square = (output - x).square().sum(1) * (0.5 * torch.exp(-2 * self.log_scale))
        return square + x.shape[1] * (self.log_scale + 0.5 * math.log(2 * math.pi))

    @torch.no_grad()
    def fused_grad_(self, output: Tensor, bias: Tensor, x: Tensor) -> tuple[Tensor, Tensor | None]:
        return networks.gaussian_grad_(output, bias, x, self.log_scale)

    def draw(self, output: Tensor, generator: torch.Generator) -> Tensor:
        return output + torch.exp(self.log_scale) * normal(output.shape, generator, output)


class DiscretizedLogistic(_Scaled):
    """A logistic density integrated over each grey level's bin; ``output`` is its location.

    A bin's mass is ``sigmoid(b) sigmoid(-a) (1 - exp(a - b))``, with ``a < b`` its standardised
    ends: no difference of nearly equal numbers. The bins of black and white reach to infinity, so
    the factors of their missing end are left out.
    """

    def nll(self, output: Tensor, x: Tensor) -> Tensor:
        inverse = torch.exp(-self.log_scale)
        half = 0.5 / (LEVELS - 1)
        low, high = (x - half - output) * inverse, (x + half - output) * inverse
        black, white = x <= half, x >= 1 - half
        log_mass = (
            F.logsigmoid(high).masked_fill(white, 0.0)
            + F.logsigmoid(-low).masked_fill(black, 0.0)
            + torch.log(-torch.expm1(-2 * half * inverse)) * (~(black | white))
        )
        return -log_mass.sum(1)

    @torch.no_grad()
    def fused_grad_(self, output: Tensor, bias: Tensor, x: Tensor) -> tuple[Tensor, Tensor | None]:
        return networks.discretized_logistic_grad_(output, bias, x, self.log_scale)

    def draw(self, output: Tensor, generator: torch.Generator) -> Tensor:
        noise = torch.logit(uniform(output.shape, generator, output), eps=1e-6)
        x = output + torch.exp(self.log_scale) * noise
        return (x.clamp(0, 1) * (LEVELS - 1)).round() / (LEVELS - 1)


FUSED = (Bernoulli, Gaussian, DiscretizedLogistic)
"""Likelihoods that have `Likelihood.fused_grad_`."""


def make_likelihood(name: str, scale: float | None = None) -> Likelihood:
    """The likelihood of a name in `lae_fast.config.LIKELIHOODS`; its scale is learned if None."""
    if name == "bernoulli":
        return Bernoulli()
    return {"gaussian": Gaussian, "discretized-logistic": DiscretizedLogistic}[name](scale)
