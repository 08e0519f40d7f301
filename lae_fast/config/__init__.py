"""Every setting of a training run: its default, its unit and its bounds, in one place.

The command line makes its options from these fields. TOML files and ``LAE_*`` variables set the
same names (`lae_fast.config.settings`), and a run folder stores them in ``config.json``.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import typing
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from lae_fast.errors import ConfigError, closest

DATASETS = ("digits", "mnist", "fashion-mnist", "kmnist", "cifar10", "svhn")
LIKELIHOODS = ("bernoulli", "gaussian", "discretized-logistic")
MODELS = ("lae", "vae", "iwae", "frozen", "hoffman")
ARCHITECTURES = ("mlp", "conv", "own")
CHANGEABLE = frozenset(
    {"epochs", "max_time", "patience", "checkpoint_interval", "on_divergence", "run_root"}
    | {"data_dir", "download", "device"}
)
"""Settings that may differ when a run is resumed."""
ENCODER_GRADIENTS = ("chain", "start")
SCHEDULES = ("constant", "cosine")
ON_DIVERGENCE = ("stop", "restart")
AUTO = "auto"
ACCEPT = (AUTO, "image", "batch")
STARTS = (AUTO, "point", "gaussian")
DEVICES = (AUTO, "cpu", "cuda")
PRECISIONS = ("float32", "tf32", "bf16")
BOUND, POTENTIAL, RECONSTRUCTION = "-ELBO", "potential", "-log p(x|z)"
"""What a validation loss can be: a negative evidence lower bound, the potential at the point where
a chain starts, or the first of its two terms alone, without the prior."""
VALIDATION_SETS = ("split", "test")


CHAIN_SETTINGS = frozenset(
    {"steps", "mh", "accept", "step_size", "target_accept", "temperature", "whiten", "start"}
    | {"damping", "encoder_gradient", "precision"}
)
"""Settings of the Langevin chain, which a model without one ignores."""


def has_chain(model: str | None) -> bool:
    """Whether a model is trained by Langevin steps, so that it accepts or rejects anything."""
    return model not in ("vae", "iwae", "frozen")


def _finite(value: Any) -> bool:
    try:
        return bool(math.isfinite(value)) and not (isinstance(value, int) and value >= 2**63)
    except OverflowError:  # an integer that no double can hold
        return False


Bounds = tuple[Callable[[Any], bool], str]
"""A test of a value, and how "NAME must be ..." goes on where the value fails it."""

COUNT: Bounds = (lambda v: _finite(v) and v > 0, "at least 1")
POSITIVE: Bounds = (lambda v: _finite(v) and v > 0, "a positive number")
NOT_NEGATIVE: Bounds = (lambda v: _finite(v) and v >= 0, "0 or more")
FRACTION: Bounds = (lambda v: 0.0 < v < 1.0, "between 0 and 1")
SHARE: Bounds = (lambda v: 0.0 <= v < 1.0, "at least 0 and below 1")
LAYERS: Bounds = (lambda v: 1 <= v <= 1000, "between 1 and 1000")
SEED: Bounds = (lambda v: 0 <= v < 2**63, "between 0 and 2^63 - 1")
AUTO_OR_POSITIVE: Bounds = (
    lambda v: v == AUTO or (not isinstance(v, str) and POSITIVE[0](v)),
    "'auto' or a positive number",
)


GROUPS = {
    "dataset": "Data",
    "model": "Model",
    "steps": "Sampler",
    "learning_rate": "Optimisation",
    "init_from": "Run",
}
"""The first setting of each section of `lae train --help` -> the section's heading."""


def setting(
    default: Any,
    help: str,
    bounds: Bounds | None = None,
    *,
    choices: tuple[str, ...] | None = None,
    metavar: str | None = None,
) -> Any:
    """Declare one field of `TrainConfig`.

    Args:
        default: its value where none is given; None where the setting is off or made up later.
        help: what it does, with its unit. The command line adds the default unless it is None.
        bounds: which values are allowed. None is always allowed where it is the default.
        choices: all values that are allowed.
        metavar: what the help shows in place of a value.
    """
    about = {"help": help, "bounds": bounds, "choices": choices, "metavar": metavar}
    return field(default=default, metadata=about)


