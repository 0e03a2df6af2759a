"""What reaches a terminal: the words as they are, and no control character of other people's."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from lossrank.cli import main
from lossrank.commands import progress_bars
from lossrank.console import PlainConsole, bold, console, printable

HOSTILE = "[/x] [bold]b :smile: \x1b]0;title\x07\x1b[2J\x9b31m\r\u202egnp.exe \udc80"
SHOWN = r"[/x] [bold]b :smile: \x1b]0;title\x07\x1b[2J\x9b31m\r\u202egnp.exe \udc80"


def table() -> Table:
    made = Table("head " + HOSTILE, title="title " + HOSTILE, caption="caption " + HOSTILE)
    made.add_row("cell " + HOSTILE)
    return made


@pytest.mark.parametrize(
    ("renderable", "count"),
    [(HOSTILE, 1), (bold(HOSTILE), 1), (Text.assemble("a ", (HOSTILE, "bold")), 1), (table(), 4)],
    ids=["words", "bold", "several styles", "table"],
)
def test_words_are_shown_as_they_are_and_control_characters_as_escapes(renderable: RenderableType, count: int) -> None:
    printed = io.StringIO()
    PlainConsole(file=printed, width=200).print(renderable)
    text = printed.getvalue()
    if not isinstance(renderable, Text):  # rich itself drops some of them from a Text
        assert text.count(SHOWN) == count
    assert not re.search("[^\\n\\x20-\\x7e\\u2500-\\u257f]", text)
    assert text.count("[/x] [bold]b :smile: ") == count


def test_a_live_table_and_bars_show_words_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    with Live(table(), console=console):
        pass
    with progress_bars() as bars:
        bars.add_task(HOSTILE, total=1, note="note " + HOSTILE)
    assert "\x1b" not in capsys.readouterr().out


def test_lines_and_tabs_of_a_message_stay() -> None:
    assert printable("one\n\ttwo\x1b") == "one\n\ttwo\\x1b"
    assert printable("one\ntwo", keep="") == "one\\ntwo"


def test_an_error_shows_control_characters_as_escapes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "/no/\x1b[2J[/x]"]) == 2
    assert r"/no/\x1b[2J[/x] is no project" in capsys.readouterr().err
