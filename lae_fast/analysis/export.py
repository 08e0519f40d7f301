"""Encoder and decoder as files for other programs: ONNX or TorchScript, checked once written."""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import io
import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from lae_fast.analysis.saved import SavedRun
from lae_fast.errors import ConfigError
from lae_fast.models import Model

FORMATS = {"onnx": ".onnx", "torchscript": ".pt"}
TOLERANCE = 1e-5
"""Most that a file's results may differ from the model's, absolutely and relatively."""
_TRACED, _CHECKED = 2, 5
"""Rows that networks are traced with, and rows that the files are checked with."""


class Encoder(nn.Module):
    """Images ``(n, c, h, w)`` in [0, 1] to mean and std of q(z | x), each ``(n, d_z)``."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Encode."""
        return self.model.law(images.flatten(1))


class Decoder(nn.Module):
    """Latents ``(n, d_z)`` to mean images ``(n, c, h, w)`` in [0, 1]."""

    def __init__(self, model: Model, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.model, self.image_shape = model, image_shape

    def forward(self, latents: Tensor) -> Tensor:
        """Decode."""
        return self.model.decode(latents).reshape(-1, *self.image_shape)


@dataclass(frozen=True)
class Exported:
    """A file that `export` wrote.

    Attributes:
        path: the file.
        inputs, outputs: their names.
        difference: largest absolute difference from the model; None if it was not checked.
    """

    path: Path
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    difference: float | None


def export(run: SavedRun, fmt: str, folder: Path) -> list[Exported]:
    """Write ``encoder`` and ``decoder`` files, which take any number of rows, and check them.

    Args:
        run: the model.
        fmt: one of `FORMATS`. ONNX files are checked where onnxruntime is installed.
        folder: where to write; made when missing.

    Raises:
        ConfigError: a conditional model, or packages that are missing.
        RuntimeError: a file computes something else than the model.
    """
    if run.config.conditional:
        raise ConfigError("a conditional model also needs labels, which export does not offer")
    if fmt == "onnx":
        missing = [name for name in ("onnx", "onnxscript") if not _installed(name)]
        if missing:
            raise ConfigError(
                f"--format onnx needs {' and '.join(missing)}; "
                "pip install 'lae-fast[export]', or use --format torchscript"
            )
    model = copy.deepcopy(run.model).cpu()
    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(_CHECKED, *run.image_shape, generator=generator)
    latents = torch.randn(_CHECKED, model.latent_dim, generator=generator)
    encoder, decoder = Encoder(model).eval(), Decoder(model, run.image_shape).eval()
    suffix = FORMATS[fmt]
    return [
        _write(encoder, images, folder / f"encoder{suffix}", ("images",), ("mean", "std")),
        _write(decoder, latents, folder / f"decoder{suffix}", ("latents",), ("images",)),
    ]


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


@torch.no_grad()
def _write(
    network: nn.Module,
    x: Tensor,
    path: Path,
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
) -> Exported:
    with _quiet():
        if path.suffix == ".onnx":
            read = _write_onnx(network, x[:_TRACED], path, inputs, outputs)
        else:
            read = _write_torchscript(network, x[:_TRACED], path)
    if read is None:
        return Exported(path, inputs, outputs, None)
    wanted, found = _arrays(network(x)), _arrays(read(x))
    difference = max(float(np.abs(a - b).max()) for a, b in zip(wanted, found, strict=True))
    for a, b in zip(wanted, found, strict=True):
        if not np.allclose(a, b, rtol=TOLERANCE, atol=TOLERANCE):
            raise RuntimeError(f"{path} differs from the model by {difference:.2g}")
    return Exported(path, inputs, outputs, difference)


def _write_onnx(
    network: nn.Module,
    example: Tensor,
    path: Path,
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
) -> Callable[[Tensor], Any] | None:
    program = torch.onnx.export(
        network,
        (example,),
        input_names=inputs,
        output_names=outputs,
        dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    program.save(path)
    if not _installed("onnxruntime"):
        return None
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda x: session.run(list(outputs), {inputs[0]: x.numpy()})


def _write_torchscript(
    network: nn.Module, example: Tensor, path: Path
) -> Callable[[Tensor], Any] | None:
    traced = torch.jit.trace(network, example, check_trace=False)  # type: ignore[no-untyped-call]
    torch.jit.save(traced, path)
    return cast("Callable[[Tensor], Any]", torch.jit.load(path))  # type: ignore[no-untyped-call]


def _arrays(result: Any) -> list[np.ndarray[Any, Any]]:
    parts = result if isinstance(result, tuple | list) else [result]
    return [np.asarray(part) for part in parts]


@contextlib.contextmanager
def _quiet() -> Any:
    """Without what the exporters print of their own progress."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
