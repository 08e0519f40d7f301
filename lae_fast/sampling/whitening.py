"""Coordinates for phi: plain, or whitened, in which amortized Langevin dynamics mixes.

The features' Gram matrix is dominated by its mean direction, so isotropic steps on phi are held
back by one direction and barely move z along the others. With ``h^T h + lambda I = L L^T``,
``u = phi L`` and ``w = h L^-T``, the latents ``z = w u^T = h phi^T`` are the same and the map has
a constant Jacobian, so the law sampled is the same too, while steps are in z's own units.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from lae_fast.ranks import ALONE, Ranks

TINY = 1e-20
"""The least ridge: far below that of any features in training, and float32 has its inverse."""


class Coordinates(Protocol):
    """The coordinates ``u`` in which a chain runs on one batch of features h."""

    features: Tensor
    """w with ``z = w u^T``, ``(n, d_h)``."""
    check: Tensor | None
    """0-d; NaN if there are no such coordinates, None if there always are."""

    def to_chain(self, phi: Tensor) -> Tensor:
        """A fresh ``u`` for phi ``(d_z, d_h)``."""
        ...

    def to_phi(self, u: Tensor) -> Tensor:
        """The phi of ``u``."""
        ...

    def pull_back(self, grad: Tensor) -> Tensor:
        """Turn ``(dV/dz) u``, ``(n, d_h)``, into ``dV/dh = (dV/dz) phi``."""
        ...


class Plain:
    """u is phi."""

    def __init__(self, features: Tensor) -> None:
        self.features = features
        self.check: Tensor | None = None

    def to_chain(self, phi: Tensor) -> Tensor:
        return phi.clone()

    def to_phi(self, u: Tensor) -> Tensor:
        return u

    def pull_back(self, grad: Tensor) -> Tensor:
        return grad


class Whitened:
    """u is ``phi L``; `check` says whether there is such an L, and nothing waits for it.

    Args:
        features: h, ``(n, d_h)``.
        damping: lambda as a share of the Gram matrix's mean diagonal; it keeps directions that
            the batch does not determine from being blown up.
        ranks: the processes whose features together are the batch's.
    """

    def __init__(self, features: Tensor, damping: float, ranks: Ranks = ALONE) -> None:
        gram = features.T @ features
        ranks.sum_(gram)
        mean_diagonal = gram.diagonal().mean()
        gram.diagonal().add_(damping * mean_diagonal)
        self.factor, failed = torch.linalg.cholesky_ex(gram)
        self.check: Tensor | None = torch.where(failed == 0, 0.0, torch.nan)
        # The damping bounds the factor's condition, and products are faster than substitution.
        identity = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
        self.inverse: Tensor = torch.linalg.solve_triangular(self.factor, identity, upper=False)
        self.features: Tensor = features @ self.inverse.T

    def to_chain(self, phi: Tensor) -> Tensor:
        u: Tensor = phi @ self.factor
        return u

    def to_phi(self, u: Tensor) -> Tensor:
        phi: Tensor = u @ self.inverse
        return phi

    pull_back = to_phi
    """The chain rule applies the same inverse: ``(dV/dz) u L^-1 = (dV/dz) phi``."""


def make_coordinates(features: Tensor, damping: float | None, ranks: Ranks = ALONE) -> Coordinates:
    """Whitened with this damping, or plain when it is None."""
    return Plain(features) if damping is None else Whitened(features, damping, ranks)


class RidgeMap:
    """``(h h^T + lambda I)^-1 h``, ``(n, d_h)``, as a map from moves of z to moves of phi.

    A move ``dz`` ``(n, d_z)`` becomes ``dz^T (h h^T + lambda I)^-1 h``, its ridge regression on the
    features; ``h dphi^T`` tends to dz as the damping goes to 0, if h has full row rank. Where the
    features are all zero, as those of a network whose units have died, phi does not move. Moves are
    few, so that the map itself is never formed. Nothing here waits for the device.

    Args:
        features: h, ``(n, d_h)``; this rank's rows of them.
        damping: lambda as a share of the mean diagonal of ``h h^T``.
        ranks: the processes whose features together are the batch's.
        images: of all ranks together; ``len(features)`` when not given.

    Attributes:
        check: 0-d; NaN where the features are not finite.
    """

    def __init__(
        self, features: Tensor, damping: float, ranks: Ranks = ALONE, images: int | None = None
    ) -> None:
        n = len(features) if images is None else images
        self.share = ranks.share(n)
        # Both sides give the same map; the smaller system is the cheaper one, and the smaller
        # message.
        self.by_images = n <= features.shape[1]
        if self.by_images:
            self.features = ranks.gather(features, n)
            gram, squares = self.features @ self.features.T, self.features.square().sum()
        else:
            self.features = features
            gram, squares = features.T @ features, features.square().sum()
            ranks.sum_(gram, squares)
        # Features that are all zero would be a ridge of 0; with any other, phi stays where it is.
        gram.diagonal().add_((damping * squares / n).clamp_min(TINY))
        self.factor, failed = torch.linalg.cholesky_ex(gram)
        self.check = torch.where(failed == 0, 0 * squares, torch.nan)

    def __call__(self, moves: Tensor) -> Tensor:
        """Moves of phi, ``(k, d_h)``, from this rank's rows of moves of z, ``(n, k)``.

        Those of all ranks add up.
        """
        if not self.by_images:
            return torch.cholesky_solve(self.features.T @ moves, self.factor).T
        whole = moves
        if len(moves) < len(self.features):
            whole = moves.new_zeros(len(self.features), moves.shape[1])
            whole[self.share] = moves
        return torch.cholesky_solve(whole, self.factor).T @ self.features
