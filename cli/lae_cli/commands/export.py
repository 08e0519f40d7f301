"""``lae export``: encoder and decoder as files for other programs."""

from __future__ import annotations

from pathlib import Path

import click

from lae_cli.shared.opened import Opened, on_run
from lae_cli.shared.results import Result


@click.command()
@click.option(
    "--format",
    "fmt",
    type=click.Choice(["onnx", "torchscript"]),
    default="onnx",
    show_default=True,
    help="Write .onnx files, or .pt files for torch.jit.load.",
)
@click.option(
    "--out",
    "folder",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write into this folder.  [default: export in the run folder]",
)
@on_run()
def export(opened: Opened, fmt: str, folder: Path | None) -> Result:
    """Export encoder and decoder as ONNX or TorchScript.

    The encoder takes images (n, c, h, w) in [0, 1] and gives mean and standard deviation of the
    latents; the decoder takes latents and gives images. Both are compared with the model once they
    are written; ONNX needs onnxruntime for that.

    \b
    Example:
      lae export latest --format onnx --out exported
    """
    from lae_fast.analysis.export import export as write
    from lae_fast.runs.files import own_folder

    found = write(opened.saved, fmt, folder or own_folder(opened.path, "export"))
    files = [
        {
            "path": str(file.path),
            "inputs": list(file.inputs),
            "outputs": list(file.outputs),
            "difference": file.difference,
        }
        for file in found
    ]
    lines = [
        f"{file.path}  {', '.join(file.inputs)} -> {', '.join(file.outputs)}, "
        + (
            "not checked: onnxruntime is missing"
            if file.difference is None
            else f"at most {file.difference:.1e} from the model"
        )
        for file in found
    ]
    return Result({"format": fmt, "files": files}, lines)
