"""Every setting of a training run, with its default, its unit and its bounds, in one place.

The command line builds its options from these fields, a TOML file and ``LAE_*`` environment
variables set the same names, and ``config.json`` of a run folder stores them. Nothing here
imports torch.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import os
import tomllib
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lae_fast.errors import ConfigError, closest, did_you_mean

DATASETS = ("digits", "mnist", "fashion-mnist", "kmnist", "cifar10", "svhn")
LIKELIHOODS = ("bernoulli", "gaussian", "discretized-logistic")
MODELS = ("lae", "vae", "frozen", "hoffman")
ARCHITECTURES = ("mlp", "conv")
CHANGEABLE = frozenset(
    {"epochs", "max_time", "patience", "checkpoint_interval", "on_divergence", "run_root"}
    | {"data_dir", "download", "device"}
)
"""Settings that may differ when a run is resumed."""
ENCODER_GRADIENTS = ("chain", "start")
SCHEDULES = ("constant", "cosine")
ON_DIVERGENCE = ("stop", "restart")
ACCEPT = ("auto", "image", "batch")
DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("float32", "tf32", "bf16")
VALIDATION_SETS = ("split", "test")
AUTO = "auto"
ENV_PREFIX = "LAE_"
LARGEST_FILE = 1 << 20
"""Bytes of a file of settings."""


def setting(
    default: Any,
    help: str,
    *,
    group: str,
    choices: tuple[str, ...] | None = None,
    check: Callable[[Any], bool] | None = None,
    expects: str = "",
    metavar: str | None = None,
) -> Any:
    """Declare one field of `TrainConfig`: default, help text, option group and bounds.

    ``expects`` completes the sentence "NAME must be ..." when ``check`` fails.
    """
    return field(
        default=default,
        metadata={
            "help": help,
            "group": group,
            "choices": choices,
            "check": check,
            "expects": expects,
            "metavar": metavar,
        },
    )


def _finite(value: Any) -> bool:
    try:
        return bool(math.isfinite(value)) and not (isinstance(value, int) and value >= 2**63)
    except OverflowError:  # an integer that no double can hold
        return False


def _positive(value: Any) -> bool:
    return _finite(value) and bool(value > 0)


def _non_negative(value: Any) -> bool:
    return _finite(value) and bool(value >= 0)


def _fraction(value: Any) -> bool:
    return bool(0.0 < value < 1.0)


def _auto_or_positive(value: Any) -> bool:
    return value == AUTO or (not isinstance(value, str) and _positive(value))


@dataclass(frozen=True)
class TrainConfig:
    """Settings of one training run. Defaults follow the published protocol where it is sound."""

    # Data
    dataset: str = setting(
        "digits",
        f"Data set: {', '.join(DATASETS)}, or the path of your own .npy/.npz array or folder "
        "of images.",
        group="Data",
        metavar="NAME|PATH",
    )
    data_dir: str = setting(
        "data", "Folder that holds, or receives, downloaded data sets.", group="Data", metavar="DIR"
    )
    download: bool = setting(True, "Download a data set that is not there.", group="Data")
    validation: str = setting(
        "split",
        "Validate on a fixed split of the training images, or on the test set "
        "(as the published report does).",
        group="Data",
        choices=VALIDATION_SETS,
    )
    validation_fraction: float = setting(
        0.1,
        "Share of the training images in the validation split.",
        group="Data",
        check=_fraction,
        expects="between 0 and 1",
    )

    binarize: bool = setting(
        False,
        "Draw every pixel black or white with its grey level as probability, anew each time.",
        group="Data",
    )

    # Model
    model: str = setting(
        "lae",
        "Langevin autoencoder, or a control of the same networks: variational autoencoder, "
        "autoencoder with phi frozen at its start, or Langevin chains of each image's own from a "
        "VAE's encoder (Hoffman 2017).",
        group="Model",
        choices=MODELS,
    )
    latent_dim: int = setting(
        8, "Latent dimensions.", group="Model", check=_positive, expects="at least 1"
    )
    architecture: str = setting(
        "mlp",
        "Networks: fully connected, or convolutional with one fully connected layer.",
        group="Model",
        choices=ARCHITECTURES,
    )
    hidden: int = setting(
        256,
        "Width of the fully connected hidden layers of encoder and decoder.",
        group="Model",
        check=_positive,
        expects="at least 1",
    )
    depth: int = setting(
        3,
        "Hidden layers of the encoder and of the decoder, when fully connected.",
        group="Model",
        check=lambda v: 1 <= v <= 1000,
        expects="between 1 and 1000",
    )
    conditional: bool = setting(
        False, "Show the label to encoder and decoder, one-hot.", group="Model"
    )
    likelihood: str = setting(
        "bernoulli", "Likelihood of a pixel given the latents.", group="Model", choices=LIKELIHOODS
    )
    scale: float | None = setting(
        None,
        "Fixed standard deviation (gaussian) or scale (discretized-logistic), in pixel units "
        "of [0, 1]; learned when not given.",
        group="Model",
        check=lambda v: v is None or _positive(v),
        expects="a positive number",
    )

    # Sampler
    steps: int = setting(
        10,
        "Langevin steps a batch: T of Algorithm 2.",
        group="Sampler",
        check=_positive,
        expects="at least 1",
    )
    mh: bool = setting(True, "Metropolis-Hastings accept/reject after each step.", group="Sampler")
    accept: str = setting(
        "auto",
        "Accept or reject each image's latents on their own, or the batch at once; 'auto' is "
        "image with whitening and batch without.",
        group="Sampler",
        choices=ACCEPT,
    )
    step_size: float | str = setting(
        AUTO,
        "Langevin step size eta on the summed potential, or 'auto' to adapt it towards "
        "--target-accept.",
        group="Sampler",
        check=_auto_or_positive,
        expects="'auto' or a positive number",
        metavar="FLOAT|auto",
    )
    target_accept: float = setting(
        0.574,
        "Acceptance rate that 'auto' aims at (0.574 is optimal for Langevin proposals).",
        group="Sampler",
        check=_fraction,
        expects="between 0 and 1",
    )
    temperature: float = setting(
        1.0,
        "Temperature tau: the chain targets exp(-V/tau).",
        group="Sampler",
        check=_positive,
        expects="a positive number",
    )
    prior: bool = setting(
        True, "Include the latents' N(0, I) prior in the potential.", group="Sampler"
    )
    whiten: bool = setting(
        True,
        "Run the chain in whitened feature coordinates, where it mixes; the law sampled is "
        "the same.",
        group="Sampler",
    )
    damping: float = setting(
        0.1,
        "Whitening adds this share of the Gram matrix's mean diagonal to its diagonal.",
        group="Sampler",
        check=_positive,
        expects="a positive number",
    )

    encoder_gradient: str = setting(
        "chain",
        "Where the encoder's body is differentiated: at the states that the chain keeps, as "
        "published, or at its amortised start, which makes the encoder precise.",
        group="Sampler",
        choices=ENCODER_GRADIENTS,
    )

    # Optimisation
    learning_rate: float = setting(
        1e-4,
        "Adam's learning rate for decoder and encoder body.",
        group="Optimisation",
        check=_positive,
        expects="a positive number",
    )
    learning_rate_schedule: str = setting(
        "constant",
        "Whether the learning rate stays, or falls to 0 over --epochs along half a cosine.",
        group="Optimisation",
        choices=SCHEDULES,
    )
    batch_size: int = setting(
        512, "Images a batch.", group="Optimisation", check=_positive, expects="at least 1"
    )
    epochs: int = setting(
        1000, "Most epochs to train.", group="Optimisation", check=_positive, expects="at least 1"
    )
    patience: int = setting(
        10,
        "Stop after this many epochs without a better validation loss; 0 never stops early.",
        group="Optimisation",
        check=_non_negative,
        expects="0 or more",
    )
    max_time: float | None = setting(
        None,
        "Stop after this many seconds of training.",
        group="Optimisation",
        check=lambda v: v is None or _positive(v),
        expects="a positive number of seconds",
        metavar="SECONDS",
    )
    seed: int = setting(
        0,
        "Seed of weights, data order and noise.",
        group="Optimisation",
        check=lambda v: 0 <= v < 2**63,
        expects="between 0 and 2^63 - 1",
    )

    deterministic: bool = setting(
        False,
        "Only algorithms that give the same bits for the same seed, on the same machine and number "
        "of threads: slower on CUDA; on the CPU it is so anyway.",
        group="Optimisation",
    )

    on_divergence: str = setting(
        "stop",
        "When potential or gradient are no longer finite: stop, or restart from the last saved "
        "state with half the step size, at most 3 times.",
        group="Optimisation",
        choices=ON_DIVERGENCE,
    )

    # Run
    init_from: str | None = setting(
        None, "Start from the best weights of this run folder.", group="Run", metavar="RUN"
    )
    checkpoint_interval: float = setting(
        10.0,
        "Least seconds between two saved states; 0 saves after every iteration.",
        group="Run",
        check=_non_negative,
        expects="0 or more",
    )
    device: str = setting(
        "auto",
        "Where to compute; 'auto' is CUDA where there is a GPU, else the CPU.",
        group="Run",
        choices=DEVICES,
    )
    precision: str = setting(
        "float32",
        "Of the matrix products in the chain's drift; the accept test's potential is always "
        "float32 or better, so Metropolis-Hastings stays exact. tf32 is for CUDA alone.",
        group="Run",
        choices=PRECISIONS,
    )
    run_root: str = setting(
        "runs", "Folder that holds the run folders.", group="Run", metavar="DIR"
    )
    name: str | None = setting(
        None, "Name of the run folder; made from data set and time when not given.", group="Run"
    )

    def __post_init__(self) -> None:
        for spec in dataclasses.fields(self):
            _check_field(spec, getattr(self, spec.name), spec.name)
        if self.accept == "image" and not self.whiten:
            raise ConfigError("accept = image runs in whitened coordinates; drop --no-whiten")
        if self.encoder_gradient == "start" and not self.per_image:
            raise ConfigError("encoder-gradient = start needs images that accept on their own")

    @property
    def has_chain(self) -> bool:
        """Whether the model is trained by Langevin steps at all."""
        return self.model in ("lae", "hoffman")

    @property
    def per_image(self) -> bool:
        """Whether each image accepts on its own: `accept`, with ``auto`` resolved."""
        return self.whiten if self.accept == AUTO else self.accept == "image"

    def to_dict(self) -> dict[str, Any]:
        """All settings as plain JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], *, source: str = "configuration") -> TrainConfig:
        """Build from plain values; an unknown name raises `ConfigError` with a suggestion."""
        for key in values:
            if key not in field_types():
                raise _unknown(source, key)
        return cls(**{k: parse(k, v, label=f"{source}: {k}") for k, v in values.items()})


