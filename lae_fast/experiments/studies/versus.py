"""The LAE against its rivals: held-out likelihood after equal epochs, and after equal time.

Every model is trained with the defaults of ``lae train``. Its learning rate is constant and what is
measured are averages of its weights, so one run gives a whole curve: it is trained, measured, and
trained on.
"""

from __future__ import annotations

import itertools
import json
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lae_fast.analysis import plots
from lae_fast.analysis.evaluate import importance_sampled
from lae_fast.analysis.saved import held_out_images, load_splits, open_run
from lae_fast.config import TrainConfig
from lae_fast.config.settings import from_dict
from lae_fast.errors import NotTrainedError
from lae_fast.experiments.findings import DEFAULT_LAE
from lae_fast.experiments.lab import QUICK, Lab
from lae_fast.experiments.outcome import Cell, Outcome, ResultTable, make_row, stat
from lae_fast.ranks import ALONE
from lae_fast.runs.files import write_atomically
from lae_fast.train.worker import Place, Worker

MEASURED = "held-out.json"
"""In a run folder: how it was measured -> epoch -> -log p(x) of each image."""
ROUNDS = 40
"""Iterations of every model that are timed, by turns."""
WARM_UP = 3
"""Rounds before them."""
VAE = "VAE"
SHORT = 20
"""Epochs of models that are measured at their end alone."""
NOTE = (
    "-log p(x) is importance-sampled, with a Gaussian refined for every image, as in `lae eval`. "
    "Every model has the defaults of `lae train` in all that the table does not name: networks, "
    "batches, learning rate, KL warm-up, averaged weights."
)
GAIN_NOTE = (
    "The difference is taken image by image and seed by seed. Its standard error is that of the "
    "mean over images, after the mean over seeds."
)
TIME_NOTE = (
    " A model's time is its epochs times what one of them takes: its batches times the median of "
    f"{ROUNDS} iterations, the models taking turns, without validation. Between two measured "
    "epochs -log p(x) is interpolated, linearly in the logarithm of the epochs."
)


@dataclass(frozen=True)
class Sizes:
    """How far models are trained, and how they are measured.

    Attributes:
        epochs: after which models are measured, each up to its last.
        shown: those of the tables.
        minutes: of training, in the tables for equal time.
        images, samples: held-out images, and importance samples for each.
    """

    epochs: tuple[int, ...]
    shown: tuple[int, ...]
    minutes: tuple[float, ...]
    images: int
    samples: int


FULL = Sizes((5, 10, 20, 40, 60, 100, 200), (20, 40, 60, 200), (1, 5, 15), 1000, 1000)
SMALL = Sizes((5, 10, 20, 40, 60), (20, 60), (0.05,), 200, 200)


@dataclass(frozen=True)
class Contender:
    """A model: what differs from the defaults, and after how many epochs it is measured last."""

    settings: Mapping[str, Any]
    last: int = SHORT

    @property
    def has_curve(self) -> bool:
        """Whether it is measured on the way, too, and not at its end alone."""
        return self.last > SHORT

    def measured_after(self, epochs: int) -> bool:
        """Whether it is measured after so many epochs of those of `Sizes`."""
        return epochs == self.last or (self.has_curve and epochs < self.last)


CONTENDERS = {
    VAE: Contender({"model": "vae"}, 200),
    DEFAULT_LAE: Contender({}, 200),
    "Langevin from a VAE's encoder, T = 1": Contender({"model": "hoffman"}, 200),
    "IWAE, K = 10": Contender({"model": "iwae", "samples": 10}, 60),
    "LAE, T = 2": Contender({"steps": 2}, 60),
    "Langevin from a VAE's encoder, T = 2": Contender({"model": "hoffman", "steps": 2}, 60),
    "LAE from a point, T = 2": Contender({"steps": 2, "start": "point"}),
    "LAE, T = 5": Contender({"steps": 5}),
    "LAE, T = 10": Contender({"steps": 10}),
    "LAE, T = 20": Contender({"steps": 20}),
    "IWAE, K = 50": Contender({"model": "iwae", "samples": 50}),
}
Curve = dict[int, Tensor]
"""Epoch -> -log p(x) of each image, float64 ``(n,)``."""


