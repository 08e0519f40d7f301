"""A training in its own process, which goes on after the terminal that started it is closed."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lae_fast import runs
from lae_fast.config import TrainConfig
from lae_fast.errors import RunError, reason

POLL = 0.05


class EarlyEndError(Exception):
    """The training ended before there was a run folder; ``text`` is what it printed."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code, self.text = code, text


class Background:
    """A training started in the background.

    Args:
        config: the resolved settings; they say where the run folder will be.
        given: the settings from the command line, by field name; they win over all others.
        file: the TOML file, if any.

    Raises:
        RunError: the run's name is taken, or its folder's parent cannot be written.
    """

    def __init__(self, config: TrainConfig, given: Mapping[str, Any], file: str | None) -> None:
        root = Path(config.run_root)
        self.run = root / name_of(config)
        if self.run.exists():
            raise RunError(runs.taken(root, self.run.name))
        self._log = root / f".{self.run.name}.log"
        words = command(dict(given) | {"name": self.run.name}, file)
        try:
            root.mkdir(parents=True, exist_ok=True)
            with open(self._log, "wb") as log:
                self._process = subprocess.Popen(
                    words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
                )
        except (OSError, ValueError) as error:
            raise RunError(
                f"cannot start a training in {root}: {reason(error)}; choose another --run-root"
            ) from error

    def wait_for_run(self) -> Path:
        """The run folder, once the trainer has made it; Ctrl-C ends the training.

        Raises:
            EarlyEndError: the training ended before.
        """
        try:
            while not (self.run / runs.CONFIG_FILE).exists():
                if (code := self._process.poll()) is not None:
                    text = self._log.read_text(encoding="utf-8", errors="replace")
                    self._log.unlink(missing_ok=True)
                    raise EarlyEndError(code, text)
                time.sleep(POLL)
        except KeyboardInterrupt:
            self._process.terminate()
            self._process.wait()
            self._log.unlink(missing_ok=True)
            raise
        self._log.rename(self.run / runs.LOG_FILE)
        # Without a wait for its exit code, a dead trainer would stay a zombie and look alive.
        threading.Thread(target=self._process.wait, daemon=True).start()
        return self.run

    @property
    def exit_code(self) -> int | None:
        """The exit code of the training; None while it is running."""
        return self._process.poll()


def name_of(config: TrainConfig) -> str:
    """The name for a run that other processes make: that of the settings, or a free one."""
    return config.name or runs.free_name(Path(config.run_root), config.dataset, config.model)


def command(settings: Mapping[str, Any], file: str | None) -> list[str]:
    """The command line that trains with these settings."""
    words = [sys.executable, "-m", "lae_cli", "train"]
    words += [] if file is None else ["--config", file]
    for name, value in settings.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            words.append(f"--{flag}={'none' if value is None else value}")
    return words
