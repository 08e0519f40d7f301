"""The decoder's negative log-likelihood with its gradients: z's at once, the weights' on demand.

A Langevin step needs dV/dz of every proposal, but the weight gradients only of the states it
keeps. `ExplicitEvaluator` exploits that for the networks it knows; `AutogradEvaluator` takes any
module, and runs its decoder once more for the weight gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from lae_fast.models.likelihoods import FUSED, Likelihood
from lae_fast.models.mlp import MLP, Saved, grad_of
from lae_fast.ops.networks import copy_rows_
from lae_fast.train.trainers.precision import DRIFT_PRODUCTS

Weigh = Callable[[Tensor], Tensor]
"""From -log p(x_i | z_i), ``(n,)`` float64, to the weight of each term in a sum, alike."""


@dataclass
class Evaluation:
    """One pass through the decoder.

    Attributes:
        values: -log p(x_i | z_i), ``(n,)`` float64.
        grad_z: gradient of their sum, ``(n, d_z)``.
        kept: the evaluator's own; holds what `Evaluator.add_weight_grads` needs.
    """

    values: Tensor
    grad_z: Tensor
    kept: Any


class Evaluator(Protocol):
    """Evaluates a decoder and its likelihood on a batch."""

    description: str

    def evaluate(self, x: Tensor, z: Tensor) -> Evaluation:
        """Value and z-gradient at ``z`` for images ``x`` ``(n, d_x)``; z may change afterwards."""
        ...

    def add_weight_grads(self, evaluation: Evaluation, weight: float) -> None:
        """Add ``weight`` times the evaluation's weight gradients to ``parameter.grad``."""
        ...

    def accumulate(self, x: Tensor, z: Tensor, weigh: Weigh | None = None) -> tuple[Tensor, Tensor]:
        """Values and z-gradient at ``z``, the weight gradients added to ``parameter.grad``.

        Gradients are of the sum of the values, or of their sum with the weights of ``weigh``, which
        count as constants.
        """
        ...

    def merge(self, current: Evaluation, new: Evaluation, moved: Tensor) -> Evaluation:
        """What `add_weight_grads` needs, and ``grad_z``, where only some images moved.

        The images in ``moved`` (bool ``(n,)``, or ``(1,)`` for all of them) are taken from ``new``,
        the others from ``current``; both are given up.
        """
        ...

    def release(self, evaluation: Evaluation) -> None:
        """Give up an evaluation, so that its memory serves the next."""
        ...


FEW_INPUTS = 64
"""Up to so many latents the decoder's first layer gives its gradient in the launch of its block;
more are a product worth a library's kernel, which on a CPU all are."""


