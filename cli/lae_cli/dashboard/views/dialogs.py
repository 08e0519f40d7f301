"""Small windows: a question, an answer to type, the keys."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Static

from lae_fast.errors import printable

_CSS = """
{0} {{ align: center middle; }}
{0} > Vertical {{
    width: 70; max-width: 90%; height: auto; padding: 1 2;
    border: round $primary; background: $surface;
}}
{0} Horizontal {{ height: auto; margin-top: 1; }}
{0} Button {{ margin-right: 2; }}
"""


class Confirm(ModalScreen[bool]):
    """A question whose answer cannot be taken back; escape is no."""

    CSS = _CSS.format("Confirm")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Yes"),
        Binding("n,escape", "answer(False)", "No"),
    ]

    def __init__(self, question: str) -> None:
        super().__init__()
        self._question = question

    def compose(self) -> ComposeResult:
        """The question and two buttons; no is the one at hand."""
        with Vertical():
            yield Static(Text(printable(self._question)), markup=False)
            with Horizontal():
                yield Button("No (n)", id="no", compact=True)
                yield Button("Yes (y)", id="yes", variant="error", compact=True)

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id == "yes")

    def action_answer(self, answer: bool) -> None:
        """Close."""
        self.dismiss(answer)


class Ask(ModalScreen[str | None]):
    """One line to type. ``check`` returns what is wrong with it, or None."""

    CSS = _CSS.format("Ask")
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "cancel", "Cancel")]

    def __init__(self, question: str, value: str, check: Callable[[str], str | None]) -> None:
        super().__init__()
        self._question, self._value, self._check = question, value, check

    def compose(self) -> ComposeResult:
        """The question, the line, and room for what is wrong with it."""
        with Vertical():
            yield Static(Text(printable(self._question)), markup=False)
            yield Input(self._value, compact=True)
            yield Static("enter accepts, escape cancels", id="wrong", markup=False)

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        wrong = self._check(event.value)
        if wrong is None:
            self.dismiss(event.value)
        else:
            self.query_one("#wrong", Static).update(Text(printable(wrong), style="bold red"))

    def action_cancel(self) -> None:
        """Close without an answer."""
        self.dismiss(None)


class Help(ModalScreen[None]):
    """The keys, and what they do."""

    CSS = """
    Help { align: center middle; }
    Help > VerticalScroll {
        width: 76; max-width: 96%; height: auto; max-height: 96%; padding: 0 2;
        border: round $primary; background: $surface;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,question_mark", "close", "Close")]

    def __init__(self, sections: dict[str, list[tuple[str, str]]]) -> None:
        super().__init__()
        self._sections = sections

    def compose(self) -> ComposeResult:
        """One page."""
        text = Text()
        for heading, keys in self._sections.items():
            text.append(f"{heading}\n", style="bold")
            for key, what in keys:
                text.append(f"  {key:<15}", style="cyan").append(f"{what}\n")
        text.append("escape closes", style="dim")
        with VerticalScroll():
            yield Static(text, markup=False)

    def action_close(self) -> None:
        """Close."""
        self.dismiss(None)