@dataclass(frozen=True)
class TrainConfig:
    """Settings of one training run.

    Defaults are those that reach a given likelihood soonest on binarised MNIST; `PRESETS` of
    `lae_fast.config.presets` has those of the publications.
    """

    dataset: str = setting(
        "digits",
        f"Data set: {', '.join(DATASETS)}, or the path of your own .npy or .npz array or folder "
        "of images, whose transparent parts become white.",
        metavar="NAME|PATH",
    )
    data_dir: str = setting(
        "data", "Folder that data sets are read from and downloaded to.", metavar="DIR"
    )
    download: bool = setting(True, "Download the data set if it is not in --data-dir.")
    image_size: int | None = setting(
        None,
        "Scale and crop the images of a folder to squares of this many pixels per side.  "
        "[default: as they are]",
        COUNT,
        metavar="PIXELS",
    )
    validation: str = setting(
        "split",
        "Validate on a fixed split of the training images, or on the test set (as Bisht 2023 "
        "does).",
        choices=VALIDATION_SETS,
    )
    validation_fraction: float = setting(
        0.1, "Share of the training images in the validation split.", FRACTION
    )
    binarize: bool = setting(
        False,
        "Draw every pixel black or white in each epoch, its grey level being the probability of "
        "white.",
    )

    model: str = setting(
        "lae",
        "Langevin autoencoder (lae), or a control with the same networks: variational autoencoder "
        "(vae), one with a bound of several samples (iwae; Burda et al. 2016), phi frozen where it "
        "starts (frozen), or one Langevin chain per image that starts from a VAE's encoder "
        "(hoffman; Hoffman 2017).",
        choices=MODELS,
    )
    latent_dim: int = setting(8, "Number of latent dimensions.", COUNT)
    architecture: str = setting(
        "mlp",
        "Networks: fully connected (mlp), convolutional with one fully connected layer (conv), or "
        "those that Python gave to lae_fast.fit (own).",
        choices=ARCHITECTURES,
    )
    hidden: int = setting(
        256, "Units in each fully connected hidden layer of encoder and decoder.", COUNT
    )
    depth: int = setting(
        3, "Hidden layers of the encoder and of the decoder, when fully connected.", LAYERS
    )
    conditional: bool = setting(False, "Give encoder and decoder the label as well, one-hot.")
    likelihood: str = setting(
        "bernoulli", "Likelihood of a pixel given the latents.", choices=LIKELIHOODS
    )
    scale: float | None = setting(
        None,
        "Fixed standard deviation (gaussian) or scale (discretized-logistic), in pixel units "
        "of [0, 1].  [default: learned]",
        POSITIVE,
    )

    samples: int = setting(10, "Importance samples per image of iwae's bound: its K.", COUNT)
    steps: int = setting(1, "Langevin steps per batch: T of Algorithm 2.", COUNT)
    mh: bool = setting(True, "Accept or reject each step by Metropolis-Hastings.")
    accept: str = setting(
        AUTO,
        "Accept or reject each image's latents on their own, or the whole batch at once; 'auto' "
        "is image with whitening and batch without.",
        choices=ACCEPT,
    )
    step_size: float | str = setting(
        AUTO,
        "Langevin step size eta on the summed potential, or 'auto' to adapt it towards "
        "--target-accept.",
        AUTO_OR_POSITIVE,
        metavar="FLOAT|auto",
    )
    target_accept: float = setting(
        0.574,
        "Acceptance rate that --step-size auto aims at; 0.574 is optimal for Langevin proposals "
        "(Roberts and Rosenthal 1998).",
        FRACTION,
    )
    temperature: float = setting(1.0, "Temperature tau: the chain targets exp(-V/tau).", POSITIVE)
    prior: bool = setting(True, "Include the latents' N(0, I) prior in the potential.")
    whiten: bool = setting(
        True,
        "Run the chain in whitened feature coordinates. It mixes better there and samples the "
        "same distribution.",
    )
    start: str = setting(
        AUTO,
        "Start each image's chain at phi g(x), as Algorithm 2 does (point), or at a draw from "
        "N(phi g(x), sigma(x)^2), whose sigma the encoder learns (gaussian); 'auto' is gaussian "
        "where each image accepts on its own, the prior counts and the encoder follows the chain.",
        choices=STARTS,
    )
    damping: float | str = setting(
        AUTO,
        "Whitening adds this share of the Gram matrix's mean diagonal to the diagonal; 'auto' is "
        "10 with a Gaussian start and 0.1 without.",
        AUTO_OR_POSITIVE,
        metavar="FLOAT|auto",
    )
    kl_warmup: float = setting(
        5.0,
        "Raise the weight of the encoder's KL term from 0 to 1 over this many epochs (vae, iwae, "
        "hoffman, and lae with a Gaussian start). Early stopping waits for its end.",
        NOT_NEGATIVE,
        metavar="EPOCHS",
    )
    encoder_gradient: str = setting(
        "chain",
        "Differentiate the encoder body at the states that the chain passes through (chain; "
        "Taniguchi et al. 2022) or at the chain start (start). Use start if you need only the "
        "encoder.",
        choices=ENCODER_GRADIENTS,
    )

    learning_rate: float = setting(
        1e-3, "Adam's learning rate for decoder and encoder body.", POSITIVE
    )
    learning_rate_schedule: str = setting(
        "constant",
        "Keep the learning rate constant, or let it fall to 0 over --epochs along half a cosine.",
        choices=SCHEDULES,
    )
    ema: float = setting(
        0.999,
        "Validate and save an exponential moving average of the weights, which keeps this share of "
        "itself per iteration; 0 takes the weights as they are.",
        SHARE,
    )
    batch_size: int = setting(128, "Images per batch.", COUNT)
    epochs: int = setting(1000, "Stop after this many epochs.", COUNT)
    patience: int = setting(
        10,
        "Stop after this many epochs without a better validation loss; 0 never stops early.",
        NOT_NEGATIVE,
    )
    max_time: float | None = setting(
        None,
        "Stop after this many seconds of training.  [default: no limit]",
        POSITIVE,
        metavar="SECONDS",
    )
    seed: int = setting(0, "Seed of weights, data order and noise.", SEED)
    deterministic: bool = setting(
        False,
        "Use only algorithms that give the same bits for the same seed on the same machine and "
        "number of threads. Slower on CUDA; the CPU always does.",
    )
    on_divergence: str = setting(
        "stop",
        "When the potential or a gradient is no longer finite: stop, or restart from the last "
        "saved state with half the step size, at most 3 times.",
        choices=ON_DIVERGENCE,
    )

    init_from: str | None = setting(
        None,
        "Start from the best weights of this run.  [default: random weights]",
        metavar="RUN",
    )
    checkpoint_interval: float = setting(
        10.0,
        "Save the state at most once in this many seconds; 0 saves after every iteration.",
        NOT_NEGATIVE,
        metavar="SECONDS",
    )
    device: str = setting(
        AUTO, "Where to compute; 'auto' is CUDA if there is a GPU, else the CPU.", choices=DEVICES
    )
    precision: str = setting(
        "float32",
        "Precision of the matrix products in the chain's drift. The accept test is always float32 "
        "or better, so Metropolis-Hastings stays exact. tf32 needs CUDA.",
        choices=PRECISIONS,
    )
    run_root: str = setting("runs", "Folder that holds the run folders.", metavar="DIR")
    name: str | None = setting(None, "Name of the run folder.  [default: data set, model and time]")

    def __post_init__(self) -> None:
        for spec in dataclasses.fields(self):
            check(spec.name, getattr(self, spec.name), label=spec.name)
        if self.accept == "image" and not self.whiten:
            raise ConfigError("accept = image runs in whitened coordinates; drop --no-whiten")
        if self.start == "gaussian" and self.model != "lae":
            raise ConfigError("start = gaussian is for --model lae")
        if self.start == "gaussian" and not self.per_image:
            raise ConfigError("start = gaussian needs accept = image; drop --no-whiten or --accept")
        if self.start == "gaussian" and self.encoder_gradient == "start":
            raise ConfigError(
                "start = gaussian trains the encoder by its evidence lower bound; "
                "drop --encoder-gradient"
            )
        if self.encoder_gradient == "start" and not self.per_image:
            raise ConfigError(
                "encoder-gradient = start needs accept = image; drop --no-whiten or --accept"
            )

    @property
    def has_chain(self) -> bool:
        """Whether the model is trained by Langevin steps at all."""
        return has_chain(self.model)

    @property
    def per_image(self) -> bool:
        """Whether each image accepts on its own: `accept`, with ``auto`` resolved."""
        return self.whiten if self.accept == AUTO else self.accept == "image"

    @property
    def gaussian_start(self) -> bool:
        """Whether this is an LAE with a Gaussian start: `start`, with ``auto`` resolved."""
        if self.model != "lae" or self.start != AUTO:
            return self.model == "lae" and self.start == "gaussian"
        return self.per_image and self.prior and self.encoder_gradient == "chain"

    @property
    def from_draw(self) -> bool:
        """Whether each image's chain starts at a draw from a Gaussian of its own."""
        return self.model == "hoffman" or self.gaussian_start

    @property
    def val_quantity(self) -> str:
        """What the validation loss is: `BOUND`, `POTENTIAL` or `RECONSTRUCTION`."""
        if not self.prior:
            return RECONSTRUCTION
        from_point = self.model == "frozen" or (self.model == "lae" and not self.gaussian_start)
        return POTENTIAL if from_point else BOUND

    @property
    def loss_kind(self) -> tuple[object, ...]:
        """Validation losses compare where this is equal."""
        held_out = self.dataset, self.image_size, self.validation, self.validation_fraction
        return (self.val_quantity, *held_out, self.binarize, self.likelihood, self.scale)

    @property
    def ridge(self) -> float:
        """`damping`, with ``auto`` resolved."""
        if isinstance(self.damping, str):
            return 10.0 if self.gaussian_start else 0.1
        return self.damping

    @property
    def warmup(self) -> float:
        """`kl_warmup` of a model with a KL term, in epochs; 0 for others."""
        return self.kl_warmup if self.from_draw or self.model in ("vae", "iwae") else 0.0

    def ignored(self, names: Iterable[str]) -> list[str]:
        """Those of the settings ``names`` that mean nothing to the model."""
        idle = frozenset() if self.has_chain else CHAIN_SETTINGS
        idle |= frozenset() if self.model == "iwae" else {"samples"}
        return sorted(idle.intersection(names))

    def to_dict(self) -> dict[str, Any]:
        """All settings as plain JSON values."""
        return dataclasses.asdict(self)


@functools.cache
def field_types() -> dict[str, Any]:
    """The declared type of every setting, by name."""
    return typing.get_type_hints(TrainConfig)


def check(name: str, value: Any, *, label: str) -> None:
    """Refuse a value of the setting ``name`` that is out of bounds or not one of its choices.

    Raises:
        ConfigError: the message begins with ``label`` and quotes the value.
    """
    spec = TrainConfig.__dataclass_fields__[name]
    choices, bounds = spec.metadata["choices"], spec.metadata["bounds"]
    if choices is not None and value not in choices:
        close = closest(str(value), choices)
        hint = f"; did you mean '{close}'?" if close else ""
        raise ConfigError(f"{label} must be one of {', '.join(choices)}, not {quoted(value)}{hint}")
    if bounds is None or (value is None and spec.default is None):
        return
    allowed, expects = bounds
    if not allowed(value):
        raise ConfigError(f"{label} must be {expects}, not {quoted(value)}")


def quoted(value: Any) -> str:
    """The value as a message quotes it: escaped, and short."""
    try:
        text = repr(value)
    except ValueError:  # more digits than Python agrees to print
        text = "a number that is far too large"
    return text if len(text) <= 60 else f"{text[:57]}..."