class ExplicitEvaluator:
    """For an `MLP` decoder: weight-gradient products are done only for what is kept.

    Evaluations that are given up leave their buffers for the next, so a chain of any length holds
    those of two. ``precision`` is of the data-backward's products; see
    `lae_fast.train.trainers.precision`.
    """

    def __init__(self, decoder: MLP, likelihood: Likelihood, precision: str = "float32") -> None:
        self.decoder, self.likelihood, self.precision = decoder, likelihood, precision
        self.product = DRIFT_PRODUCTS[precision]
        self.description = "explicit MLP backward"
        if precision != "float32":
            self.description += f", drift in {precision}"
        self._free: list[Saved] = []

    def fresh(self) -> ExplicitEvaluator:
        """Another of the same kind, with buffers of its own."""
        return ExplicitEvaluator(self.decoder, self.likelihood, self.precision)

    def evaluate(self, x: Tensor, z: Tensor) -> Evaluation:
        return self.evaluate_into(x, z, self.buffers(len(z)))

    @torch.no_grad()
    def evaluate_into(
        self,
        x: Tensor,
        z: Tensor,
        saved: Saved,
        *,
        prior: bool = False,
        weigh: Weigh | None = None,
    ) -> Evaluation:
        """`evaluate` with buffers of the caller's; z may be their input itself.

        With ``prior`` the gradient is that of ``-log p(x | z) + ||z||^2 / 2``. ``weigh`` is as in
        `Evaluator.accumulate`.
        """
        decoder = self.decoder
        assert decoder.last is not None
        assert saved.output is not None
        decoder.forward_saved(z, saved)
        values, by_scale = self.likelihood.fused_grad_(saved.output, decoder.last.bias, x)
        if weigh is not None:
            weights = weigh(values)
            saved.output.mul_(weights.to(z.dtype).unsqueeze(1))
            by_scale = None if by_scale is None else by_scale * weights
        if z.shape[1] > FEW_INPUTS or z.device.type == "cpu":
            decoder.backward_data(saved, self.product)
            grad_z = decoder.grad_input(saved)
            grad_z = grad_z.add_(z) if prior else grad_z
        else:
            grad_z = torch.empty_like(z)
            decoder.backward_data(saved, self.product, grad_z, z if prior else None)
        return Evaluation(values, grad_z, (saved, by_scale))

    def buffers(self, rows: int) -> Saved:
        """Buffers of so many rows that were given back, or new ones."""
        like = next(self.decoder.parameters())
        while self._free:
            saved = self._free.pop()
            if len(saved.input) == rows and saved.input.dtype == like.dtype:
                return saved
        return self.decoder.new_saved(rows)

    def give_back(self, saved: Saved) -> None:
        """Let these buffers serve another evaluation."""
        self._free.append(saved)

    def add_weight_grads(self, evaluation: Evaluation, weight: float) -> None:
        saved, by_scale = evaluation.kept
        self.add_kept(saved, by_scale, weight)

    @torch.no_grad()
    def add_kept(self, saved: Saved, by_scale: Tensor | None, weight: float) -> None:
        """`add_weight_grads` of what evaluations of any number of images keep."""
        self.decoder.add_weight_grads(saved, weight)
        self.likelihood.add_scale_grad(by_scale, weight)

    def accumulate(self, x: Tensor, z: Tensor, weigh: Weigh | None = None) -> tuple[Tensor, Tensor]:
        evaluation = self.evaluate_into(x, z, self.buffers(len(z)), weigh=weigh)
        self.add_weight_grads(evaluation, 1.0)
        self.release(evaluation)
        return evaluation.values, evaluation.grad_z

    def merge(self, current: Evaluation, new: Evaluation, moved: Tensor) -> Evaluation:
        merge_rows(current, new, moved)
        self.release(current)
        return new

    def release(self, evaluation: Evaluation) -> None:
        self.give_back(evaluation.kept[0])
        evaluation.kept = None


def merge_rows(current: Evaluation, new: Evaluation, moved: Tensor) -> None:
    """Copy what an explicit evaluation keeps, of images that did not move, into ``new``."""
    (old, old_scale), (saved, by_scale) = current.kept, new.kept
    into, source = [*saved.rows(), new.grad_z], [*old.rows(), current.grad_z]
    if by_scale is not None:
        into, source = [*into, by_scale], [*source, old_scale]
    # Most images move, so the fewer rows are those that stay.
    copy_rows_(into, source, moved, where=False)


