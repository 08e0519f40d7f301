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
        """See `Coordinates.to_chain`."""
        return phi.clone()

    def to_phi(self, u: Tensor) -> Tensor:
        """See `Coordinates.to_phi`."""
        return u

    def pull_back(self, grad: Tensor) -> Tensor:
        """See `Coordinates.pull_back`."""
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
        self.features: Tensor = torch.linalg.solve_triangular(
            self.factor, features.T, upper=False
        ).T

    def to_chain(self, phi: Tensor) -> Tensor:
        """See `Coordinates.to_chain`."""
        u: Tensor = phi @ self.factor
        return u

    def to_phi(self, u: Tensor) -> Tensor:
        """See `Coordinates.to_phi`."""
        phi: Tensor = torch.linalg.solve_triangular(self.factor, u, upper=False, left=False)
        return phi

    pull_back = to_phi
    """The chain rule applies the same inverse: ``(dV/dz) u L^-1 = (dV/dz) phi``."""


def make_coordinates(features: Tensor, damping: float | None, ranks: Ranks = ALONE) -> Coordinates:
    """Whitened with this damping, or plain when it is None."""
    return Plain(features) if damping is None else Whitened(features, damping, ranks)


def ridge_map(
    features: Tensor, damping: float, ranks: Ranks = ALONE, images: int | None = None
) -> Tensor:
    """``(h h^T + lambda I)^-1 h``, ``(n, d_h)``: turns moves of z into moves of phi.

    ``dphi = dz^T ridge_map(h)`` is the ridge regression of a displacement ``dz`` ``(n, d_z)`` on
    the features; ``h dphi^T`` tends to dz as the damping goes to 0, if h has full row rank.

    Args:
        features: h, ``(n, d_h)``; this rank's rows of them.
        damping: lambda as a share of the mean diagonal of ``h h^T``.
        ranks: the processes whose features together are the batch's. Each gets its own rows of
            the map; their moves of phi add up.
        images: of all ranks together; ``len(features)`` when not given.

    Returns:
        The map; not finite where the features are not, or are all zero. Nothing here waits for
        the device.
    """
    n, width = len(features) if images is None else images, features.shape[1]
    # Both sides give the same matrix; the smaller system is the cheaper one, and the smaller
    # message.
    if n <= width:
        whole = ranks.gather(features, n)
        gram, squares = whole @ whole.T, whole.square().sum()
    else:
        gram, squares = features.T @ features, features.square().sum()
        ranks.sum_(gram, squares)
    gram.diagonal().add_(damping * squares / n)
    factor, failed = torch.linalg.cholesky_ex(gram)
    if n <= width:
        ridge = torch.cholesky_solve(whole, factor)[ranks.share(n)]
    else:
        ridge = torch.cholesky_solve(features.T, factor).T
    return ridge / torch.where(failed == 0, 1.0, torch.nan)
