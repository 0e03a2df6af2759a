"""The terminal: one console, on which a text is shown as it is.

Ids, paths and messages come from other people. No string is read as markup, so that `[/x]` in a path is a path, and
control characters are shown as escapes, so that none of them reaches the terminal. Styles are given as `Text`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

__all__ = ["PlainConsole", "bold", "console", "percentile", "printable"]


def printable(text: str, keep: str = "\n\t") -> str:
    """The text with what cannot be seen as escapes: control, direction and undecodable characters, but for `keep`."""
    if text.isprintable():
        return text
    shown = (
        char if char.isprintable() or char in keep else char.encode("unicode_escape").decode("ascii") for char in text
    )
    return "".join(shown)


def percentile(value: float) -> str:
    """A percentile, 0 to 100; with a decimal near 100, which the highest scores would otherwise share."""
    return f"{value:.0f}" if value < 99 else f"{min(value, 99.9):.1f}"


class PlainConsole(Console):
    """A console without markup, whose output holds no control character but its own."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"markup": False, "emoji": False, **options})

    def render_str(self, text: str, **options: Any) -> Text:
        """As `Console.render_str`, the text printable before it is measured."""
        return super().render_str(printable(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """As `Console.render`, each text printable."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(printable(segment.text), segment.style)


def bold(value: object) -> Text:
    """The value in bold, for `console.print` and `Text.assemble`."""
    return Text(str(value), "bold")


console = PlainConsole()
"""The console that every command prints on."""
