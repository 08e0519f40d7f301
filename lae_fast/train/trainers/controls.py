"""Trainers of the controls: VAE, IWAE, and the autoencoder whose phi never moves."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lae_fast.models.lae import LAE
from lae_fast.models.vae import VAE
from lae_fast.ranks import ALONE, Ranks
from lae_fast.train.trainers.base import Learner, pack_stats, standard_normal, sum_grads
from lae_fast.train.trainers.gaussian import GaussianDraw
from lae_fast.train.trainers.passes import Evaluator


class VAETrainer(Learner[VAE]):
    """Maximises the evidence lower bound, one sample per image; the loss is its negative.

    Arguments are those of `Learner`; ``rng`` draws the samples' noise.
    """

    rng: Tensor

    def compute_gradients(self, x: Tensor, images: int) -> tuple[None, Tensor]:
        self.optimizer.zero_grad(set_to_none=False)
        code = self.encoder.features(x)
        with torch.no_grad():
            shape, first_row = (len(x), self.model.latent_dim), self.ranks.share(images).start
            noise = standard_normal(shape, code, self.rng, first_row)
            draw = GaussianDraw(code, noise)
            values, grad_z = self.evaluator.accumulate(x, draw.z)
            bound = values.sum() + draw.kl()
        self.encoder.backward(draw.pull_back(grad_z, self.kl_weight))
        return None, pack_stats(sum_grads(self.optimizer, self.ranks, bound), bound)


class IWAETrainer(Learner[VAE]):
    """Maximises the bound of K importance samples per image (Burda et al. 2016).

    The decoder's gradient is that of the bound; the encoder's is doubly reparametrised (Tucker et
    al. 2019), an unbiased estimate whose noise does not drown it where K is large. The loss is the
    negative bound.

    Args:
        model, optimizer, rng, evaluator, ranks: as in `Learner`.
        samples: K.
    """

    rng: Tensor

    def __init__(
        self,
        model: VAE,
        optimizer: torch.optim.Optimizer,
        rng: Tensor,
        samples: int,
        *,
        evaluator: Evaluator | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        super().__init__(model, optimizer, rng, evaluator=evaluator, ranks=ranks)
        self.samples = samples

    @property
    def description(self) -> str:
        return f"{self.evaluator.description}, {self.samples} importance samples"

    def compute_gradients(self, x: Tensor, images: int) -> tuple[None, Tensor]:
        self.optimizer.zero_grad(set_to_none=False)
        code = self.encoder.features(x)
        with torch.no_grad():
            draw = self._draw(code, self.ranks.share(images).start)
            # log p(z) - log q(z | x), without the constants that cancel.
            terms = 0.5 * (draw.noise.square() - draw.z.square()) + draw.log_std
            log_ratio = terms.sum(1, dtype=torch.float64)

            def shares(values: Tensor) -> Tensor:
                """Of the samples of each image, by their importance."""
                log_weights = self.kl_weight * log_ratio - values
                return torch.softmax(log_weights.view(self.samples, -1), 0).view(-1)

            values, grad_z = self.evaluator.accumulate(x.repeat(self.samples, 1), draw.z, shares)
            share = shares(values).to(code.dtype).unsqueeze(1)
            # The path through z, at fixed q. What that leaves out, the score of q, is another such
            # path (Tucker et al. 2019, equation 8, where the weight of log p(z) - log q is 1).
            by_ratio = self.kl_weight * (draw.z - draw.noise / draw.std)
            again = 1 - self.kl_weight * (1 - share)
            by_z = again * (grad_z + share * by_ratio)
            by_code = torch.cat([by_z, by_z * draw.std * draw.noise], 1)
            by_code = by_code.view(self.samples, *code.shape).sum(0)
            each = torch.logsumexp((log_ratio - values).view(self.samples, -1), 0)
            bound = len(x) * math.log(self.samples) - each.sum()
        self.encoder.backward(by_code)
        return None, pack_stats(sum_grads(self.optimizer, self.ranks, bound), bound)

    def _draw(self, code: Tensor, first_row: int) -> GaussianDraw:
        """K draws per image, image by image for each of them: ``(K n, d_z)``."""
        n, d, k = len(code), self.model.latent_dim, self.samples
        noise = standard_normal((n, k * d), code, self.rng, first_row)
        noise = noise.view(n, k, d).transpose(0, 1).reshape(k * n, d)
        return GaussianDraw(code.repeat(k, 1), noise)


class FrozenTrainer(Learner[LAE]):
    """Minimises the potential at ``z = phi g(x)`` with phi as it was initialised.

    What the Metropolis-Hastings runs of Bisht 2023 amount to, since they accept nothing.

    Args:
        model, optimizer, evaluator, ranks: as in `Learner`.
        prior: whether the potential includes ``||z||^2 / 2``.
    """

    def __init__(
        self,
        model: LAE,
        optimizer: torch.optim.Optimizer,
        *,
        prior: bool = True,
        evaluator: Evaluator | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        super().__init__(model, optimizer, None, evaluator=evaluator, ranks=ranks)
        self.prior = prior

    def compute_gradients(self, x: Tensor, images: int) -> tuple[None, Tensor]:
        self.optimizer.zero_grad(set_to_none=False)
        features = self.encoder.features(x)
        with torch.no_grad():
            z = features @ self.model.phi.T
            values, grad_z = self.evaluator.accumulate(x, z)
            potential = values.sum()
            if self.prior:
                potential = potential + 0.5 * z.square().sum(dtype=torch.float64)
                grad_z = grad_z + z
            grad = grad_z @ self.model.phi
        self.encoder.backward(grad)
        return None, pack_stats(sum_grads(self.optimizer, self.ranks, potential), potential)