@functools.cache
def field_types() -> dict[str, Any]:
    """The declared type of every setting, resolved."""
    return typing.get_type_hints(TrainConfig)


def resolve(
    flags: Mapping[str, Any],
    *,
    file: str | os.PathLike[str] | None = None,
    environ: Mapping[str, str] | None = None,
) -> TrainConfig:
    """Merge a TOML file, ``LAE_*`` environment variables and flags; the later wins.

    Args:
        flags: settings given explicitly, by field name.
        file: a TOML file whose top-level keys are field names (``-`` and ``_`` both work).
        environ: the environment; variables named ``LAE_`` + the field's name in capitals.

    Raises:
        ConfigError: an unknown key, a wrong type, a value out of bounds, an unreadable file.
    """
    table = {} if file is None else parse_table(read_toml(Path(file)), source=str(file))
    return TrainConfig.from_dict(layered(table, flags, environ))


def layered(
    table: Mapping[str, Any], flags: Mapping[str, Any], environ: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The settings of a file, of the environment and of flags in one; the later wins.

    Raises:
        ConfigError: an environment variable that cannot be used.
    """
    known = _read_environ(environ if environ is not None else os.environ)
    return {**table, **known, **flags}


def resumed(saved: Mapping[str, Any], flags: Mapping[str, Any]) -> TrainConfig:
    """The settings of a run that is to go on, with those flags that may change on the way.

    Args:
        saved: the run's own settings.
        flags: settings given explicitly, by field name; only those in `CHANGEABLE`.

    Raises:
        ConfigError: a flag that would make it another run, or settings that cannot be read.
    """
    if not saved:
        raise ConfigError("the run's config.json cannot be read; it cannot be resumed")
    for name in flags.keys() - CHANGEABLE:
        allowed = ", ".join("--" + each.replace("_", "-") for each in sorted(CHANGEABLE))
        raise ConfigError(
            f"--{name.replace('_', '-')} cannot change when a run is resumed; only {allowed} can"
        )
    return TrainConfig.from_dict({**saved, **flags}, source="config.json")


def parse(name: str, value: Any, *, label: str) -> Any:
    """The value of one setting, converted to its type and checked against its bounds.

    Args:
        name: the field of `TrainConfig`.
        value: text from a flag or the environment, or a plain TOML or JSON value.
        label: what the reader called it, e.g. ``--steps``; error messages begin with it.

    Raises:
        ConfigError: the wrong type, not one of the choices, or out of bounds.
    """
    spec = TrainConfig.__dataclass_fields__[name]
    converted = _coerce(value, field_types()[name], label)
    _check_field(spec, converted, label)
    return converted


def load_json(path: Path) -> TrainConfig:
    """Read the resolved configuration that a run folder stores."""
    try:
        values = json.loads(_read_text(path))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} is not a JSON object of settings")
    return TrainConfig.from_dict(values, source=str(path))


def _read_text(path: Path) -> str:
    """The text of a file of settings, which is never long; it may be a pipe."""
    with path.open("rb") as file:
        content = file.read(LARGEST_FILE + 1)
    if len(content) > LARGEST_FILE:
        raise ValueError(f"it is larger than {LARGEST_FILE >> 20} MiB")
    return content.decode("utf-8")


def read_toml(path: Path) -> dict[str, Any]:
    """The tables and values of a TOML file.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        return tomllib.loads(_read_text(path))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"cannot read the configuration file {path}: {error}") from error


