"""What the live display knows of a training."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from helpers.run_folders import NOW, evaluated, progress, started, write_snapshot
from lae_cli.progress.display import Look, picture
from lae_cli.progress.view import RunView
from lae_fast.config import TrainConfig
from lae_fast.runs.events import SnapshotTaken


def shown(view: RunView, width: int = 80, height: int = 23) -> str:
    console = Console(width=width, height=height, file=open("/dev/null", "w"))  # noqa: SIM115
    with console.capture() as caught:
        console.print(picture(view, Look(width=width, height=height, unicode=True, colour=False)))
    return caught.get()


def new_view(root: Path, **settings: object) -> RunView:
    view = RunView(TrainConfig(run_root=str(root), **settings), clock=lambda: 0.0)  # type: ignore[arg-type]
    view.apply(started(NOW, 1000, run="r"))
    return view


def test_pictures_come_inside_the_first_epoch(tmp_path: Path) -> None:
    view = new_view(tmp_path)
    view.apply(progress(3))
    assert "the latents appear within seconds" in shown(view)
    (tmp_path / "r").mkdir()
    write_snapshot(tmp_path / "r" / "snapshots" / "within-epoch.npz", 1, 8, 0)
    name = "snapshots/within-epoch.npz"
    view.apply(SnapshotTaken(time=NOW, epoch=1, iteration=3, elapsed=5.0, snapshot=name))
    assert "latents, epoch 1, iteration 3" in shown(view)
    view.apply(evaluated(1))
    view.apply(progress(22))
    assert "latents, epoch 1, iteration 3" in shown(view)  # it had no pictures of its own


def test_a_cap_of_a_thousand_epochs_is_no_estimate(tmp_path: Path) -> None:
    view = new_view(tmp_path)
    view.apply(progress(5, seconds_left=82_297.0, images_per_second=2000.0))
    text = shown(view)
    assert "22:51:37" not in text
    assert "1 of 1000, 0:20 left" in text
    assert "at least 4:50 left" in text
    view = new_view(tmp_path, max_time=60.0)
    view.apply(progress(5, seconds_left=82_297.0, images_per_second=2000.0, elapsed=15.0))
    assert "0:15 elapsed, 0:45 left" in shown(view)
