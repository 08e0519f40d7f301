"""The models that several studies share, by the names of the rows of Bisht 2023."""

from __future__ import annotations

from typing import Any

from lae_fast.config.presets import bisht_lae
from lae_fast.experiments.lab import Lab
from lae_fast.experiments.outcome import Cell

SHORT: dict[str, Any] = {"learning_rate": 1e-3, "epochs": 20, "patience": 0}
"""Instead of early stopping, which takes hours on a CPU where an epoch costs much."""


def report_models(lab: Lab) -> dict[str, dict[str, Any]]:
    """Rows of tables 1 to 6 of Bisht 2023 -> settings."""
    rows: dict[str, dict[str, Any]] = {}
    for z in (2, 8, 16):
        rows[f"VAE z={z}"] = {"model": "vae", "latent_dim": z}
        if lab.quick:  # cheap, and slow to use its latents on so few images
            rows[f"VAE z={z}"]["epochs"] = 80
        rows[f"LAE z={z}"] = _bisht_lae(lab, latent_dim=z)
    for steps in (10, 50):
        # In quick form as many Langevin steps in all, within a minute.
        brief = {"epochs": 120 // steps} if lab.quick else SHORT
        rows[f"LAE z=2, T={steps}"] = _bisht_lae(lab, latent_dim=2, steps=steps) | brief
    rows["LAE z=2, MH"] = _bisht_lae(lab, latent_dim=2, mh=True)
    return rows


def further_models(lab: Lab) -> dict[str, dict[str, Any]]:
    """What Bisht 2023 does not have -> settings.

    The LAE of Bisht 2023 with T = 2, trained as briefly as those with more steps. Then, all with
    two steps, so that these differ in nothing else: the LAE as the algorithm says, with a chain
    that moves; its controls; convolutional networks.
    """
    conv: dict[str, Any] = {"latent_dim": 8, "architecture": "conv"}
    brief: dict[str, dict[str, Any]] = {}
    if not lab.quick:
        conv |= SHORT  # an image costs them some ten times as much
        brief = {"LAE z=2, 20 epochs": _bisht_lae(lab, latent_dim=2) | SHORT}
    return brief | {
        "LAE z=8, prior and MH": sound_lae(latent_dim=8),
        "frozen phi z=8": {"model": "frozen", "latent_dim": 8},
        "Langevin from an encoder z=8": {"model": "hoffman", "latent_dim": 8, "steps": 2},
        "convolutional VAE z=8": conv | {"model": "vae"},
        "convolutional LAE z=8, prior and MH": sound_lae(**conv),
    }


def with_acceptance(lab: Lab, settings: dict[str, Any], found: dict[str, Cell]) -> dict[str, Cell]:
    """Figures of a model, with an acceptance rate only where something can be rejected."""
    config = lab.config(**settings)
    if not found or (config.has_chain and config.mh):
        return found
    return found | {"acceptance rate": "no MH" if config.has_chain else None}


def sound_lae(**settings: Any) -> dict[str, Any]:
    """The LAE with its prior, Metropolis-Hastings and whitened coordinates."""
    return {"model": "lae", "steps": 2} | settings


def _bisht_lae(lab: Lab, **settings: Any) -> dict[str, Any]:
    """The LAE of Bisht 2023: no prior, a temperature of 1 / batch, step size 1e-3."""
    return {"model": "lae"} | bisht_lae(lab.config().batch_size) | settings