def parse_table(values: Mapping[str, Any], *, source: str) -> dict[str, Any]:
    """Settings by field name, converted and checked; ``-`` and ``_`` both work in a key.

    Raises:
        ConfigError: an unknown key, a wrong type, a value out of bounds; it names ``source``.
    """
    names = {key: setting_name(key, source=source) for key in values}
    return {name: parse(name, values[key], label=f"{source}: {key}") for key, name in names.items()}


def setting_name(key: str, *, source: str) -> str:
    """The field that a key of a file means.

    Raises:
        ConfigError: there is none; the message suggests the closest.
    """
    name = key.replace("-", "_")
    if name not in field_types():
        raise _unknown(source, key)
    return name


def _read_environ(environ: Mapping[str, str]) -> dict[str, Any]:
    known: dict[str, Any] = {}
    for variable, text in environ.items():
        if not variable.startswith(ENV_PREFIX):
            continue
        name = variable.removeprefix(ENV_PREFIX).lower()
        if name in field_types():
            known[name] = parse(name, text, label=variable)
        else:
            _refuse_misspelling(variable, name)
    return known


def _refuse_misspelling(variable: str, name: str) -> None:
    """Other ``LAE_`` variables may exist (LAE_DEBUG); one that is nearly a setting is a typo."""
    close = closest(name, field_types(), cutoff=0.8)
    if close:
        raise ConfigError(
            f"unknown environment variable {variable}; did you mean {ENV_PREFIX}{close.upper()}?"
        )


