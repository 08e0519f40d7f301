"""How well chains mix on a trained decoder: plain, whitened, and image by image.

    python benchmarks/mixing.py RUN [--data-dir DIR] [--draws N]

Prints effective samples of z per Langevin step (one decoder forward and backward of the batch), the
median over images and dimensions, and the ratio over plain coordinates. All chains start from the
same draws of the posterior, one per chain: chains that start together and stay there would look as
if they mixed. Each adapts its step size towards acceptance 0.574 in its warm-up.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import numpy as np
import torch

from lae_fast.analysis.saved import held_out_images, open_run
from lae_fast.data import to_pixels
from lae_fast.models.lae import LAE
from lae_fast.sampling.diagnostics import effective_sample_size, split_rhat
from lae_fast.sampling.posterior import Chains, sample_per_image, sample_posterior

IMAGES = 128
CHAINS = 4
DAMPING = 1e-4
"""Whitening must not hold back directions; it only keeps the Gram matrix invertible here."""


def main() -> None:
    """Run the three samplers on the same images."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data-dir")
    parser.add_argument("--draws", type=int, default=1000)
    args = parser.parse_args()
    saved = open_run(args.run, "last")
    model = saved.model
    assert isinstance(model, LAE)
    x = to_pixels(held_out_images(saved.config, args.data_dir).images[:IMAGES])
    with torch.no_grad():
        h = model.encoder(x)

    nll = partial(model.nll, x)
    z = h @ model.phi.T
    warm = sample_per_image(nll, z, draws=1, warmup=2000, chains=CHAINS, spread=0.0, seed=1)
    # The phi of least norm that gives these latents: exact, because there are fewer images than
    # features.
    phi = (torch.linalg.pinv(h.double()) @ warm.latents[:, 0].double()).mT.to(h.dtype).contiguous()
    length = {"draws": args.draws, "warmup": args.draws // 2, "chains": CHAINS, "phi": phi}
    plain = show("plain", sample_posterior(nll, h, model.latent_dim, whiten=False, **length))
    whitened = sample_posterior(nll, h, model.latent_dim, damping=DAMPING, **length)
    print(f"{'':26}{show('whitened, batch accepts', whitened) / plain:.1f} times plain")
    del length["phi"]
    images = sample_per_image(nll, warm.latents[:, 0], spread=0.0, **length)
    print(f"{'':26}{show('whitened, image accepts', images) / plain:.1f} times plain")


def show(name: str, chains: Chains) -> float:
    """Print a line; return the effective samples per step."""
    size = effective_sample_size(chains.latents)
    draws = chains.latents.shape[0] * chains.latents.shape[1]
    each = float(np.median(size)) / draws
    rhat = float(np.quantile(split_rhat(chains.latents), 0.95))
    print(
        f"{name:26}ESS of z {each:.5f} a step, split R-hat {rhat:.2f}, "
        f"acceptance {np.mean(chains.accept_prob):.2f}, step size {np.mean(chains.step_size):.1e}"
    )
    return each


if __name__ == "__main__":
    main()
