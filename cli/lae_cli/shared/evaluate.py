"""What `lae eval` and `lae diagnose` share: their options, and the evaluation itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lae_cli.shared.options import add_options, whole

if TYPE_CHECKING:
    from lae_cli.shared.opened import Opened
    from lae_fast.analysis.evaluate import Report

_OPTIONS = (
    whole("--images", least=2, default=1000, help="Held-out images to evaluate, at most."),
    whole("--samples", default=1000, help="Importance samples per image."),
    whole(
        "--ais",
        "ais_images",
        metavar="N",
        least=0,
        default=0,
        help="Also run annealed importance sampling (Neal 2001) on N images; this is slow.",
    ),
)


def evaluation_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of an evaluation; the command passes them to `evaluate`."""
    return add_options(command, *_OPTIONS)


def evaluate(opened: Opened, images: int, samples: int, ais_images: int) -> Report:
    """Evaluate a run."""
    from lae_fast.ops.devices import pick_device

    device = pick_device(opened.device)
    from lae_fast.analysis.evaluate import evaluate_run

    return evaluate_run(
        opened.path,
        checkpoint=opened.checkpoint,
        images=images,
        samples=samples,
        ais_images=ais_images,
        data_dir=opened.data_dir,
        seed=opened.seed,
        device=device,
    )