def _unknown(source: str, key: str) -> ConfigError:
    hint = did_you_mean(key, field_types(), "`lae train --help` lists them")
    return ConfigError(f"{source}: unknown setting '{key}'; {hint}")


_TYPE_NAMES = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    type(None): "'none'",
}


def _coerce(value: Any, hint: Any, label: str) -> Any:
    """Turn ``value`` into the declared type without ever guessing between types."""
    members = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    for member in members:
        done, result = _try_type(value, member)
        if done:
            return result
    expected = " or ".join(_TYPE_NAMES[member] for member in members)
    raise ConfigError(f"{label} must be {expected}, not {_shown(value)}")


_TRUE, _FALSE = {"1", "true", "yes", "on"}, {"0", "false", "no", "off"}


def _try_type(value: Any, member: type) -> tuple[bool, Any]:
    if member is type(None):
        return value is None or value == "none", None
    if member is bool:
        if isinstance(value, str) and value.lower() in _TRUE | _FALSE:
            return True, value.lower() in _TRUE
        return isinstance(value, bool), value
    if member in (int, float):
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            return False, None
        try:
            return (
                (False, None)
                if member is int and isinstance(value, float)
                else (
                    True,
                    member(value),
                )
            )
        except (ValueError, OverflowError):
            return False, None
    return isinstance(value, member), value


def _check_field(spec: dataclasses.Field[Any], value: Any, label: str) -> None:
    choices, check = spec.metadata["choices"], spec.metadata["check"]
    if choices is not None and value not in choices:
        close = closest(str(value), choices)
        hint = f"; did you mean '{close}'?" if close else ""
        raise ConfigError(f"{label} must be one of {', '.join(choices)}, not {_shown(value)}{hint}")
    if check is not None and not check(value):
        raise ConfigError(f"{label} must be {spec.metadata['expects']}, not {_shown(value)}")


def _shown(value: Any) -> str:
    """The value as a message quotes it: escaped, and short."""
    try:
        text = repr(value)
    except ValueError:  # more digits than Python agrees to print
        text = "a number that is far too large"
    return text if len(text) <= 60 else f"{text[:57]}..."