def run(lab: Lab) -> Outcome:
    """Train, measure and time every model."""
    sizes = SMALL if lab.quick else FULL
    curves = _curves(lab, sizes)
    configs = {
        name: _config(lab, CONTENDERS[name].settings) for name in curves if any(curves[name])
    }
    costs = seconds_per_epoch(configs, lab.device) if configs else {}
    by_epochs = {f"after {epochs} epochs": partial(_after, epochs) for epochs in sizes.shown}
    by_time = {f"after {m:g} min": partial(_in_time, 60 * m) for m in sizes.minutes}
    long = {name: curve for name, curve in curves.items() if CONTENDERS[name].has_curve}
    tables = [
        *_tables("equal epochs", curves, costs, by_epochs),
        *_tables("equal time", long, costs, by_time, TIME_NOTE),
    ]
    setting = (
        f"{'Digits' if lab.quick else 'Binarised MNIST'}, {sizes.images} held-out images, "
        f"{sizes.samples} importance samples per image; the weights are those of the last epoch."
    )
    title = "LAE, VAE and IWAE on equal terms"
    return lab.outcome("versus", title, setting, tables, _pictures(lab, long, costs))


def seconds_per_epoch(
    configs: Mapping[str, TrainConfig], device: torch.device | str
) -> dict[str, float]:
    """What an epoch of each model takes: its batches times its median iteration.

    The models take turns, so that a machine that slows down slows all of them down. They must be of
    the same data set.
    """
    splits = load_splits(next(iter(configs.values())))
    workers = {
        name: Worker(config, splits, torch.device(device), ALONE)
        for name, config in configs.items()
    }
    times: dict[str, list[float]] = {name: [] for name in workers}
    for batch in range(WARM_UP + ROUNDS):
        for name, worker in workers.items():
            began = time.perf_counter()
            worker.train_on(Place(batch, 1 + batch // worker.per_epoch, batch % worker.per_epoch))
            times[name].append(time.perf_counter() - began)
    return {
        name: statistics.median(times[name][WARM_UP:]) * worker.per_epoch
        for name, worker in workers.items()
    }


def at(curve: Curve, epochs: float) -> Tensor | None:
    """-log p(x) of each image after so many epochs; None beyond what was measured."""
    below = max((epoch for epoch in curve if epoch <= epochs), default=None)
    above = min((epoch for epoch in curve if epoch >= epochs), default=None)
    if below is None or above is None:
        return None
    if below == above:
        return curve[below]
    share = math.log(epochs / below) / math.log(above / below)
    return curve[below] * (1 - share) + curve[above] * share


def gain(theirs: Sequence[Tensor], ours: Sequence[Tensor]) -> tuple[list[float], float]:
    """By how much ours is lower: each seed's mean over images, and the mean's standard error.

    Args:
        theirs, ours: -log p(x) of the same images, ``(n,)``, seed by seed.
    """
    each = torch.stack([a - b for a, b in zip(theirs, ours, strict=True)])
    of_images = each.mean(0)
    return each.mean(1).tolist(), float(of_images.std()) / math.sqrt(len(of_images))


Pick = Callable[[Curve, float], Tensor | None]
"""Takes a curve and what an epoch costs in seconds."""


def _after(epochs: int, curve: Curve, cost: float) -> Tensor | None:
    return curve.get(epochs)


def _in_time(seconds: float, curve: Curve, cost: float) -> Tensor | None:
    return at(curve, seconds / cost)


def _tables(
    what: str,
    curves: Mapping[str, Sequence[Curve]],
    costs: Mapping[str, float],
    points: Mapping[str, Pick],
    note: str = "",
) -> list[ResultTable]:
    """What each model reaches at these points, and by how much it is under the VAE there."""
    epoch, over = "seconds per epoch", "over the VAE's"
    columns = {"model": "", **dict.fromkeys(points, ".2f"), epoch: "#.3g", over: ".2f"}
    gains = {"model": ""}
    for point in points:
        gains |= {f"{point}, by": ".2f", f"s.e. {point}": ".2f"}
    cost_of_vae = costs.get(VAE, math.nan)
    rows: list[list[Cell]] = []
    gain_rows: list[list[Cell]] = []
    for name, of_seeds in curves.items():
        cost = costs.get(name, math.nan)
        # "Not run" is what was not trained at all; other cells stay empty.
        found: dict[str, Cell] = dict.fromkeys(points) if any(of_seeds) else {}
        better: dict[str, Cell] = {f"{point}, by": None for point in found}
        for point, pick in points.items():
            pairs = [
                (pick(theirs, cost_of_vae), pick(ours, cost))
                for theirs, ours in zip(curves[VAE], of_seeds, strict=True)
            ]
            mine = [ours for _, ours in pairs if ours is not None]
            both = [(a, b) for a, b in pairs if a is not None and b is not None]
            if mine:
                found[point] = stat(float(values.mean()) for values in mine)
            if both and name != VAE:
                by, error = gain(*zip(*both, strict=True))
                better |= {f"{point}, by": stat(by), f"s.e. {point}": error}
        if found:
            found |= {epoch: cost, over: cost / cost_of_vae}
        rows.append(make_row(columns, name, {}, found))
        if name != VAE:
            gain_rows.append(make_row(gains, name, {}, better))
    return [
        ResultTable(f"Held-out -log p(x) at {what}, nats per image", columns, rows, NOTE + note),
        ResultTable(f"Under the VAE at {what}, nats per image", gains, gain_rows, GAIN_NOTE),
    ]


def _pictures(
    lab: Lab, curves: Mapping[str, Sequence[Curve]], costs: Mapping[str, float]
) -> dict[str, str]:
    """-log p(x) against epochs and against seconds, mean and spread over seeds."""
    shown = {}
    for what, scale in (("epochs", dict.fromkeys(costs, 1.0)), ("seconds", costs)):
        drawn = {}
        for name in curves:
            shared = [epoch for epoch in curves[name][0] if all(epoch in c for c in curves[name])]
            stats = [stat(float(c[epoch].mean()) for c in curves[name]) for epoch in shared]
            if stats:
                spread = [s.sd or 0.0 for s in stats] if len(curves[name]) > 1 else None
                x = [epoch * scale[name] for epoch in shared]
                drawn[name] = (x, [s.mean for s in stats], spread)
        if drawn:
            file = f"versus-{what}.png"
            y = "-log p(x), nats per image"
            plots.save_curves(lab.picture(file), drawn, x_label=what, y_label=y, log_x=True)
            shown[file] = f"Held-out -log p(x) against {what} of training."
    return shown


def _config(lab: Lab, settings: Mapping[str, Any], seed: int = 0, epochs: int = 1) -> TrainConfig:
    """The defaults of ``lae train`` but for these; on digits with the small networks."""
    task: dict[str, Any] = {"dataset": "mnist", "binarize": True}
    if lab.quick:
        task = {name: QUICK[name] for name in ("dataset", "hidden", "batch_size")}
    place = {"run_root": str(lab.run_root), "data_dir": lab.data_dir, "patience": 0}
    return from_dict({**task, **place, **settings, "seed": seed, "epochs": epochs})


def _curves(lab: Lab, sizes: Sizes) -> dict[str, list[Curve]]:
    """A curve per model and seed, of the epochs that were measured or can be.

    All models with a curve come to some epochs before any goes on, so that an interrupted study
    compares them. The others, of which some are slow, come last.
    """
    found: dict[str, list[Curve]] = {name: [{} for _ in lab.seeds] for name in CONTENDERS}
    wanted = [
        (name, seed, epochs)
        for epochs, seed in itertools.product(sizes.epochs, lab.seeds)
        for name, contender in CONTENDERS.items()
        if contender.measured_after(epochs)
    ]
    for name, seed, epochs in sorted(wanted, key=lambda it: not CONTENDERS[it[0]].has_curve):
        config = _config(lab, CONTENDERS[name].settings, seed, epochs)
        values = _measured(lab, config, sizes)
        if values is not None:
            found[name][seed][epochs] = values
    return found


def _measured(lab: Lab, config: TrainConfig, sizes: Sizes) -> Tensor | None:
    """-log p(x) of each image after the settings' epochs, from a run folder or measured now."""
    how, epochs = f"{sizes.images} images, {sizes.samples} samples", str(config.epochs)
    for path, _ in lab.runs_of(config, but=("epochs",)):
        values = _read(path).get(how, {}).get(epochs)
        if values is not None:
            return torch.tensor(values, dtype=torch.float64)
    try:
        path = lab.trained_to(config)
    except NotTrainedError as error:
        lab.complete = False
        lab.say(str(error))
        return None
    values = [round(value, 4) for value in _nlls(lab, config, path, sizes).tolist()]
    known = _read(path)
    known.setdefault(how, {})[epochs] = values
    write_atomically(path / MEASURED, json.dumps(known))
    lab.say(f"{path.name}, epoch {epochs}: {statistics.fmean(values):.2f} nats per image")
    return torch.tensor(values, dtype=torch.float64)


def _nlls(lab: Lab, config: TrainConfig, path: Path, sizes: Sizes) -> Tensor:
    """-log p(x) of each held-out image, float64 on the CPU."""
    images = held_out_images(config).first(sizes.images).to(lab.device)
    model = open_run(path, "last", lab.device).model
    return importance_sampled(model, images, samples=sizes.samples).nll.double().cpu()


def _read(run: Path) -> dict[str, dict[str, list[float]]]:
    """What was measured of a run; nothing where it cannot be read."""
    try:
        found = json.loads((run / MEASURED).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
