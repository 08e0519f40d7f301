"""An epoch, data included: T = 2, no MH, against the straightforward loop fed by a DataLoader.

Images are random bytes of MNIST's shape, a sixth of its number. The straightforward loop decodes
them one by one (PIL, ToTensor), as torchvision's data sets do.
"""

from __future__ import annotations

from typing import Any

import iterations as it
import numpy as np
import pytest
import torch
from iterations import DAMPING, STEP_SIZE, Setting
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import ToTensor

from lae_fast.data.batches import batch_indices, to_pixels
from lae_fast.sampling import ald
from lae_fast.train.trainers.lae import LAETrainer
from lae_fast.train.trainers.reference import naive_gradients

IMAGES = 10_240
SETTING = Setting(2, mh=False)


def pictures() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (IMAGES, 28, 28), dtype=torch.uint8, generator=generator)


class Pictures(Dataset[torch.Tensor]):
    """What torchvision's MNIST does for an image."""

    def __init__(self) -> None:
        self.data, self.transform = pictures(), ToTensor()

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> torch.Tensor:
        result: torch.Tensor = self.transform(Image.fromarray(np.asarray(self.data[index])))
        return result


def straightforward(device: str) -> it.Run:
    model = SETTING.model(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    loader = DataLoader(Pictures(), batch_size=SETTING.batch, shuffle=True)

    def run() -> None:
        for images in loader:
            optimizer.zero_grad()
            x = images.flatten(1).to(device)
            phi, *_ = naive_gradients(
                model, x, steps=SETTING.steps, step_size=STEP_SIZE, damping=DAMPING, mh=False
            )
            optimizer.step()
            model.phi.copy_(phi)

    return run


def epoch(device: str, *, train: bool = True) -> it.Run:
    model, data = SETTING.model(device), pictures().to(device)
    trainer = LAETrainer(
        model,
        torch.optim.Adam(model.parameters(), lr=1e-4, fused=True),
        ald.make_rng(0, device),
        SETTING.steps,
        it.IMAGE_STEP_SIZE,
        DAMPING,
        mh=False,
    )

    def run() -> None:
        for index in batch_indices(IMAGES, SETTING.batch, seed=0, epoch=0, device=device):
            x = to_pixels(data[index])
            if train:
                trainer.iteration(x)

    return run


VARIANTS = {
    "straightforward, DataLoader": straightforward,
    "fused": epoch,
    "fused, its data alone": lambda device: epoch(device, train=False),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_epoch(benchmark: Any, device: str, variant: str) -> None:
    benchmark.group = f"epoch of {IMAGES} images, {SETTING}, {device}"
    benchmark.extra_info |= {"variant": variant, "baseline": "straightforward, DataLoader"}
    run = it.waiting(VARIANTS[variant](device), device)
    benchmark.pedantic(run, rounds=2, warmup_rounds=1)
