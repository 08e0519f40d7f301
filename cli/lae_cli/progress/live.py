"""The live picture on a terminal: redrawn in place, at once, and afresh after a resize."""

from __future__ import annotations

import sys
from types import TracebackType

from rich.console import RenderableType
from rich.live import Live
from rich.text import Text

from lae_cli.progress.display import Look, picture
from lae_cli.progress.view import RunView
from lae_cli.terminal.console import has_colour, has_unicode, make_console
from lae_fast.errors import InputError

_BEGIN, _END = "\x1b[?2026h", "\x1b[?2026l"
_CLEAR = "\x1b[2J\x1b[H"


class SteadyLive(Live):
    """A `Live` whose frames appear whole: Rich erases the old one first, which would flicker.

    Synchronised output (DEC mode 2026) is ignored by terminals that do not know it.
    """

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the last frame on the screen, unless bad input left nothing to show."""
        self.transient = isinstance(error, InputError)
        super().__exit__(kind, error, trace)

    def refresh(self) -> None:
        """Redraw between the marks of one synchronised update."""
        with self._lock:
            self.console.file.write(_BEGIN)
            super().refresh()
            self.console.file.write(_END)
            self.console.file.flush()


def live_picture(view: RunView) -> Live:
    """The picture of ``view`` on stderr, three times a second once started."""
    console = make_console(stderr=True)
    unicode, colour = has_unicode(sys.stderr), has_colour(console)
    size = console.size

    def draw() -> RenderableType:
        nonlocal size
        if view.finished is not None and view.progress is None:
            return Text()  # nothing was left to train, so there is nothing to show
        if console.size != size:  # the terminal reflowed the old picture: begin on a clean page
            size = console.size
            console.file.write(_CLEAR)
        # One line less than the screen: a full one scrolls.
        height = max(3, size.height - 1)
        look = Look(width=size.width, height=height, unicode=unicode, colour=colour)
        return picture(view, look)

    return SteadyLive(
        console=console,
        get_renderable=draw,
        refresh_per_second=3,
        vertical_overflow="crop",
        redirect_stdout=False,
    )
