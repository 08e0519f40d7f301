"""Train your own networks on your own images, and use any trained model: `fit` and `load`."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import math
import shutil
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lae_fast import data, runs
from lae_fast.analysis import card, explore
from lae_fast.analysis.evaluate import importance_sampled
from lae_fast.analysis.infer import PosteriorSummary, infer
from lae_fast.analysis.saved import SavedRun, load_splits, open_run
from lae_fast.config import TrainConfig, settings
from lae_fast.data import arrays
from lae_fast.errors import ConfigError, DataError, InputError, UntraceableError
from lae_fast.models import Model, own
from lae_fast.models.own import Networks
from lae_fast.ops.devices import device_of
from lae_fast.runs.events import Evaluated, Event, Message, RunFinished, RunStarted, plain
from lae_fast.runs.files import IMAGES_FILE
from lae_fast.runs.log import evaluations
from lae_fast.train import StopRequest, train

PROGRESS_EVERY = 2.0
"""Seconds between two lines of progress, at least."""


def fit(
    encoder: nn.Module,
    decoder: nn.Module,
    images: Any = None,
    *,
    labels: Any = None,
    resume: str | Path | None = None,
    on_event: Callable[[Event], object] | None = None,
    progress: bool = True,
    **options: Any,
) -> TrainedModel:
    """Train your networks as a Langevin autoencoder, as ``lae train`` does, in a run folder.

    The networks are trained in place and hold the best weights afterwards. The dashboard and all
    commands know the run. Ctrl-C, or the interruption of a notebook's cell, ends the training after
    the present iteration and returns what was learned; again, it interrupts at once.

    Args:
        encoder: maps images ``(n, c, h, w)`` in [0, 1] to features ``(n, d_h)`` of any width. What
            becomes of an image must not depend on the others (no batch normalisation).
        decoder: maps latents ``(n, latent_dim)`` to one parameter of the likelihood per pixel,
            ``(n, c, h, w)`` or flat: the logit of the default, bernoulli.
        images: an array or tensor, uint8 or floats in [0, 1], of shape (n, h, w), (n, c, h, w) or
            (n, h, w, c); or the name or path of a data set.
        labels: integers or text ``(n,)``, which colour the latents; they are not trained on.
        resume: name or path of a run of these networks, to continue it; ``images`` stays out.
        on_event: called with each event, such as `lae_fast.runs.events.Evaluated` per epoch.
        progress: write a line per epoch to stderr, every two seconds at most.
        options: settings of `lae_fast.TrainConfig`, such as ``latent_dim``, ``epochs``,
            ``max_time`` (seconds) and ``name``. ``LAE_*`` variables count, too.

    Raises:
        ConfigError: a setting or a network that cannot be used.
        DataError: images that cannot be used.
        RunError, CheckpointError: a run that cannot be made or continued.
        TrainingError: numerical failure; the run folder stays.
    """
    networks = Networks(encoder.cpu(), decoder.cpu())
    if resume is not None:
        if images is not None or labels is not None:
            raise ConfigError("resume takes the images of the run itself; leave images out")
        root = options.get("run_root", settings.default_of("run_root"))
        run = runs.find(root, str(resume))
        config = settings.resumed(runs.read_config(run), options)
        _require_alike(networks, run, config)
    elif images is None:
        raise ConfigError("give images: an array, or the name or path of a data set")
    else:
        run, config = _new_run(networks, images, labels, options)
    listeners: list[Callable[[Event], object]] = [_Lines()] if progress else []
    listeners += [] if on_event is None else [on_event]
    begun = resume is not None
    try:
        with _interruptible() as stop:
            for event in train(config, stop, resume=run, networks=networks):
                begun = True
                for listener in listeners:
                    listener(event)
    except InputError:
        if not begun:  # nothing but what `_new_run` wrote
            shutil.rmtree(run, ignore_errors=True)
        raise
    trained = load(run, encoder=encoder, decoder=decoder)
    for given, best in zip(networks, (trained.model.encoder, trained.model.decoder), strict=True):
        given.load_state_dict(best.get_submodule("network").state_dict())
    return trained


@contextlib.contextmanager
def _interruptible() -> Iterator[StopRequest]:
    """What the first Ctrl-C asks to stop; other threads than the first cannot be interrupted."""
    stop = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def request(*_: object) -> None:
        signal.signal(signal.SIGINT, before)
        stop.request()

    before = signal.signal(signal.SIGINT, request) or signal.default_int_handler
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


def load(
    run: str | Path = "latest",
    *,
    encoder: nn.Module | None = None,
    decoder: nn.Module | None = None,
    run_root: str | None = None,
    checkpoint: str = "best",
    device: str = "cpu",
) -> TrainedModel:
    """The model of any run folder, with fixed weights.

    Args:
        run: a run's name, the unique beginning of one, a path, or ``latest``.
        encoder, decoder: networks like those that were given to `fit`; copies of them receive the
            weights. Needed only if the run folder could not keep them.
        run_root: folder of run folders; by default that of ``lae train``.
        checkpoint: ``best`` or ``last``.
        device: ``cpu``, ``cuda`` or ``auto``.

    Raises:
        RunError: no such run.
        CheckpointError: it has no weights, or they do not fit.
        ConfigError: only one of encoder and decoder, or no such device.
    """
    if (encoder is None) != (decoder is None):
        raise ConfigError("give both encoder and decoder, or neither")
    path = runs.find(run_root or settings.default_of("run_root"), str(run))
    networks = None
    if encoder is not None and decoder is not None:
        networks = copy.deepcopy(Networks(encoder, decoder))
    return TrainedModel(open_run(path, checkpoint, device, networks))


def _new_run(
    networks: Networks, images: Any, labels: Any, options: dict[str, Any]
) -> tuple[Path, TrainConfig]:
    """A run folder with all that a training begins with, and its settings."""
    for name in ("dataset", "architecture", "hidden", "depth"):
        if name in options:
            raise ConfigError(f"{name} follows from the networks and the images; leave it out")
    named = isinstance(images, str | Path)
    if named and labels is not None:
        raise ConfigError("labels belong to an array of images; a data set has its own")
    dataset = str(images) if named else IMAGES_FILE
    config = settings.resolve({**options, "dataset": dataset, "architecture": "own"})
    some = load_splits(config).train if named else arrays.from_array(images, labels)
    shape, has_phi = some.image_shape, config.model in ("lae", "frozen")
    width = own.feature_dim(networks, shape, config.latent_dim, has_phi=has_phi)
    run = runs.create(config.run_root, config.name, dataset, config.model)
    try:
        if not named:
            arrays.write(run / IMAGES_FILE, some)
            dataset = str(run / IMAGES_FILE)
        config = dataclasses.replace(config, dataset=dataset, hidden=width)
        runs.write_config(run, config)
        try:
            own.save(run, networks, shape, config.latent_dim)
        except UntraceableError as error:
            warnings.warn(
                f"{run} cannot keep a copy of your networks ({error}); to use it later, call "
                f"lae_fast.load('{run}', encoder=..., decoder=...)",
                stacklevel=3,
            )
    except BaseException:  # a full disk, Ctrl-C: no folder of a run that never was
        shutil.rmtree(run, ignore_errors=True)
        raise
    return run, config


def _require_alike(networks: Networks, run: Path, config: TrainConfig) -> None:
    """Refuse networks that are not like those that a run began with, before they are trained."""
    if config.architecture != "own":
        raise ConfigError(f"{run} trains the library's networks; lae train --resume continues it")
    shape, has_phi = load_splits(config).train.image_shape, config.model in ("lae", "frozen")
    width = own.feature_dim(networks, shape, config.latent_dim, has_phi=has_phi)
    if width != config.hidden:
        raise ConfigError(
            f"the encoder returns {width} numbers per image, and that of {run} {config.hidden}; "
            "give networks like those that the run began with"
        )


class _Lines:
    """Writes how a training goes to stderr, line by line."""

    def __init__(self) -> None:
        self._said = -math.inf

    def __call__(self, event: Event) -> None:
        match event:
            case RunStarted():
                self._say(f"training in {event.run}; `lae dash` in a terminal shows it live")
            case Evaluated() if time.monotonic() - self._said >= PROGRESS_EVERY:
                accept = f", acceptance {event.accept_rate:.0%}" * math.isfinite(event.accept_rate)
                self._say(
                    f"epoch {event.epoch}: validation loss {event.val_loss:.5g} nats per image"
                    f"{' (best)' * event.best}{accept}, {event.elapsed:.0f} s"
                )
            case Message():
                self._say(event.text if event.level == "info" else f"{event.level}: {event.text}")
            case RunFinished():
                self._say(
                    f"{event.status} after {event.epochs} epochs, {event.elapsed:.0f} s; best in "
                    f"epoch {event.best_epoch}: validation loss {event.val_loss:.5g} nats per image"
                )

    def _say(self, text: str) -> None:
        self._said = time.monotonic()
        print(text, file=sys.stderr, flush=True)


class TrainedModel:
    """A trained model and the run folder that it comes from; shows itself in a notebook.

    Images go in as uint8, or as floats in [0, 1] (which are rounded to 256 levels, as in training),
    of shape (n, h, w), (n, c, h, w) or (n, h, w, c); with ``binarize`` they are drawn black or
    white, as in validation. They come out as float32 ``(n, c, h, w)`` in
    [0, 1]. Everything is returned on the CPU.

    Attributes:
        saved: run folder, settings and model, as the functions of `lae_fast.analysis` take them.
    """

    def __init__(self, saved: SavedRun) -> None:
        self.saved = saved

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.saved.path

    @property
    def config(self) -> TrainConfig:
        """The settings of its training."""
        return self.saved.config

    @property
    def model(self) -> Model:
        """The model itself, a `torch.nn.Module`; ``model.encoder`` and ``model.decoder`` too."""
        return self.saved.model

    @cached_property
    def history(self) -> list[dict[str, Any]]:
        """One dictionary per epoch: losses in nats per image, acceptance, step size, seconds."""
        return [plain(event) for event in evaluations(self.path)]

    def encode(self, images: Any, labels: Any = None) -> Tensor:
        """Mean latents of images, ``(n, d_z)``.

        Args:
            images: the x.
            labels: of a conditional model: class numbers from 0, ``(n,)``.
        """
        return explore.latents_of(self.saved, self._image_set(images, labels)).values

    @torch.no_grad()
    def decode(self, z: Any) -> Tensor:
        """Mean images of latents ``(n, d_z)``; a conditional model decodes its classes in turn."""
        z = torch.as_tensor(z, dtype=torch.float32)
        if z.ndim != 2 or z.shape[1] != self.model.latent_dim:
            raise ConfigError(f"latents must be (n, {self.model.latent_dim}), not {tuple(z.shape)}")
        return self.saved.means(z).view(-1, *self.saved.image_shape).cpu()

    def sample(self, n: int = 16, *, seed: int = 0) -> Tensor:
        """Mean images of ``n`` latents drawn from the prior N(0, I)."""
        z = torch.randn(n, self.model.latent_dim, generator=torch.Generator().manual_seed(seed))
        return self.decode(z)

    def posterior(self, images: Any, labels: Any = None, **options: Any) -> PosteriorSummary:
        """Draws from p(z | x) for each image, and whether their chains have mixed.

        Args:
            images: the x.
            labels: for a conditional model.
            options: ``draws``, ``warmup``, ``chains``, ``method``, ``mh`` and ``seed`` of
                `lae_fast.analysis.infer.infer`.
        """
        return infer(self.saved, self._image_set(images, labels), **options)

    def log_likelihood(
        self, images: Any, labels: Any = None, *, samples: int = 1000, seed: int = 0
    ) -> Tensor:
        """Importance-sampled log p(x) of each image, ``(n,)`` float64, nats.

        Args:
            images: the x.
            labels: for a conditional model.
            samples: importance samples per image. The estimate is too low in expectation, and rises
                with their number.
            seed: of the draws.
        """
        some = self._image_set(images, labels).to(device_of(self.model))
        return -importance_sampled(self.model, some, samples=samples, seed=seed).nll.cpu()

    def _image_set(self, images: Any, labels: Any) -> data.ImageSet:
        found = arrays.from_array(images)
        if found.image_shape != self.saved.image_shape:
            raise DataError(
                f"the images are {found.image_shape} and those of the training "
                f"{self.saved.image_shape} (channels, height, width)"
            )
        if self.config.binarize:
            found = found.binarized()
        if not self.config.conditional:
            return found
        if labels is None:
            raise ConfigError("a conditional model needs labels=..., one class number per image")
        numbers, most = torch.as_tensor(labels, dtype=torch.int64), self.saved.classes - 1
        if numbers.shape != (len(found),):
            raise DataError(
                f"there are {len(found)} images and labels of shape {tuple(numbers.shape)}; give "
                "one label per image"
            )
        if not bool(((numbers >= 0) & (numbers <= most)).all()):
            raise ConfigError(f"labels are class numbers from 0 to {most}")
        return data.ImageSet(found.images, numbers, found.class_names)

    def __repr__(self) -> str:
        last = f", {len(self.history)} epochs" if self.history else ""
        return f"<TrainedModel {self.path}: {self.config.model}{last}>"

    def _repr_html_(self) -> str:
        return card.html(self.saved, self.history)