class AutogradEvaluator:
    """For any decoder module."""

    description = "autograd"

    def __init__(self, decoder: nn.Module, likelihood: Likelihood) -> None:
        self.decoder, self.likelihood = decoder, likelihood
        self.parameters = [
            p for module in (decoder, likelihood) for p in module.parameters() if p.requires_grad
        ]

    def evaluate(self, x: Tensor, z: Tensor) -> Evaluation:
        with torch.enable_grad():
            point = z.detach().requires_grad_()
            values = self.likelihood.nll(self.decoder(point), x).double()
            (grad_z,) = torch.autograd.grad(values.sum(), point)
        return Evaluation(values.detach(), grad_z, (x, z.clone()))

    def add_weight_grads(self, evaluation: Evaluation, weight: float) -> None:
        x, z = evaluation.kept
        with torch.enable_grad():
            value = self.likelihood.nll(self.decoder(z.detach()), x).sum()
            grads = torch.autograd.grad(weight * value, self.parameters, allow_unused=True)
        self._add(grads)

    def accumulate(self, x: Tensor, z: Tensor, weigh: Weigh | None = None) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            point = z.detach().requires_grad_()
            values = self.likelihood.nll(self.decoder(point), x).double()
            total = values.sum() if weigh is None else values @ weigh(values.detach())
            grad_z, *grads = torch.autograd.grad(
                total, [point, *self.parameters], allow_unused=True
            )
        self._add(grads)
        return values.detach(), grad_z

    def _add(self, grads: Sequence[Tensor | None]) -> None:
        for parameter, grad in zip(self.parameters, grads, strict=True):
            if grad is not None:
                grad_of(parameter).add_(grad)

    def merge(self, current: Evaluation, new: Evaluation, moved: Tensor) -> Evaluation:
        (_, old), (x, z) = current.kept, new.kept
        rows = moved[:, None]
        grad_z = torch.where(rows, new.grad_z, current.grad_z)
        return Evaluation(new.values, grad_z, (x, torch.where(rows, z, old)))

    def release(self, evaluation: Evaluation) -> None:
        """Nothing to do: autograd owns the memory."""


class Encoder(Protocol):
    """Computes a batch's features and takes their gradient back into the weights."""

    def features(self, x: Tensor) -> Tensor:
        """g(x), ``(n, d_h)``, or a VAE's ``(n, 2 d_z)``; good until the next call."""
        ...

    def backward(self, grad: Tensor) -> None:
        """Add the weight gradients, given that of the latest features."""
        ...


class ExplicitEncoder:
    """For an `MLP`, on images of which no gradient is wanted."""

    def __init__(self, mlp: MLP) -> None:
        self.mlp = mlp
        self._saved: Saved | None = None

    def features(self, x: Tensor) -> Tensor:
        if self._saved is None or len(self._saved.input) != len(x):
            self._saved = self.mlp.new_saved(len(x))
        self.mlp.forward_saved(x, self._saved)
        if self.mlp.last is None:
            return self._saved.features
        assert self._saved.output is not None
        with torch.no_grad():
            return self._saved.output + self.mlp.last.bias

    @torch.no_grad()
    def backward(self, grad: Tensor) -> None:
        assert self._saved is not None
        last = self._saved.output
        (self._saved.blocks[-1].grad_norm if last is None else last).copy_(grad)
        self.mlp.backward_data(self._saved)
        self.mlp.add_weight_grads(self._saved, 1.0)


class AutogradEncoder:
    """For any encoder module."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self._features: Tensor | None = None

    def features(self, x: Tensor) -> Tensor:
        with torch.enable_grad():
            self._features = self.module(x)
        return self._features.detach()

    def backward(self, grad: Tensor) -> None:
        assert self._features is not None
        self._features.backward(grad)  # type: ignore[no-untyped-call]
        self._features = None


def make_encoder(encoder: nn.Module) -> Encoder:
    """The explicit encoder where it is exactly an `MLP`, autograd elsewhere."""
    if type(encoder) is MLP:
        return ExplicitEncoder(encoder)
    return AutogradEncoder(encoder)


def make_evaluator(
    decoder: nn.Module, likelihood: Likelihood, precision: str = "float32"
) -> Evaluator:
    """The explicit evaluator where decoder and likelihood are of the library, else autograd.

    Raises:
        ValueError: a precision other than float32 where autograd would run.
    """
    if type(decoder) is MLP and type(likelihood) in FUSED:
        return ExplicitEvaluator(decoder, likelihood, precision)
    if precision != "float32":
        raise ValueError(f"precision {precision} needs a fully connected decoder")
    return AutogradEvaluator(decoder, likelihood)
